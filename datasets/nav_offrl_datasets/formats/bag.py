"""Importer of ROS bags: ROS 1, rosbag2 sqlite3 and mcap, by a recipe that says which topic is what.

A bag is read twice: once for the small messages and the time stamps of the large ones, and, when it
is known which frames the steps need, once more for these.
"""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.bags import messages
from nav_offrl_datasets.bags.files import Bag, find_bags, looks_like_bag
from nav_offrl_datasets.bags.layout import layout_of, without
from nav_offrl_datasets.bags.levelling import levelled, tilt_of
from nav_offrl_datasets.bags.messages import UnusableError
from nav_offrl_datasets.bags.topics import Chosen, choose, load_recipe
from nav_offrl_datasets.config import ImportConfig, Recipe
from nav_offrl_datasets.importing.kinematics import wrap_angle
from nav_offrl_datasets.importing.run import Layout, Run, Source
from nav_offrl_datasets.importing.streams import Steps, Stream, Streams, Timing, rate_fact, resample

FORMAT = "bag"
HELP = "ROS 1 .bag, rosbag2 folder or file (sqlite3, mcap); --recipe says which topic is what"

SECOND = 1_000_000_000  # ns
LATE = SECOND  # a header's stamp further than this from the time of logging is of another clock
SCAN = ""  # among the names of cameras: the lidar
MAX_DETAILS = 20  # messages of a topic that are named one by one

recognises = looks_like_bag


def sources(path: Path, config: ImportConfig) -> tuple[list[Source], list[str]]:
    """Return the bags at `path`: one a rosbag2 folder, one a recording in parts, else one a file.

    Raises:
        NavOffrlError: there is none.
    """
    return find_bags(path)


def layout(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Return what the bags have in common.

    Raises:
        NavOffrlError: no bag can be read, or none has what the recipe asks for.
    """
    return layout_of(sources, config)


def read(source: Source, layout: Layout, config: ImportConfig) -> Iterator[Run]:
    """Yield the one run of a bag.

    Raises:
        NavOffrlError: the bag is damaged, lacks topics that others have, or gives no step.
    """
    if source.key:
        raise NavOffrlError(
            f"lacks parts that metadata.yaml lists: {source.key}",
            where=source.files[0].parent,
            remedy="bring them back, or run `ros2 bag reindex FOLDER`",
        )
    recipe = load_recipe(config.recipe)
    tolerance = config.tolerance if config.tolerance is not None else recipe.tolerance
    timing = Timing.of(layout.rate_hz, tolerance, recipe.max_command_age)
    run = Run(name=source.name, time=np.empty(0, np.int64), fields={}, session=source.name)
    with Bag(source.files) as bag:
        chosen = without(choose(recipe, bag.topics, config, source.files[0]), config.without)
        _check_has_all(chosen, layout, config, source)
        run.facts += chosen.facts
        logs = _Logs(bag, chosen, run)
        steps = resample(logs.streams(recipe), timing)
        _fill(run, steps, layout)
        logs.fetch(steps, layout)
    if not len(run.time):
        reasons = ", ".join(f"{why} ({count})" for why, count in run.dropped.most_common())
        raise NavOffrlError(f"gives no step: {reasons or 'no messages'}", where=source.files[0])
    yield run


def _check_has_all(chosen: Chosen, layout: Layout, config: ImportConfig, source: Source) -> None:
    """Raise NavOffrlError when this bag lacks what cannot be filled with "no reading"."""
    lacking = [name for name in layout.cameras if name not in {*chosen.cameras, *config.without}]
    for role, name in (("odometry", "position"), ("command", "action")):
        if name in layout.fields and role not in chosen.roles:
            lacking.append(name)
    if lacking:
        raise NavOffrlError(
            f"has no topic for {', '.join(lacking)}, other bags of this import have",
            where=source.files[0],
            remedy=f"import it by itself, or all --without {' '.join(lacking)}",
        )


def _fill(run: Run, steps: Steps, layout: Layout) -> None:
    """Put the steps into the run; NaN where this bag lacks a sensor that other bags have."""
    run.time = steps.time
    run.dropped.update(steps.missing)
    for step, why in steps.faults.items():
        run.fault(step, why)
    for name, info in layout.fields.items():
        if name in steps.fields:
            run.fields[name] = steps.fields[name]
        else:
            run.fields[name] = np.full((len(steps.time), *info.shape), np.nan, np.float32)


@dataclass
class _Log:
    """One topic as it was logged: stamps ns, and `rows` of `columns` numbers or, for frames and
    scans, which message of the topic it was.
    """

    topic: str
    columns: int
    header: "array[int]" = field(default_factory=lambda: array("q"))
    logged: "array[int]" = field(default_factory=lambda: array("q"))
    rows: "array[float]" = field(default_factory=lambda: array("d"))
    ordinal: "array[int]" = field(default_factory=lambda: array("q"))
    fact: str = ""

    def time(self) -> NDArray[np.int64]:
        """Return the headers' stamps, or the times of logging where those cannot be trusted."""
        logged = np.frombuffer(self.logged, np.int64)
        header = np.frombuffer(self.header, np.int64)
        if not len(header):
            return logged
        offset = float(np.median(header - logged))
        if (header == 0).any():
            why = "header stamps are zero"
        elif abs(offset) > LATE:
            why = f"header stamps are {offset / SECOND:.4g} s off"
        elif len(header) > 1 and np.diff(header).min() < -LATE:
            why = "header stamps run backwards"
        else:
            sense = "before" if offset <= 0 else "after"
            lag = abs(offset) / SECOND
            self.fact = f"by header stamps, {lag:.3g} s {sense} logging in the median"
            return header
        self.fact = f"by the time of logging: {why}"
        return logged

    def stream(self) -> Stream:
        """Return the rows in the order of time."""
        values = np.frombuffer(self.rows, np.float64).reshape(-1, self.columns)
        return Stream.of(self.time(), values)


class _Logs:
    """What is chosen of one bag, read once; `run` is told what is found."""

    def __init__(self, bag: Bag, chosen: Chosen, run: Run) -> None:
        self._bag, self._run, self._chosen = bag, run, chosen
        self._cameras = {name: _Log(topic, 0) for name, topic in chosen.cameras.items()}
        self._roles = {
            role: _Log(topic, messages.COLUMNS.get(role, 0)) for role, topic in chosen.roles.items()
        }
        self._unusable: Counter[str] = Counter()
        self._read()

    def _read(self) -> None:
        readers: dict[str, list[tuple[str, _Log]]] = {}
        for role, log in [*self._roles.items(), *((n, c) for n, c in self._cameras.items())]:
            readers.setdefault(log.topic, []).append((role, log))
        ordinal: Counter[str] = Counter()
        for topic, logged, data in self._bag.messages(readers):
            for role, log in readers[topic]:
                try:
                    self._take(role, log, data)
                except UnusableError as error:
                    self._note_unusable(topic, ordinal[topic], error)
                else:
                    log.logged.append(logged)
                    log.ordinal.append(ordinal[topic])
            ordinal[topic] += 1

    def _take(self, role: str, log: _Log, data: bytes) -> None:
        """Append one message to a log, but for its time of logging."""
        kind = self._bag.topics[log.topic].type
        row: tuple[float, ...] = ()
        if log.columns:
            message = self._bag.decode(log.topic, data)
            row = messages.ROWS[role][kind](message)
        if kind not in messages.WITHOUT_HEADER:
            log.header.append(messages.stamp_of(data, self._bag.ros1))
        log.rows.extend(row)

    def _note_unusable(self, topic: str, ordinal: int, error: UnusableError) -> None:
        self._unusable[topic] += 1
        few = self._unusable[topic] <= MAX_DETAILS
        self._run.drop(
            f"message of {topic}", f"message {ordinal} of {topic} {error}" if few else ""
        )

    def streams(self, recipe: Recipe) -> Streams:
        """Return the streams; facts on their rates and clocks go to the run."""
        small = {role: log.stream() for role, log in self._roles.items() if log.columns}
        cameras = {name: log.time() for name, log in self._cameras.items()}
        lidar = self._roles["lidar"].time() if "lidar" in self._roles else None
        named = {f"camera '{name}'": log for name, log in self._cameras.items()} | self._roles
        for name, log in named.items():
            clock = f"; {log.fact}" if log.fact else ""
            self._run.facts.append(rate_fact(f"{name} {log.topic}", log.time()) + clock)
        pose = small.get("odometry")
        return Streams(
            cameras=cameras,
            pose=_usable_poses(pose, recipe.heading_offset, self._run) if pose else None,
            command=small.get("command"),
            imu=_levelled(small["imu"], self._run) if "imu" in small else None,
            gps=small.get("gps"),
            lidar=lidar,
            collision=small.get("collision"),
            intervention=small.get("intervention"),
        )

    def fetch(self, steps: Steps, layout: Layout) -> None:
        """Read the frames and scans that the steps need into the run."""
        found: dict[str, list[Any]] = {}
        wanted: dict[str, list[tuple[str, dict[int, int]]]] = {}
        needs = dict(steps.frames)
        if steps.scans is not None and "lidar" in layout.fields:
            needs[SCAN] = steps.scans
        for name, index in needs.items():
            log = self._roles["lidar"] if name == SCAN else self._cameras[name]
            place = {log.ordinal[i]: step for step, i in enumerate(index.tolist()) if i >= 0}
            wanted.setdefault(log.topic, []).append((name, place))
            found[name] = [None] * len(steps.time)
        self._fetch(wanted, found, layout)
        self._say_what_is_used(len(steps.time))
        scans = found.pop(SCAN, None)
        if scans is not None:
            none = np.full(layout.fields["lidar"].shape, np.nan, np.float32)
            rows = [none if scan is None else scan for scan in scans]
            self._run.fields["lidar"] = np.array(rows, np.float32).reshape(-1, len(none))
        self._run.images = dict(found)

    def _fetch(
        self,
        wanted: Mapping[str, list[tuple[str, dict[int, int]]]],
        found: dict[str, list[Any]],
        layout: Layout,
    ) -> None:
        left = sum(len(place) for needs in wanted.values() for _, place in needs)
        ordinal: Counter[str] = Counter()
        stream = self._bag.messages(wanted) if left else iter(())
        for topic, _, data in stream:
            for name, place in wanted[topic]:
                step = place.get(ordinal[topic])
                if step is not None:
                    found[name][step] = self._large(name, topic, step, data, layout)
                    left -= 1
            ordinal[topic] += 1
            if not left:
                break

    def _large(self, name: str, topic: str, step: int, data: bytes, layout: Layout) -> Any:
        """Return one frame or scan, None where it cannot be used."""
        try:
            message = self._bag.decode(topic, data)
            if name == SCAN:
                return messages.ranges(message, layout.fields["lidar"].shape[0])
            return messages.frame_of(message)
        except UnusableError as error:
            if name == SCAN:
                self._run.details.append(f"step {step}: {error}, taken as no reading")
            else:
                self._run.fault(step, f"camera '{name}': {error}")
            return None

    def _say_what_is_used(self, steps: int) -> None:
        for name, log in self._cameras.items():
            fact = f"camera '{name}': {steps} of {len(log.logged)} frames are used"
            if self._bag.topics[log.topic].type == messages.IMAGES[1]:
                fact += ", encoded to JPEG here, once"
            self._run.facts.append(fact)


def _usable_poses(pose: Stream, heading_offset: float, run: Run) -> Stream:
    """Leave out poses that are not finite, and turn the headings of the rest."""
    finite = np.isfinite(pose.values[:, :3]).all(axis=1)
    if not finite.all():
        run.facts.append(f"odometry: {int((~finite).sum())} poses are not finite, left out")
    values = pose.values[finite]
    values[:, 2] = wrap_angle(values[:, 2] + heading_offset)
    return replace(pose, time=pose.time[finite], values=values)


def _levelled(imu: Stream, run: Run) -> Stream:
    with np.errstate(all="ignore"):  # damaged readings become inf, which is no gravity
        tilt = tilt_of(imu.values)
        if tilt is None:
            return imu
        angle, rotation = tilt
        values = levelled(imu.values, rotation)
    run.facts.append(
        f"imu: its z axis is {np.degrees(angle):.0f} degrees off gravity, so it is not mounted in "
        "the robot's axes; turned here to be level, what is forward in it remains unknown"
    )
    return replace(imu, values=values)
