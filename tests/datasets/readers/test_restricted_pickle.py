"""Hostile, damaged and merely odd pickles: plain data or one clear error, never anything else."""

import builtins
import collections
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.readers import restricted_pickle
from nav_offrl_datasets.readers.restricted_pickle import load_plain, loads_plain


def sample() -> dict[str, Any]:
    yaw = np.empty(3, object)
    for step in range(3):
        yaw[step] = np.array([0.1 * step])
    return {
        "position": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
        "yaw": yaw,
        "big_endian": np.arange(4, dtype=">f4"),
        "scalar": np.float32(2.5),
        "plain": [1, 2.5, "text", (True, None), b"bytes"],
    }


class Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_of_every_protocol(protocol: int) -> None:
    original = sample()
    read = loads_plain(pickle.dumps(original, protocol))
    for name in ("position", "big_endian", "scalar"):
        np.testing.assert_array_equal(read[name], original[name])
        assert read[name].dtype == original[name].dtype
    assert [float(value[0]) for value in read["yaw"]] == [float(v[0]) for v in original["yaw"]]
    assert read["plain"] == original["plain"]


@pytest.mark.parametrize(
    ("hostile", "name"),
    [
        (Calls(os.system, "touch pwned"), "system"),
        (Calls(builtins.eval, "open('pwned', 'w')"), "eval"),
        (Calls(getattr, "", "format"), "getattr"),
        (Calls(subprocess.Popen, ["touch", "pwned"]), "Popen"),
        (Calls(np.load, "x"), "load"),
        (Calls(np.fromfile, "x"), "fromfile"),
        (collections.OrderedDict(a=1), "OrderedDict"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_any_other_global_is_refused_by_name(
    hostile: Any, name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"position": [hostile]}, protocol)
    with pytest.raises(NavOffrlError, match=rf"refused.*{name}"):
        loads_plain(content)
    assert not list(tmp_path.iterdir())


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps(sample())[:-20],
        b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"short.",  # 1 EiB of bytes
        b"\x80\x04Nr\xff\xff\xff\xff.",  # memo slot 4294967295
        b"\x80\x04]\x94h\x00a.",  # a list that contains itself
        b"(" * 1000 + b"]" + b"t" * 1000 + b".",
        RECONSTRUCT + b".",
        RECONSTRUCT + b"}S'x'\nI1\nsb.",  # sets an attribute of an admitted function
        RECONSTRUCT + b"(I1000000000000\ntR.",
    ],
)
def test_damaged_or_devious_pickle_is_one_clear_error(content: bytes) -> None:
    with pytest.raises(NavOffrlError):
        loads_plain(content)


def test_declared_shape_is_held_against_the_content() -> None:
    content = pickle.dumps(np.zeros(7, np.int8), protocol=2).replace(
        b"K\x07\x85", b"J\0\0\0\x7f\x85"
    )
    assert b"J\0\0\0\x7f" in content
    with pytest.raises(NavOffrlError, match="does not fit its content"):
        loads_plain(content)


def test_file_errors_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "traj_data.pkl"
    with pytest.raises(NavOffrlError, match=r"traj_data\.pkl: cannot be read"):
        load_plain(path)
    path.write_bytes(pickle.dumps(sample()))
    monkeypatch.setattr(restricted_pickle, "MAX_FILE_BYTES", 10)
    with pytest.raises(NavOffrlError, match="MiB"):
        load_plain(path)


SEEDS = [pickle.dumps(sample(), protocol) for protocol in (0, 2, 4, 5)]


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_mutated_pickles_load_or_are_refused(seed: bytes, data: st.DataObject) -> None:
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        if not content:
            return
    try:
        loads_plain(bytes(content))
    except NavOffrlError as error:
        assert str(error)
