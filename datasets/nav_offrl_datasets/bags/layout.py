"""What the bags of an import have in common: which fields and cameras, their sizes and sources."""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from nav_offrl.errors import NavOffrlError
from nav_offrl.store import CameraInfo
from nav_offrl.store.schema import FieldInfo, field_info
from nav_offrl_datasets.bags import messages
from nav_offrl_datasets.bags.files import Bag, Topic
from nav_offrl_datasets.bags.messages import UnusableError
from nav_offrl_datasets.bags.topics import Chosen, choose, load_recipe
from nav_offrl_datasets.bags.transforms import Transforms, mounting_of, read_static_transforms
from nav_offrl_datasets.config import ImportConfig, Recipe
from nav_offrl_datasets.importing.run import Layout, Source
from nav_offrl_datasets.readers.jpeg import decoded_size

ODOMETRY_SAMPLES = 2000  # messages to look through for a measured velocity, in at most
ODOMETRY_BAGS = 5
CAMERA_SAMPLES = 50  # frames to try
BEFORE = "mean since the step before"
UNTIL = "until the next step"
# A field that cannot say "no reading" is left out unless every bag has it.
IN_EVERY_BAG = ("collision", "intervention")


@dataclass
class Survey:
    """Which topics one bag has for what."""

    source: Source
    chosen: Chosen
    topics: dict[str, Topic]
    duration: float

    def rate(self, topic: str) -> float | None:
        """Return about how many messages a second a topic has, Hz."""
        periods = self.topics[topic].count - 1
        return float(f"{periods / self.duration:.4g}") if self.duration > 0 < periods else None

    @cached_property
    def first(self) -> dict[str, Any]:
        """The first message of each topic that can be decoded, but for pictures."""
        wanted = {*self.chosen.roles.values(), *self.chosen.camera_infos.values()}
        found: dict[str, Any] = {}
        # Damage behind the list of topics is left to `read` to report.
        with suppress(NavOffrlError), Bag(self.source.files) as bag:
            for topic, _, data in bag.messages(wanted):
                if topic not in found:
                    with suppress(UnusableError):
                        found[topic] = bag.decode(topic, data)
                if len(found) == len(wanted):
                    break
        return found

    @cached_property
    def transforms(self) -> Transforms:
        """The static transforms of the bag."""
        topic = self.chosen.static_transforms
        if not topic:
            return {}
        with Bag(self.source.files) as bag:
            return read_static_transforms(bag, topic)


def layout_of(sources: Sequence[Source], config: ImportConfig) -> Layout:
    """Return the layout: a camera or field is in it if one bag has it.

    Opens every bag for its list of topics, and reads the first messages of as few as will do.

    Raises:
        NavOffrlError: no bag can be read; names the first one's fault.
    """
    recipe = load_recipe(config.recipe)
    surveys = _surveys(sources, recipe, config)
    cameras = _cameras(surveys, recipe, config)
    fields, frame = _fields(surveys)
    mounted = [name for name, camera in cameras.items() if camera.mounting]
    lacking = [name for name in IN_EVERY_BAG if name not in fields and _any(surveys, name)]
    notes = [f"recipe {config.recipe}"]
    notes += [f"{name} is left out: not every bag has it" for name in lacking]
    if mounted:
        notes.append(f"mounting of {', '.join(mounted)} is by /tf_static")
    if "action" in fields:
        notes.append(
            f"a command older than {recipe.max_command_age:g} s is zero where the robot stood still"
        )
    if recipe.heading_offset:
        notes.append(f"{recipe.heading_offset:g} rad are added to the odometry's heading")
    return Layout(
        rate_hz=config.rate_hz or recipe.rate_hz,
        rate_is_nominal=False,
        cameras=cameras,
        fields=fields,
        action_source="commanded" if "action" in fields else "",
        frame=frame or "odom",
        robot=recipe.robot,
        licence=recipe.licence,
        labels=recipe.labels,
        notes=tuple(notes),
    )


def _surveys(sources: Sequence[Source], recipe: Recipe, config: ImportConfig) -> list[Survey]:
    surveys = []
    first: NavOffrlError | None = None
    for source in sources:
        try:
            with Bag(source.files) as bag:
                chosen = choose(recipe, bag.topics, config, source.files[0])
                surveys.append(Survey(source, chosen, dict(bag.topics), bag.duration))
        except NavOffrlError as error:  # `read` will say it again, of this source alone
            first = first or error
    if not surveys:
        raise first or NavOffrlError("there is no bag")
    return surveys


def _any(surveys: Iterable[Survey], role: str) -> bool:
    return any(role in survey.chosen.roles for survey in surveys)


def _sample(surveys: Sequence[Survey], role: str) -> tuple[Survey, str, Any] | None:
    """Return a bag, its topic of a role, and the first message of that: of the first bag with one.

    None where no bag has one.
    """
    for survey in surveys:
        topic = survey.chosen.roles.get(role)
        if topic is not None and topic in survey.first:
            return survey, topic, survey.first[topic]
    return None


def _cameras(
    surveys: Sequence[Survey], recipe: Recipe, config: ImportConfig
) -> dict[str, CameraInfo]:
    """Describe the cameras by the first bag that has a good frame of each."""
    cameras: dict[str, CameraInfo] = {}
    faults: dict[str, NavOffrlError] = {}
    for survey in surveys:
        for name, topic in survey.chosen.cameras.items():
            if name in config.without:  # known, so that it can be left out
                cameras[name] = CameraInfo(height=1, width=1)
            if name in cameras:
                continue
            try:
                info = _camera(survey, name, topic)
            except NavOffrlError as error:
                faults.setdefault(name, error)
                continue
            known = recipe.cameras[name].horizontal_fov if name in recipe.cameras else None
            fov = config.horizontal_fov or known or info.horizontal_fov
            cameras[name] = info.model_copy(update={"horizontal_fov": fov})
    for name, fault in faults.items():
        if name not in cameras:
            raise fault
    return cameras


def _camera(survey: Survey, name: str, topic: str) -> CameraInfo:
    """Describe a camera by its first good frame and its calibration.

    Raises:
        NavOffrlError: none of its first frames can be used.
    """
    fault = "no frame can be decoded"
    with Bag(survey.source.files) as bag:
        for number, (_, _, data) in enumerate(bag.messages([topic])):
            try:
                message = bag.decode(topic, data)
                size = decoded_size(messages.frame_of(message))
            except UnusableError as error:
                fault, size = str(error), None
            if size is not None:
                frame, rate = str(message.header.frame_id)[:60], survey.rate(topic)
                info = _calibration(survey, name, *size)
                mounting = mounting_of(frame, survey.transforms)
                known = {"frame": frame, "rate_hz": rate, "mounting": mounting}
                return info.model_copy(update=known)
            if number >= CAMERA_SAMPLES:
                break
    raise NavOffrlError(
        f"camera '{name}', topic {topic}: {fault}",
        where=survey.source.files[0],
        remedy=f"name another topic in a recipe, or --without {name}",
    )


def _calibration(survey: Survey, camera: str, height: int, width: int) -> CameraInfo:
    topic = survey.chosen.camera_infos.get(camera)
    message = survey.first.get(topic) if topic else None
    if message is None:
        return CameraInfo(height=height, width=width)
    return messages.camera_info(message, height, width)


def _fields(surveys: Sequence[Survey]) -> tuple[dict[str, FieldInfo], str]:
    """Return the fields that the bags' topics feed, and the frame of the poses."""
    fields: dict[str, FieldInfo] = {}
    frame = ""
    if found := _sample(surveys, "odometry"):
        survey, topic, message = found
        frame = str(message.header.frame_id)[:60]
        known = {"source": topic, "rate_hz": survey.rate(topic), "frame": frame or "odom"}
        fields |= {name: field_info(name, **known) for name in ("position", "yaw")}
        if _have_velocity(surveys):
            twist_frame = str(message.child_frame_id)[:60]
            fields["velocity"] = field_info("velocity", **known | {"frame": twist_frame})
    if found := _sample(surveys, "command"):
        fields["action"] = _info("action", *found)
    if found := _sample(surveys, "imu"):
        fields |= _imu_fields(surveys, *found)
    if found := _sample(surveys, "gps"):
        fields["gps"] = _info("gps", *found)
    if found := _sample(surveys, "lidar"):
        survey, topic, scan = found
        if len(scan.ranges):
            info = _info("lidar", *found, shape=(len(scan.ranges),))
            fields["lidar"] = _with_angles(info, scan.angle_min, scan.angle_max)
    for name in IN_EVERY_BAG:
        found = _sample(surveys, name)
        if found and all(name in survey.chosen.roles for survey in surveys):
            info = _info(name, *found)
            when = UNTIL if name == "collision" else "the last said before the step"
            fields[name] = info.model_copy(update={"source": f"{info.source}, {when}"})
    return fields, frame


def _info(name: str, survey: Survey, topic: str, message: Any, **more: Any) -> FieldInfo:
    header = getattr(message, "header", None)
    frame = str(header.frame_id)[:60] if header is not None else ""
    return field_info(name, source=topic, rate_hz=survey.rate(topic), frame=frame, **more)


def _with_angles(info: FieldInfo, first: float, last: float) -> FieldInfo:
    """Add the bearings of the first and last ray, rad, where they are numbers."""
    if not (math.isfinite(first) and math.isfinite(last)):
        return info
    return info.model_copy(update={"angle_min": float(first), "angle_max": float(last)})


def _imu_fields(
    surveys: Sequence[Survey], survey: Survey, topic: str, message: Any
) -> dict[str, FieldInfo]:
    info = _info("imu", survey, topic, message)
    fields = {"imu": info.model_copy(update={"source": f"{topic}, {BEFORE}"})}
    has_gyro = math.isfinite(messages.imu(message)[0])
    if has_gyro and all("imu" in survey.chosen.roles for survey in surveys):
        bumpy = _info("bumpiness", survey, topic, message)
        fields["bumpiness"] = bumpy.model_copy(update={"source": f"{topic}, {UNTIL}"})
    return fields


def _have_velocity(surveys: Sequence[Survey]) -> bool:
    """Tell whether the odometry measures velocity: many drivers leave it zero."""
    tracked = [
        (survey, survey.chosen.roles["odometry"])
        for survey in surveys
        if _any([survey], "odometry")
    ]
    if any(survey.topics[topic].type != messages.ODOMETRY for survey, topic in tracked):
        return False
    return any(_has_velocity(survey, topic) for survey, topic in tracked[:ODOMETRY_BAGS])


def _has_velocity(survey: Survey, topic: str) -> bool:
    with suppress(NavOffrlError), Bag(survey.source.files) as bag:
        for number, (_, _, data) in enumerate(bag.messages([topic])):
            if number >= ODOMETRY_SAMPLES:
                break
            with suppress(UnusableError):
                velocity = messages.odometry(bag.decode(topic, data))[3:]
                if any(value != 0 and math.isfinite(value) for value in velocity):
                    return True
    return False


def without(chosen: Chosen, names: Sequence[str]) -> Chosen:
    """Return what was chosen but for the cameras in `names`."""
    cameras = {name: topic for name, topic in chosen.cameras.items() if name not in names}
    return replace(chosen, cameras=cameras)
