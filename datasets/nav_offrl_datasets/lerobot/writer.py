"""Writes a store as a LeRobot data set of version 3, as `lerobot/datasets` of LeRobot 0.4 does.

    meta/info.json  meta/stats.json  meta/tasks.parquet
    meta/episodes/chunk-000/file-000.parquet        a row an episode
    data/chunk-000/file-000.parquet                 a row a step, a row group an episode
    videos/observation.images.front/chunk-000/file-000.mp4

What becomes of the fields: `lerobot_features`. Episodes of one split follow each other, so that
`splits` can name them; a store's name and session of an episode are two more columns of its row.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import Store
from nav_offrl.store.reader import decode_jpegs
from nav_offrl.store.schema import SPLITS
from nav_offrl_datasets.lerobot.features import (
    IMAGES,
    STATE,
    STATE_FIELDS,
    feature_of,
    features_of,
)
from nav_offrl_datasets.lerobot.files import (
    CHUNK_FILES,
    DATA_FILE_MB,
    FILE,
    INDEX_TYPES,
    VIDEO_FILE_MB,
    DataFiles,
    VideoFiles,
    table_schema,
    tasks_table,
)
from nav_offrl_datasets.lerobot.meta import NAME, SESSION, VERSION
from nav_offrl_datasets.lerobot.stats import (
    Stats,
    aggregate,
    image_stats,
    plain,
    sampled_down,
    sampled_steps,
    vector_stats,
)
from nav_offrl_datasets.lerobot.video import video_info

DEFAULT_TASK = "Drive."
STEPS_AT_ONCE = 64  # of frames held in memory


@dataclass(frozen=True)
class Written:
    """What was written."""

    episodes: int
    frames: int
    bytes: int


def write_lerobot(
    store: Store,
    folder: Path,
    *,
    images: bool = False,
    task: str = DEFAULT_TASK,
    progress: Callable[[int], object] = lambda steps: None,
) -> Written:
    """Write all episodes of `store` as a LeRobot data set in `folder`, which must not exist.

    `images`: frames lie in the tables with the very bytes of the store (PNG where the store holds
    raw frames); else they become H.264 video, which loses a little. `task`: what LeRobot calls the
    instruction. `progress` is told of the steps that were written.

    Raises:
        NavOffrlError: `folder` exists, or the store is damaged.
    """
    if folder.exists():
        raise NavOffrlError("exists already", where=folder, remedy="choose another or delete it")
    partial = folder.with_name(folder.name + ".partial-lerobot")
    shutil.rmtree(partial, ignore_errors=True)
    with _Writer(store, partial, images, task) as writer:
        for split in SPLITS:
            for episode in store.episodes.of_split(split):
                progress(writer.append(int(episode)))
    writer.write_meta()
    partial.rename(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Written(len(store.episodes), store.steps, size)


class _Writer:
    """Writes the episodes one after the other, and what is said of them at the end."""

    def __init__(self, store: Store, root: Path, images: bool, task: str) -> None:
        self.store, self.root, self.images, self.task = store, root, images, task
        info = store.info
        self.fps = int(info.rate_hz) if info.rate_hz == int(info.rate_hz) else info.rate_hz
        self.features = features_of(info, images)
        self.rows: list[dict[str, Any]] = []
        self.stats: list[dict[str, Stats]] = []
        self.frames = 0
        self._data = DataFiles(root, table_schema(self.features))
        self._videos = {
            IMAGES + name: VideoFiles(root, IMAGES + name, self.fps, camera.height, camera.width)
            for name, camera in ({} if images else info.cameras).items()
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._data.close()
        for files in self._videos.values():
            files.close()

    def append(self, episode: int) -> int:
        """Write an episode of the store; return its steps."""
        steps = self.store.steps_of(episode)
        length = int(steps.stop - steps.start)
        columns = _columns(self.store, steps) | self._indices(length)
        stats = {key: vector_stats(values) for key, values in columns.items()}
        row: dict[str, Any] = {
            "episode_index": len(self.rows),
            "tasks": [self.task],
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
        }
        pictures: dict[str, list[dict[str, Any]]] = {}
        for name in self.store.info.cameras:
            key = IMAGES + name
            if self.images:
                pictures[key], stats[key] = self._pictures(name, steps)
            else:
                placed, stats[key] = self._film(name, steps)
                row |= placed
        row |= self._data.write(columns, pictures)
        row |= {
            f"stats/{key}/{what}": v for key, s in stats.items() for what, v in plain(s).items()
        }
        table = self.store.episodes
        row |= {NAME: table.name[episode], SESSION: table.session[episode]}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        self.rows.append(row)
        self.stats.append(stats)
        self.frames += length
        return length

    def _indices(self, length: int) -> dict[str, NDArray[Any]]:
        frame = np.arange(length)
        return {
            "timestamp": (frame / self.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(length, len(self.rows)),
            "index": self.frames + frame,
            "task_index": np.zeros(length, np.int64),
        }

    def _film(self, camera: str, steps: slice) -> tuple[dict[str, Any], Stats]:
        """Append an episode's frames to its video; return its place there and its statistics."""
        files = self._videos[IMAGES + camera]
        sampled, samples = set(sampled_steps(steps.stop - steps.start)), []
        place = files.begin_episode()
        for part in _parts(steps):
            for offset, image in enumerate(
                self.store.images(camera, part), part.start - steps.start
            ):
                files.write(image)
                if offset in sampled:
                    samples.append(sampled_down(image))
        return place | files.end_episode(), image_stats(samples)

    def _pictures(self, camera: str, steps: slice) -> tuple[list[dict[str, Any]], Stats]:
        """Return an episode's frames as cells of the table, and their statistics."""
        cells: list[dict[str, Any]] = []
        for part in _parts(steps):
            frames = self.store.frames(camera, part)
            raw = isinstance(frames, np.ndarray)
            for frame in frames:
                content = _png(frame) if isinstance(frame, np.ndarray) else frame
                path = f"frame-{len(cells):06d}.{'png' if raw else 'jpg'}"
                cells.append({"bytes": content, "path": path})
        where = f"{self.store.path}, camera '{camera}'"
        samples = [
            sampled_down(_decode(cells[step]["bytes"], where, steps.start + step))
            for step in sampled_steps(len(cells))
        ]
        return cells, image_stats(samples)

    def write_meta(self) -> None:
        """Write the folder `meta`, which names the files; they must be closed."""
        meta = self.root / "meta"
        episodes = meta / "episodes" / (FILE.format(chunk_index=0, file_index=0) + ".parquet")
        episodes.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self.rows), episodes, compression="snappy")
        pq.write_table(tasks_table(self.task), meta / "tasks.parquet")
        total = {key: plain(stats) for key, stats in aggregate(self.stats).items()}
        (meta / "stats.json").write_text(json.dumps(total, indent=4, allow_nan=False))
        (meta / "info.json").write_text(json.dumps(self._info(), indent=4, allow_nan=False))

    def _info(self) -> dict[str, Any]:
        for key, files in self._videos.items():
            self.features[key]["info"] |= video_info(self.root / files.first, self.fps)
        robots = set(self.store.episodes.robot)
        return {
            "codebase_version": VERSION,
            "fps": self.fps,
            "features": self.features
            | {
                key: {"dtype": dtype, "shape": [1], "names": None}
                for key, dtype in INDEX_TYPES.items()
            },
            "total_episodes": len(self.rows),
            "total_frames": self.frames,
            "total_tasks": 1,
            "chunks_size": CHUNK_FILES,
            "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB,
            "data_path": f"data/{FILE}.parquet",
            "video_path": f"videos/{{video_key}}/{FILE}.mp4" if self._videos else None,
            "robot_type": robots.pop() or None if len(robots) == 1 else None,
            "splits": self._splits(),
        }

    def _splits(self) -> dict[str, str]:
        splits, begin = {}, 0
        for split in SPLITS:
            count = len(self.store.episodes.of_split(split))
            if count:
                splits[split] = f"{begin}:{begin + count}"
            begin += count
        return splits


def _parts(steps: slice) -> Iterator[slice]:
    for start in range(steps.start, steps.stop, STEPS_AT_ONCE):
        yield slice(start, min(start + STEPS_AT_ONCE, steps.stop))


def _png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def _decode(content: bytes, where: str, step: int) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = decode_jpegs([content], where, step)[0]
    return image


def _columns(store: Store, steps: slice) -> dict[str, NDArray[Any]]:
    """Return the features of an episode's steps, (T, n) or (T,)."""
    values = {name: store.field(name)[steps] for name in store.info.fields}
    columns: dict[str, NDArray[Any]] = {}
    state = [values.pop(name) for name in STATE_FIELDS if name in values]
    if state:
        columns[STATE] = np.concatenate([part.reshape(len(part), -1) for part in state], axis=1)
    return columns | {feature_of(name): part for name, part in values.items()}
