"""What a LeRobot data set says of itself: `meta/info.json` and the table of its episodes."""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nav_offrl.errors import NavOffrlError

VERSION = "v3.0"
MAX_INFO_BYTES = 16 << 20
FPS_RANGE = (0.01, 1000.0)
CONVERTER = (
    "convert it with LeRobot 0.4 or later: python -m lerobot.scripts.convert_dataset_v21_to_v30 "
    "--repo-id=NAME --root=FOLDER --push-to-hub=false"
)
_PLACE = re.compile(r"\{(chunk_index|file_index|video_key)(?::0?(\d)d)?\}")
EPISODE_COLUMNS = ("episode_index", "length", "data/chunk_index", "data/file_index")
# Written by `writer.py`: what a store calls the episode and its session.
NAME, SESSION = "nav_offrl/name", "nav_offrl/session"


@dataclass(frozen=True)
class VideoPlace:
    """Where an episode's frames of one camera lie: a file, and the second at which they begin."""

    chunk: int
    file: int
    start: float


@dataclass(frozen=True)
class EpisodeRow:
    """One row of `meta/episodes`."""

    index: int
    length: int
    chunk: int
    file: int
    videos: Mapping[str, VideoPlace]
    tasks: tuple[str, ...] = ()
    name: str = ""
    session: str = ""


@dataclass(frozen=True)
class Dataset:
    """An opened data set."""

    root: Path
    info: Mapping[str, Any]
    episodes: tuple[EpisodeRow, ...]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return float(self.info["fps"])

    @property
    def robot(self) -> str:
        """What drove, "" where it is not said."""
        robot = self.info.get("robot_type")
        return robot[:32] if isinstance(robot, str) and robot.isprintable() else ""

    def episode(self, index: int) -> EpisodeRow:
        """Return the row of an episode.

        Raises:
            NavOffrlError: there is none.
        """
        for row in self.episodes:
            if row.index == index:
                return row
        raise NavOffrlError(f"lists no episode {index}", where=self.root / "meta/episodes")

    def is_video(self, feature: str) -> bool:
        """Tell a camera stored as video from one stored as images in the tables."""
        return bool(self.info["features"][feature]["dtype"] == "video")

    def data_path(self, row: EpisodeRow) -> Path:
        """Return the table of an episode."""
        return self._path("data_path", chunk_index=row.chunk, file_index=row.file)

    def video_path(self, row: EpisodeRow, feature: str) -> Path:
        """Return the video of an episode and camera.

        Raises:
            NavOffrlError: the table of episodes names none.
        """
        place = self.place(row, feature)
        return self._path(
            "video_path", chunk_index=place.chunk, file_index=place.file, video_key=feature
        )

    def place(self, row: EpisodeRow, feature: str) -> VideoPlace:
        """Return where the frames of an episode and camera lie; raises as `video_path`."""
        if feature not in row.videos:
            raise NavOffrlError(
                f"episode {row.index} has no place in the video of '{feature}'",
                where=self.root / "meta/episodes",
            )
        return row.videos[feature]

    def _path(self, key: str, **values: int | str) -> Path:
        def value_of(match: re.Match[str]) -> str:
            value = values.get(match[1], "")
            return str(value).zfill(int(match[2] or 0))

        template = self.info.get(key)
        where = self.root / "meta/info.json"
        if not isinstance(template, str) or len(template) > 256:
            raise NavOffrlError(f"'{key}' is no path", where=where)
        relative = PurePosixPath(_PLACE.sub(value_of, template))
        printable = str(relative).isprintable()
        if relative.is_absolute() or ".." in relative.parts or not printable:
            raise NavOffrlError(f"'{key}' leads out of the data set: {template!r}", where=where)
        return self.root / relative

    def split_of(self, episode: int) -> str:
        """Return "train" or "held_out" where `splits` tells them apart, else ""."""
        splits = self.info.get("splits")
        if not isinstance(splits, dict) or len(splits) < 2:
            return ""
        for name, text in splits.items():
            match = re.fullmatch(r"(\d{1,9}):(\d{1,9})", str(text), re.ASCII)
            if match and int(match[1]) <= episode < int(match[2]):
                return "train" if name == "train" else "held_out"
        return ""


def open_dataset(root: Path) -> Dataset:
    """Open the data set in `root`; the one opened last is kept in memory.

    Raises:
        NavOffrlError: it is of another version, or its metadata are damaged.
    """
    info = root / "meta/info.json"
    tables = sorted(path for path in root.glob("meta/episodes/*/*.parquet") if path.is_file())
    if not tables:
        read_info(root)  # an older version has none, and is to be told so
        raise NavOffrlError(
            "holds no table", where=root / "meta/episodes", remedy="copy the whole data set"
        )
    stamps = [(path, path.stat()) for path in (info, *tables)]
    return _open(root, tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stamps))


@functools.lru_cache(maxsize=2)
def _open(root: Path, stamps: tuple[tuple[Path, int, int], ...]) -> Dataset:
    from nav_offrl_datasets.lerobot.tables import read_episode_rows

    info = read_info(root)
    videos = [key for key, value in info["features"].items() if _is_video(value)]
    rows = [row for path, _, _ in stamps[1:] for row in read_episode_rows(path, videos)]
    if len({row.index for row in rows}) < len(rows):
        raise NavOffrlError("lists an episode twice", where=root / "meta/episodes")
    return Dataset(root, info, tuple(sorted(rows, key=lambda row: row.index)))


def _is_video(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("dtype") == "video"


def read_info(root: Path) -> dict[str, Any]:
    """Return `meta/info.json`, whose `fps` and `features` are checked to be what they must be.

    Raises:
        NavOffrlError: it is damaged, or of a version that is not read.
    """
    path = root / "meta/info.json"
    try:
        with path.open("rb") as file:
            info = json.loads(file.read(MAX_INFO_BYTES))
    except OSError as error:
        raise NavOffrlError(f"cannot be read ({error.strerror})", where=path) from error
    except (ValueError, RecursionError) as error:
        raise NavOffrlError(
            f"is no readable JSON ({str(error)[:80]})", where=path, remedy="copy it again"
        ) from error
    if not isinstance(info, dict):
        raise NavOffrlError("is no JSON object", where=path)
    version = str(info.get("codebase_version"))[:20]
    if not version.startswith("v3."):
        older = version.startswith(("v1.", "v2."))
        raise NavOffrlError(
            f"is a LeRobot data set of version {version}, only v3 is read",
            where=path,
            remedy=CONVERTER if older else "write it as v3.0",
        )
    fps, features = info.get("fps"), info.get("features")
    if isinstance(fps, bool) or not isinstance(fps, (int, float)):
        raise NavOffrlError("'fps' is no number", where=path)
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise NavOffrlError(f"'fps' is not within {FPS_RANGE}", where=path)
    if not isinstance(features, dict) or not features:
        raise NavOffrlError("'features' is no JSON object", where=path)
    return info
