"""Minari: T + 1 observations, terminations against timeouts, spaces within spaces."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl_datasets.config import ImportConfig
from nav_offrl_datasets.formats import minari
from nav_offrl_datasets.importing.driver import import_log
from nav_offrl_datasets.importing.run import Layout, Run

CONFIG = ImportConfig()


def episode(steps: int, first: float = 0.0, terminates: bool = True) -> dict[str, Any]:
    """`steps` actions and one observation more; observation i is first + i."""
    place = first + np.arange(steps + 1.0)
    last = np.arange(steps) == steps - 1
    return {
        "observations/observation": np.stack([place, -place, 0 * place], axis=1),
        "observations/achieved_goal": np.stack([place, 2 * place], axis=1),
        "observations/desired_goal": np.full((steps + 1, 2), 99.0),
        "actions": np.stack([np.arange(steps), -np.arange(steps)], axis=1).astype(np.float32),
        "rewards": 0.5 * np.arange(steps),
        "terminations": last & terminates,
        "truncations": last & (not terminates),
    }


def write(
    folder: Path, episodes: list[dict[str, Any]], environment: str = "PointMaze_UMaze-v3"
) -> Path:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    metadata = {"env_spec": json.dumps({"id": environment}), "total_episodes": len(episodes)}
    (folder / "data" / "metadata.json").write_text(json.dumps(metadata))
    with h5py.File(folder / "data" / "main_data.hdf5", "w", track_order=True) as file:
        for index, content in enumerate(episodes):
            group = file.create_group(f"episode_{index}")
            group.attrs["id"] = index
            for name, values in content.items():
                shape = np.shape(values)[1:]
                group.create_dataset(name, data=values, chunks=True, maxshape=(None, *shape))
            group.create_dataset("infos", data=["{}"], dtype=h5py.string_dtype())
    return folder


def read(path: Path, config: ImportConfig = CONFIG) -> tuple[Layout, list[Run]]:
    found, _ = minari.sources(path, config)
    layout = minari.layout(found, config)
    return layout, [run for source in found for run in minari.read(source, layout, config)]


def test_the_last_observation_is_a_step_of_its_own(tmp_path: Path) -> None:
    layout, (run,) = read(write(tmp_path / "umaze-v2", [episode(3)]))
    assert run.name == "umaze-v2/episode_0" and layout.robot == "PointMaze_UMaze-v3"
    assert len(run.time) == 4 and run.time[1] == 100_000_000
    assert run.fields["action"].tolist() == [[0, 0], [1, -1], [2, -2], [2, -2]]
    assert run.fields["reward"].tolist() == [0, 0.5, 1.0, 0]
    assert run.fields["terminal"].tolist() == [False, False, False, True]
    assert run.fields["position"].tolist() == [[0, 0], [1, 2], [2, 4], [3, 6]]
    assert any("10 Hz assumed" in note for note in layout.notes)


def test_the_state_is_all_of_the_observation_but_what_was_wanted(tmp_path: Path) -> None:
    layout, (run,) = read(write(tmp_path / "umaze-v2", [episode(2)]))
    described = layout.fields["observation"]
    assert described.axes == (
        *("achieved_goal_0", "achieved_goal_1"),
        *("observation_0", "observation_1", "observation_2"),
    )
    assert run.fields["observation"][2].tolist() == [2, 4, 2, -2, 0]


def test_a_timeout_is_no_terminal(tmp_path: Path) -> None:
    _, (run,) = read(write(tmp_path / "umaze-v2", [episode(3, terminates=False)]))
    assert run.fields["terminal"].tolist() == [False] * 4


def test_plain_arrays_and_other_environments(tmp_path: Path) -> None:
    content = episode(3)
    values = {key: of for key, of in content.items() if not key.startswith("observations")}
    values["observations"] = np.arange(8.0).reshape(4, 2)
    values["actions"] = np.array([0, 2, 1])
    layout, (run,) = read(
        write(tmp_path / "cartpole-v0", [values], "CartPole-v1"), ImportConfig(rate_hz=50)
    )
    assert "position" not in layout.fields and layout.rate_hz == 50
    assert run.fields["observation"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert run.fields["action"].tolist() == [[0], [2], [1], [1]]
    assert layout.fields["action"].axes == ("action_0",)


def test_spaces_within_spaces_and_pictures(tmp_path: Path) -> None:
    content = {
        key: of for key, of in episode(2).items() if not key.startswith(("observations", "actions"))
    }
    pixels = np.arange(3, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 4, 6, 3), np.uint8)
    content |= {
        "observations/camera/Front View": pixels,
        "observations/state/_index_0": np.ones((3, 2)),
        "observations/state/_index_1": np.zeros(3),
        "actions/_index_0": np.ones((2, 1)),
        "actions/_index_1": np.zeros((2, 2)),
    }
    layout, (run,) = read(write(tmp_path / "x-v0", [content]))
    assert list(layout.cameras) == ["camera_front_view"]
    assert layout.cameras["camera_front_view"].height == 4
    assert [frame[0, 0, 0] for frame in run.images["camera_front_view"]] == [0, 1, 2]
    assert run.fields["observation"].tolist() == [[1, 1, 0]] * 3
    assert run.fields["action"].tolist() == [[1, 0, 0]] * 3


def test_pictures_alone_are_the_users_camera(tmp_path: Path) -> None:
    content = {key: of for key, of in episode(2).items() if not key.startswith("observations")}
    content["observations"] = np.zeros((3, 4, 6, 3), np.uint8)
    layout, (run,) = read(write(tmp_path / "x-v0", [content]), ImportConfig(camera="eye"))
    assert list(layout.cameras) == ["eye"] == list(run.images)
    assert "observation" not in layout.fields


def test_episodes_come_in_the_order_of_their_numbers_and_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minari, "EPISODES_A_SOURCE", 4)
    folder = write(tmp_path / "umaze-v2", [episode(2, 10.0 * index) for index in range(11)])
    found, unknown = minari.sources(folder, CONFIG)
    assert [source.key for source in found] == ["0:4", "4:8", "8:11"] and unknown == []
    assert found[2].name == "umaze-v2/8-10"
    _, runs = read(folder)
    assert [run.name for run in runs] == [f"umaze-v2/episode_{index}" for index in range(11)]
    assert [run.fields["position"][0, 0] for run in runs] == [10.0 * index for index in range(11)]


def test_the_folder_the_file_and_a_folder_of_data_sets_are_known(tmp_path: Path) -> None:
    folder = write(tmp_path / "maze" / "umaze-v2", [episode(2)])
    write(tmp_path / "maze" / "large-v2", [episode(2)])
    (tmp_path / "maze" / "notes.txt").write_text("1")
    file = folder / "data" / "main_data.hdf5"
    for path in (folder, folder / "data", file):
        assert minari.recognises(path)
        assert [source.name for source in minari.sources(path, CONFIG)[0]] == ["umaze-v2"]
    found, unknown = minari.sources(tmp_path / "maze", CONFIG)
    assert [source.name for source in found] == ["large-v2", "umaze-v2"]
    assert unknown == ["notes.txt"]


def test_a_damaged_episode_does_not_cost_the_others(tmp_path: Path) -> None:
    content = [episode(2, 10.0 * index) for index in range(4)]
    del content[1]["rewards"]
    content[3]["actions"] = np.zeros((5, 2))
    _, runs = read(write(tmp_path / "umaze-v2", content))
    assert [run.name[-1] for run in runs] == ["0", "2"]
    assert dict(runs[0].dropped) == {} and dict(runs[1].dropped) == {"damaged episode": 2}
    assert runs[1].details == [
        "episode_1: has no array 'episode_1/rewards'",
        "episode_3: has 3 observations and 5 actions",
    ]


def test_a_missing_last_observation_is_told_of(tmp_path: Path) -> None:
    content = episode(3)
    for key in list(content):
        if key.startswith("observations"):
            content[key] = content[key][:3]
    _, (run,) = read(write(tmp_path / "umaze-v2", [content]))
    assert len(run.time) == 3 and run.fields["terminal"].tolist() == [False, False, True]
    assert run.facts == ["the observation after the last action is missing"]


def changed(key: str, value: Any) -> dict[str, Any]:
    return episode(3) | {key: value}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (changed("rewards", np.zeros(2)), "differ in length"),
        (changed("observations/observation", np.zeros((2, 3))), "differ in length"),
        (changed("actions", np.zeros((3, 2, 2))), "neither vectors nor RGB pictures"),
        (changed("observations/more", np.zeros((4, 4, 4, 3))), "neither vectors nor RGB pictures"),
        (changed("actions", np.zeros((0, 2))), "neither vectors nor RGB pictures"),
        (changed("rewards", np.zeros(0)), "'episode_0/rewards' is float64 (0,)"),
        (changed("rewards", np.zeros((3, 0))), "'episode_0/rewards' is float64 (3, 0)"),
    ],
)
def test_arrays_of_another_kind_are_named(
    tmp_path: Path, content: dict[str, Any], says: str
) -> None:
    with pytest.raises(NavOffrlError, match="main_data") as caught:
        read(write(tmp_path / "umaze-v2", [content]))
    assert says in str(caught.value)


def test_words_and_links_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "umaze-v2", [episode(2), episode(2), episode(2)])
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        words = ["left", "right", "on"]
        file["episode_0/observations"].create_dataset(
            "mission", data=words, dtype=h5py.string_dtype()
        )
        del file["episode_1"]
        file["episode_1"] = h5py.ExternalLink("additional_data_1.hdf5", "/episode_1")
    _, (run,) = read(folder)
    assert run.name == "umaze-v2/episode_2" and run.dropped == {"damaged episode": 2}
    assert "holds object, not numbers" in run.details[0]
    assert "is a link to elsewhere" in run.details[1]


def test_a_group_that_holds_itself_ends(tmp_path: Path) -> None:
    folder = write(tmp_path / "umaze-v2", [episode(2)])
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        group = file["episode_0/observations"]
        group["a"] = group
        group["b"] = group
    with pytest.raises(NavOffrlError, match="has too many parts"):
        read(folder)


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "{",
        "[1]",
        '{"env_spec": "{}"}',
        '{"env_spec": 3}',
        '{"env_spec": "{\\"id\\": \\"\\n\\"}"}',
    ],
)
def test_metadata_that_do_not_tell_are_done_without(tmp_path: Path, metadata: str) -> None:
    folder = write(tmp_path / "umaze-v2", [episode(2)])
    (folder / "data" / "metadata.json").write_text(metadata)
    layout, runs = read(folder)
    assert layout.robot == "" and "position" not in layout.fields and len(runs) == 1


def test_what_holds_no_episode_is_refused(tmp_path: Path) -> None:
    assert not minari.recognises(tmp_path)
    with pytest.raises(NavOffrlError, match=r"holds no main_data\.hdf5"):
        read(tmp_path)
    folder = write(tmp_path / "umaze-v2", [])
    assert not minari.recognises(folder)
    damaged = folder / "data" / "main_data.hdf5"
    damaged.write_bytes(damaged.read_bytes()[:300])
    assert minari.recognises(folder)
    with pytest.raises(NavOffrlError, match="cannot be read from this HDF5 file"):
        read(folder)


def test_damaged_files_are_read_or_refused(
    tmp_path: Path,
    check_damaged: Callable[..., tuple[int, int]],
    make_damaged: Callable[..., Iterator[bytes]],
) -> None:
    content = {
        key: values for key, values in episode(3).items() if key != "observations/desired_goal"
    }
    path = write(tmp_path / "umaze-v2", [content] * 2) / "data" / "main_data.hdf5"
    seen = check_damaged(minari, path, CONFIG, make_damaged(path.read_bytes(), 300))
    assert min(seen) > 20


def test_episodes_become_a_store(tmp_path: Path) -> None:
    folder = write(tmp_path / "umaze-v2", [episode(5 + index) for index in range(3)])
    config = ImportConfig(workers=1, max_position_jump=5.0)
    report = import_log(folder, tmp_path / "store", config, progress=False)
    assert [run.kept for run in report.runs] == [6, 7, 8]
    store = Store.open(tmp_path / "store")
    assert store.field("terminal").nonzero()[0].tolist() == [5, 12, 20]
    assert store.field("observation").shape == (21, 5)
    assert set(store.episodes.split.tolist()) == {0, 1}
