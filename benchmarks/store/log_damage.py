"""Ways in which the files of a log go bad: on disks and networks, by tools, and by intent.

Everything is drawn from a `random.Random`: the same seed and log give the same damage.
"""

import os
import random
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)
_FLOATS = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, -0.0)
WORDS = (
    *(struct.pack(order + "Q", number) for number in (*_NUMBERS, 2**64 - 1) for order in "<>"),
    *(struct.pack(order + "I", number) for number in _NUMBERS[:9] for order in "<>"),
    *(struct.pack(code, value) for value in _FLOATS for code in ("<f", "<d")),
    *(b"\xff", b"\0", b"\x80", b"\xff\xff", b"\0\0"),
)
TEXT_SUFFIXES = {".json", ".jsonl", ".csv", ".yaml", ".m3u8", ".catalog", ".catalog_manifest"}
TOKENS = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1", "0", "1e18", "0.5", "99999999999999999999"),
    *("null", "true", '""', '"text"', "[]", "{}", "[[[[]]]]", "\\", "", "\x00", "é", "[1, 2, 3]"),
)
NAMES = (
    *("traj_data.pkl", "0.jpg", "7.png", "data.hdf5", "main_data.hdf5", "a.tfrecord", "a.bag"),
    *("a.mcap", "a.db3", "a.mcap.zstd", "metadata.yaml", "manifest.json", "info.json", "a.npz"),
    *("a.pkl", "ride_1_20240101000000", "zarr.json", "a.parquet", "a.mp4", "front.m3u8"),
    *("99999999999999999999.jpg", "x" * 200, "new\nline", "[red]x[bold]", "-1.jpg"),
)


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few places of them changed."""
    if not content:
        return rng.randbytes(rng.randrange(64))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        content = rng.choices(_WAYS_OF_BYTES, _WEIGHTS_OF_BYTES)[0](bytearray(content), rng)
        if not content:
            break
    return content


def _flip(content: bytearray, rng: random.Random) -> bytes:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _put_word(content: bytearray, rng: random.Random) -> bytes:
    word = rng.choice((*WORDS, len(content).to_bytes(8, "little")))
    # Fields are often aligned, and the beginning and the end are where headers are.
    near = min(len(content), 256)
    at = rng.choice((rng.randrange(len(content)), rng.randrange(near), len(content) - near))
    at &= ~rng.choice((0, 3, 7))
    content[at : at + len(word)] = word
    return bytes(content)


def _cut(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(len(content))])


def _move_block(content: bytearray, rng: random.Random) -> bytes:
    size = rng.choice((1, 8, 64, 512, 4096))
    source, target = rng.randrange(len(content)), rng.randrange(len(content))
    block = content[source : source + size]
    how = rng.randrange(4)
    if how == 0:  # over another
        content[target : target + len(block)] = block
    elif how == 1:  # away
        del content[source : source + size]
    elif how == 2:  # once more
        content[target:target] = block
    else:  # to another place
        del content[source : source + size]
        content[target:target] = block
    return bytes(content)


def _put_noise(content: bytearray, rng: random.Random) -> bytes:
    at, size = rng.randrange(len(content)), rng.choice((2, 16, 256, 4096))
    size = min(size, len(content) - at)
    content[at : at + size] = rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size))
    return bytes(content)


def _grow(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content) + rng.choice((bytes(content), rng.randbytes(64), bytes(4096)))


_WAYS_OF_BYTES: tuple[Callable[[bytearray, random.Random], bytes], ...]
_WAYS_OF_BYTES = (_flip, _put_word, _cut, _move_block, _put_noise, _grow)
_WEIGHTS_OF_BYTES = (6, 8, 2, 3, 3, 1)


def damaged_text(content: bytes, rng: random.Random) -> bytes:
    """Return a text with some of its words or lines changed."""
    if rng.random() < 0.3:
        lines = content.splitlines(keepends=True) or [b""]
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[at : at + 1] = rng.choice(([], [lines[at]] * 3, [lines[other]], [lines[at][::-1]]))
        return b"".join(lines)
    tokens = list(re.finditer(rb'-?\d[\d.eE+-]*|"[^"\n]*"|\b(true|false|null)\b', content))
    for token in sorted(rng.sample(tokens, min(len(tokens), rng.choice((1, 1, 2, 5)))), key=_end):
        word = rng.choice(TOKENS).encode()
        # From the end: what is changed moves nothing that is still to be changed.
        content = content[: token.start()] + word + content[token.end() :]
    return content


def _end(token: "re.Match[bytes]") -> int:
    return -token.end()


class Spoiler:
    """Damages what goes into a log before it is packed: checksums and codecs fit the damage.

    Without a random source everything is left as it is.
    """

    def __init__(self, rng: random.Random | None = None, share: float = 0.3) -> None:
        self._rng, self._share = rng, share

    def numbers(self, given: Any) -> Array:
        """Return numbers of the same shape and type, or with NaN, infinity, huge ones in them."""
        values: Array = np.array(given)
        rng = self._drawn()
        if rng is None or not values.size or values.dtype.kind not in "iufb":
            return values
        flat = values.reshape(-1)
        at = rng.randrange(flat.size)
        some = rng.choice((slice(at, at + 1), slice(at, None), slice(None), slice(None, None, 2)))
        with np.errstate(over="ignore"):
            if values.dtype.kind == "f":
                flat[some] = rng.choice((np.nan, np.inf, -np.inf, 1e300, -1e300, 1e30, 1e5, 0.0))
            elif values.dtype.kind in "iu":
                limits = np.iinfo(values.dtype)
                flat[some] = rng.choice((limits.max, limits.min, 0, limits.max // 2))
            else:
                flat[some] = rng.random() < 0.5
        if rng.random() < 0.1:
            flat[:] = flat[::-1].copy()
        return values

    def array(self, given: Any) -> Array:
        """Return `numbers`, or an array of other length, shape or type."""
        values = self.numbers(given)
        rng = self._drawn()
        if rng is None:
            return values
        kinds: list[Callable[[], Array]] = [
            lambda: values[:-1],
            lambda: values[:0],
            lambda: values[:1],
            lambda: values[None],
            lambda: values[..., None],
            lambda: values.reshape(-1),
            lambda: np.concatenate([values, values]),
            lambda: values.sum(),
            lambda: values.astype(">f8"),
            lambda: values.astype(np.float16),
            lambda: values.astype(np.uint64),
            lambda: values.astype(np.complex64),
            lambda: values.astype("S8"),
            lambda: values.astype(bool),
        ]
        with np.errstate(all="ignore"):
            return np.asarray(rng.choice(kinds)()) if values.dtype.kind in "iufb" else values[:-1]

    def content(self, content: bytes) -> bytes:
        """Return bytes, or damaged ones."""
        rng = self._drawn(0.2)
        return content if rng is None else damaged_bytes(content, rng)

    def _drawn(self, times: float = 1.0) -> random.Random | None:
        return self._rng if self._rng and self._rng.random() < times * self._share else None


def damage_folder(folder: Path, rng: random.Random, strangers: list[Path]) -> list[str]:
    """Damage some files of a log in place; return a line on each.

    `strangers` are files of other formats, to be put in the place of the log's own.
    """
    lines = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            break
        # Files of a kind are many or one: a kind is drawn first, so that the one is not missed.
        suffix = rng.choice(sorted({path.suffix for path in files}))
        path = rng.choice([path for path in files if path.suffix == suffix])
        how = _replace if rng.random() < 0.2 else _rewrite
        name = path.relative_to(folder).as_posix()
        lines.append(f"{name}: {how(path, rng, strangers)}")
    return lines


def _rewrite(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    content = path.read_bytes()
    if path.suffix in TEXT_SUFFIXES and rng.random() < 0.7:
        path.write_bytes(damaged_text(content, rng))
        return "words changed"
    if rng.random() < 0.07:
        path.write_bytes(rng.choice((b"", bytes(len(content)), rng.randbytes(len(content)))))
        return "all changed"
    path.write_bytes(damaged_bytes(content, rng))
    return "bytes changed"


def _replace(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    way = rng.choice((_delete, _rename, _swap, _mislabel, _make_folder, _link))
    return way(path, rng, strangers)


def _delete(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    if rng.random() < 0.2 and path.parent.parent.exists():
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        return "folder emptied"
    path.unlink()
    return "deleted"


def _rename(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    if rng.random() < 0.2:
        path.rename(path.with_name(os.fsdecode(b"\xff\xfe") + path.name))
        return "renamed to what is no UTF-8"
    name = rng.choice(NAMES)
    target = path.with_name(name)
    if not target.is_dir():
        path.rename(target)
    return f"renamed {name!r}"


def _swap(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    other = rng.choice([entry for entry in path.parent.iterdir() if entry.is_file()])
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(content)
    return f"swapped with {other.name}"


def _mislabel(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    stranger = rng.choice(strangers)
    path.write_bytes(stranger.read_bytes())
    return f"is {stranger.name}"


def _make_folder(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    path.unlink()
    path.mkdir()
    return "is a folder"


def _link(path: Path, rng: random.Random, strangers: list[Path]) -> str:
    path.unlink()
    target = rng.choice((path.name, "nowhere", ".", ".."))
    path.symlink_to(target)
    return f"links to {target}"
