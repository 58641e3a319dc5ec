"""Importer of GNM / ViNT / NoMaD logs: a folder of runs, each `0.jpg ... N.jpg` + traj_data.pkl.

`traj_data.pkl` holds `position` (T, 2) m and `yaw` (T,) rad (visualnav-transformer,
train/vint_train/data/vint_dataset.py). There are no timestamps, commands or calibration: time is
index / rate, and actions are derived from consecutive poses.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nav_offrl import __version__
from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo, Episode, StoreInfo, StoreWriter
from nav_offrl.store.schema import TEXT_COLUMNS
from nav_offrl_datasets.config import GnmImportConfig
from nav_offrl_datasets.jpeg import Size, decoded_size, read_jpeg
from nav_offrl_datasets.kinematics import actions_and_velocities, body_twists
from nav_offrl_datasets.poses import POSES, read_poses
from nav_offrl_datasets.report import ImportReport, RunReport

IMAGE_NAME = re.compile(r"(0|[1-9]\d{0,8})\.jpg")
HARMLESS_NAMES = re.compile(r"\..*|Thumbs\.db|desktop\.ini|(LICEN[CS]E|README).*", re.IGNORECASE)
HALF_TURN_WARNING = 2.5  # rad a step: near pi the sense of the turn is a guess


@dataclass
class _Run:
    """A run as read: poses for all T steps, JPEG bytes (None where unusable)."""

    folder: Path
    position: NDArray[np.float64]
    yaw: NDArray[np.float64]
    images: list[bytes | None] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)

    def drop(self, why: str, detail: str = "") -> None:
        self.dropped[why] += 1
        if detail:
            self.details.append(detail)


def import_gnm(
    folder: Path, output: Path, config: GnmImportConfig, progress: bool = True
) -> ImportReport:
    """Read every run under `folder` (or `folder` itself, if it is one) into a store at `output`.

    An interrupted import goes on when called again. Writes `OUTPUT.import_report.json` beside
    the store.

    Raises:
        NavOffrlError: there is no run, or none usable; `output` exists; or, with
            `config.strict`, anything had to be dropped.
    """
    folders, unknown = find_runs(folder)
    size = _common_size(folders)
    writer = StoreWriter.create(output, _store_info(folder, size, config))
    held_out = held_out_runs([run.name for run in folders], config)
    rows = []
    for run_folder in tqdm(folders, desc="runs", unit="run", disable=not progress):
        split = "held_out" if run_folder.name in held_out else "train"
        try:
            run = read_run(run_folder, size)
        except NavOffrlError as error:
            rows.append(RunReport(name=run_folder.name, refused=error.what))
            continue
        rows.append(_write_run(run, split, writer, config))
        unknown += _unknown_in(run_folder)
    report = ImportReport(
        source=folder.resolve().name,
        runs=tuple(rows),
        unknown_files=tuple(unknown),
        notes=tuple(_notes(rows, config)),
    )
    _finish(report, writer, output, config)
    return report


def find_runs(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the run folders, and the names of what is neither a run nor known to be harmless.

    Raises:
        NavOffrlError: there is no run.
    """
    if not folder.is_dir():
        raise NavOffrlError("is no folder", where=folder, remedy="check the path")
    folder = folder.resolve()
    if (folder / POSES).is_file():
        return [folder], []
    entries = sorted(path for path in folder.iterdir() if not HARMLESS_NAMES.fullmatch(path.name))
    runs = [path for path in entries if (path / POSES).is_file() or (path / "0.jpg").is_file()]
    if not runs:
        raise NavOffrlError(
            f"holds no GNM run (no sub-folder with {POSES} and 0.jpg, 1.jpg, ...)",
            where=folder,
            remedy="give the folder that holds the runs, or one run",
        )
    return runs, [path.name for path in entries if path not in runs]


def held_out_runs(names: list[str], config: GnmImportConfig) -> set[str]:
    """Choose runs by the hash of seed and name: at least one of two or more, never all."""
    if len(names) < 2 or config.held_out_fraction == 0:
        return set()
    count = min(max(1, round(config.held_out_fraction * len(names))), len(names) - 1)
    return set(
        sorted(names, key=lambda name: hashlib.sha256(f"{config.seed}/{name}".encode()).digest())[
            :count
        ]
    )


def read_run(folder: Path, size: Size) -> _Run:
    """Read the poses and the JPEG bytes of one run; faults of single steps are noted in it.

    Raises:
        NavOffrlError: nothing of the run can be used.
    """
    _check_name(folder)
    position, yaw = read_poses(folder / POSES)
    run = _Run(folder, position, yaw)
    for step in range(len(yaw)):
        path = folder / f"{step}.jpg"
        jpeg, fault = read_jpeg(path, size)
        run.images.append(jpeg)
        if fault:
            run.drop(fault, f"{path.name}: {fault}")
    if not any(run.images):
        raise NavOffrlError(f"no image of {size[1]}x{size[0]} pixels fits a pose", where=folder)
    indices = _image_indices(folder)
    surplus = sum(index >= len(yaw) for index in indices)
    if surplus:
        run.dropped["image without a pose"] += surplus
        run.details.append(f"{len(indices)} images for {len(yaw)} poses")
    finite = np.isfinite(position).all(axis=1) & np.isfinite(yaw)
    for step in np.flatnonzero(~finite).tolist():
        if run.images[step] is not None:
            run.drop("pose is not finite", f"step {step}: pose is not finite")
            run.images[step] = None
    return run


def _check_name(folder: Path) -> None:
    try:
        length = len(f"{folder.parent.name}/{folder.name}/999".encode())
    except UnicodeEncodeError as error:
        raise NavOffrlError("folder name is not UTF-8") from error
    if length > TEXT_COLUMNS["name"]:
        raise NavOffrlError("folder name is too long for the store, shorten it")


def _image_indices(folder: Path) -> list[int]:
    matches = (IMAGE_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def _unknown_in(folder: Path) -> list[str]:
    return [
        f"{folder.name}/{path.name}"
        for path in sorted(folder.iterdir())
        if path.name != POSES
        and not IMAGE_NAME.fullmatch(path.name)
        and not HARMLESS_NAMES.fullmatch(path.name)
    ]


def _common_size(folders: list[Path]) -> Size:
    """Return the image size that most runs have, judged by each run's first whole image."""
    sizes: Counter[Size] = Counter()
    for folder in folders:
        for index in _image_indices(folder):
            jpeg, _ = read_jpeg(folder / f"{index}.jpg", None)
            if jpeg is not None:
                shape = decoded_size(jpeg)
                assert shape is not None
                sizes[shape] += 1
                break
    if not sizes:
        raise NavOffrlError("no image can be decoded", where=folders[0].parent)
    return sizes.most_common(1)[0][0]


def _store_info(folder: Path, size: Size, config: GnmImportConfig) -> StoreInfo:
    settings = config.model_dump_json(exclude={"strict"})
    return StoreInfo(
        rate_hz=config.rate_hz,
        rate_is_nominal=True,
        action_source="derived from pose",
        cameras={
            config.camera: CameraInfo(
                height=size[0], width=size[1], horizontal_fov=config.horizontal_fov
            )
        },
        fields=("time", "position", "yaw", "action", "velocity"),
        # In the notes, because these are compared when an unfinished import is continued.
        notes=f"GNM log '{folder.resolve().name}', settings {settings}",
        provenance={"importer": f"nav_offrl_datasets.gnm {__version__}"},
    )


def _write_run(run: _Run, split: str, writer: StoreWriter, config: GnmImportConfig) -> RunReport:
    name = run.folder.name
    stale = _stale_steps(run)
    if not config.keep_stale:
        for step in np.flatnonzero(stale):
            if run.images[step] is not None:
                run.drop("pose is stale")
    pieces, jumps = _split(run, stale, config)
    kept = [piece for piece in pieces if len(piece) >= config.min_episode_length]
    short = sum(len(piece) for piece in pieces) - sum(len(piece) for piece in kept)
    if short:
        run.dropped[f"episode shorter than {config.min_episode_length} steps"] += short
    distance = lateral = duration = 0.0
    for index, piece in enumerate(kept):
        episode_name = name if len(pieces) == 1 else f"{name}/{index}"
        episode, sideways = _episode(run, piece, episode_name, split, config)
        if episode_name not in writer.names:
            writer.append(episode)
        distance += float(np.linalg.norm(np.diff(run.position[piece], axis=0), axis=1).sum())
        lateral += sideways
        duration += float(piece[-1] - piece[0]) / config.rate_hz
    return RunReport(
        name=name,
        split=split,
        kept=sum(len(piece) for piece in kept),
        episodes=len(kept),
        dropped=dict(run.dropped),
        details=tuple(run.details),
        refused=None if kept else f"no episode of {config.min_episode_length} steps is left",
        distance=distance,
        lateral_distance=lateral,
        duration=duration,
        stale_poses=int(stale.sum()),
        position_jumps=jumps,
    )


def _stale_steps(run: _Run) -> NDArray[np.bool_]:
    same = (np.diff(run.position, axis=0) == 0).all(axis=1) & (np.diff(run.yaw) == 0)
    return np.concatenate([[False], same])


def _split(
    run: _Run, stale: NDArray[np.bool_], config: GnmImportConfig
) -> tuple[list[NDArray[np.intp]], int]:
    """Return the usable steps, cut where one is missing or the pose jumps; and the jumps."""
    usable = np.array([image is not None for image in run.images], bool)
    steps = np.flatnonzero(usable if config.keep_stale else usable & ~stale)
    # A dropped stale step leaves a longer period, not a gap: only unusable steps cut.
    unusable_before = np.cumsum(~usable)
    cut = np.diff(unusable_before[steps]) > 0
    leap = np.linalg.norm(np.diff(run.position[steps], axis=0), axis=1) > config.max_position_jump
    for step in steps[1:][leap & ~cut]:
        run.details.append(f"step {step}: position jumps, split there")
    pieces = np.split(steps, np.flatnonzero(cut | leap) + 1)
    return [piece for piece in pieces if len(piece)], int((leap & ~cut).sum())


def _episode(
    run: _Run, steps: NDArray[np.intp], name: str, split: str, config: GnmImportConfig
) -> tuple[Episode, float]:
    """Return the episode, and the metres moved sideways that its actions cannot express."""
    time = np.round(steps * (1e9 / config.rate_hz)).astype(np.int64)
    position, yaw = run.position[steps], run.yaw[steps]
    twists = body_twists(time.astype(np.float64) * 1e-9, position, yaw)
    action, velocity = actions_and_velocities(twists)
    fast = np.abs(twists[:, 2] * np.diff(time) * 1e-9) > HALF_TURN_WARNING
    for step in steps[:-1][fast]:
        run.details.append(f"step {step}: turns nearly half round, its sense is a guess")
    images = [image for step in steps if (image := run.images[step]) is not None]
    episode = Episode(
        name=name,
        images={config.camera: images},
        fields={
            "time": time,
            "position": position,
            "yaw": yaw,
            "action": action,
            "velocity": velocity,
        },
        split=split,
        source=f"{run.folder.parent.name}/{run.folder.name}",
        robot=config.robot,
        licence=config.licence,
    )
    return episode, float(np.abs(twists[:, 1] * np.diff(time) * 1e-9).sum())


def _notes(rows: list[RunReport], config: GnmImportConfig) -> list[str]:
    notes = [
        f"time is nominal: the log has no timestamps, {config.rate_hz:g} Hz was assumed; "
        "speeds scale with it",
        "actions are derived from poses: what the robot did, not what it was told",
    ]
    distance = sum(row.distance for row in rows)
    lateral = sum(row.lateral_distance for row in rows)
    if distance and lateral / distance > 0.02:
        notes.append(
            f"{lateral:.1f} m of {distance:.1f} m are sideways motion, which (v, omega) actions "
            "cannot express"
        )
    if not any(row.split == "held_out" and row.kept for row in rows):
        notes.append("no run is held out: a model of this store cannot be judged on unseen runs")
    return notes


def _finish(
    report: ImportReport, writer: StoreWriter, output: Path, config: GnmImportConfig
) -> None:
    reason = ""
    if not report.kept:
        reason = "no run could be used"
    elif config.strict and report.warnings:
        reason = f"{len(report.warnings)} warnings, and strict is set"
    if reason:
        writer.discard()
        raise NavOffrlError(
            f"{reason}: {'; '.join(report.warnings[:5])}",
            where=report.source,
            remedy="mend or remove these, or import without --strict" if report.kept else None,
        )
    report.save(report_path(output))
    writer.finish()


def report_path(output: Path) -> Path:
    """Return where the report of the store at `output` lies: beside it."""
    return output.with_name(output.name + ".import_report.json")
