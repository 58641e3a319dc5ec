"""Which topic of a bag is what: by a recipe's names, or by message types."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nav_offrl.config import load_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.bags.files import Topic
from nav_offrl_datasets.bags.messages import CAMERA_INFO, TRANSFORMS, TYPES
from nav_offrl_datasets.config import ImportConfig, Recipe, default_recipes

Topics = Mapping[str, Topic]

# Roles but cameras, with the field of the store that each feeds.
ROLES = {
    "odometry": "position",
    "command": "action",
    "imu": "imu",
    "gps": "gps",
    "lidar": "lidar",
    "collision": "collision",
    "intervention": "intervention",
}
BY_TYPE = ("odometry", "command", "imu", "gps", "lidar")  # a Bool may mean anything
STATIC_TRANSFORMS = "/tf_static"  # tf2 allows no other name
MAX_LISTED = 40  # topics in one error

# Parts of names that speak for or against a topic among several of a type.
PREFERRED = {
    "camera": ("front", "rgb", "color", "colour", "image_raw"),
    "odometry": ("odom",),
    "command": ("cmd_vel", "controller/cmd_vel"),
    "imu": ("imu/data", "base"),
    "gps": ("fix",),
    "lidar": ("scan", "front"),
}
AVOIDED = {
    "camera": ("depth", "disparity", "infra", "thermal", "mask", "debug", "rear", "back"),
    "odometry": ("gps", "goal", "map", "visual"),
    "command": ("teleop", "joy", "nav", "smooth", "raw", "unstamped", "limited"),
    "imu": ("raw", "camera", "oakd", "zed"),
    "gps": ("raw",),
    "lidar": ("rear", "back", "raw"),
}
# A Twist is as often measured as commanded; only the name can tell.
COMMAND_WORDS = ("cmd", "command", "control", "teleop", "drive", "joy")


@dataclass(frozen=True)
class Chosen:
    """The topic of each role and camera in one bag; `facts` say what else there was."""

    cameras: Mapping[str, str]
    camera_infos: Mapping[str, str]
    roles: Mapping[str, str]
    static_transforms: str = ""
    facts: tuple[str, ...] = ()


def load_recipe(name: str) -> Recipe:
    """Return a built-in recipe, or the one in a YAML file.

    Raises:
        NavOffrlError: there is neither, or a field of the file does not fit.
    """
    built_in = {path.stem: path for path in sorted(default_recipes().glob("*.yaml"))}
    if name in built_in:
        return load_yaml(Recipe, built_in[name])
    if Path(name).suffix in (".yaml", ".yml"):
        return load_yaml(Recipe, name)
    raise NavOffrlError(
        f"unknown recipe '{name}'",
        where="--recipe",
        remedy=f"built-in are {', '.join(built_in)}; or give the path of a .yaml file",
    )


def choose(recipe: Recipe, topics: Topics, config: ImportConfig, where: Path) -> Chosen:
    """Return the topics that `recipe` means in this bag; `where` is named in errors.

    Roles that `config.without` leaves out are not looked for; cameras are, so that they are known.
    A name of the recipe also fits a topic with a namespace before it, if it is the only one.

    Raises:
        NavOffrlError: neither a camera nor odometry is there, or odometry is not though the
            recipe names it; lists what the bag has.
    """
    search = _Search(topics)
    cameras = {}
    for name, camera in recipe.cameras.items():
        cameras[name] = search.named(f"camera '{name}'", "camera", camera.topics)
    cameras = {name: topic for name, topic in cameras.items() if topic}
    if recipe.by_type and not cameras:
        cameras = {config.camera: topic} if (topic := search.by_type("camera")) else {}
    infos = {}
    for name, topic in cameras.items():
        declared = recipe.cameras[name].info_topics if name in recipe.cameras else ()
        infos[name] = search.calibration(name, (*declared, *_siblings(topic)))
    infos = {name: topic for name, topic in infos.items() if topic}
    roles = {role: _of_role(role, recipe, search, config) for role in ROLES}
    roles = {role: topic for role, topic in roles.items() if topic}
    seen = {name: topic for name, topic in cameras.items() if name not in config.without}
    _check(recipe, config, seen, roles, topics, where)
    transforms = search.static_transforms() if cameras else ""
    used = {*cameras.values(), *infos.values(), *roles.values(), transforms}
    unused = [topic for topic in topics.values() if topic.name not in used]
    search.facts.append(f"not used: {_listed(unused) or 'nothing'}")
    return Chosen(cameras, infos, roles, transforms, tuple(search.facts))


def _of_role(role: str, recipe: Recipe, search: "_Search", config: ImportConfig) -> str:
    if ROLES[role] in config.without:
        return ""
    names: tuple[str, ...] = getattr(recipe, role)
    topic = search.named(role, role, names) if names else ""
    if not topic and recipe.by_type and role in BY_TYPE:
        topic = search.by_type(role)
    return topic


class _Search:
    """Finds topics among those of a bag; `facts` say what was found, and what was passed over."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.facts: list[str] = []

    def named(self, what: str, role: str, names: tuple[str, ...]) -> str:
        """Return the first of `names` that the bag has and that fits the role, else ""."""
        for topic in self._candidates(names):
            if not topic.count:
                self.facts.append(f"{what}: {topic.name} has no messages")
            elif topic.type not in TYPES[role]:
                self.facts.append(f"{what}: {topic} is passed over, it is no {_short(role)}")
            elif not topic.standard:
                self.facts.append(f"{what}: {topic} is passed over, its definition is unusual")
            else:
                self.facts.append(f"{what}: {topic}")
                return topic.name
        self.facts.append(f"{what}: the bag has no {' or '.join(names)} to use")
        return ""

    def by_type(self, role: str) -> str:
        """Return the topic of the role's type that its name and number speak for, else ""."""
        of_type = [t for t in self._topics.values() if t.type in TYPES[role] and t.count]
        fitting = [topic for topic in of_type if topic.standard and _plausible(role, topic)]
        if not fitting:
            seen = f" but {_listed(of_type)}, which is none by its name" if of_type else ""
            self.facts.append(f"{role}: no topic of type {_short(role)}{seen}")
            return ""
        best = min(fitting, key=lambda topic: _order(role, topic))
        others = [topic for topic in of_type if topic is not best]
        also = f"; there was also {_listed(others)}" if others else ""
        self.facts.append(f"{role}: {best}, by its type{also}")
        return best.name

    def calibration(self, camera: str, names: tuple[str, ...]) -> str:
        """Return the first of `names` that is a CameraInfo, else ""."""
        for topic in self._candidates(names):
            if topic.type == CAMERA_INFO and topic.standard and topic.count:
                return topic.name
        self.facts.append(f"camera '{camera}': no calibration (tried {', '.join(names)})")
        return ""

    def static_transforms(self) -> str:
        """Return the topic that says where the cameras are mounted, else ""."""
        for topic in self._candidates((STATIC_TRANSFORMS,)):
            if topic.type == TRANSFORMS and topic.standard and topic.count:
                return topic.name
        return ""

    def _candidates(self, names: tuple[str, ...]) -> Iterator[Topic]:
        for name in names:
            if name in self._topics:
                yield self._topics[name]
                continue
            spaced = [t for other, t in self._topics.items() if other.endswith(name)]
            if name.startswith("/") and len(spaced) == 1:
                yield spaced[0]


def _plausible(role: str, topic: Topic) -> bool:
    words = topic.name.lower()
    if role == "command":
        return any(word in words for word in COMMAND_WORDS)
    return role != "camera" or "compresseddepth" not in words


def _order(role: str, topic: Topic) -> tuple[int, int, int, int, str]:
    """Sort by name, then message type, then number of messages, then the shorter name."""
    words = topic.name.lower()
    for_it = sum(word in words for word in PREFERRED[role])
    against = sum(word in words for word in AVOIDED[role])
    kind = TYPES[role].index(topic.type)
    return 2 * against - for_it, kind, -topic.count, len(topic.name), topic.name


def _siblings(image_topic: str) -> tuple[str, ...]:
    """Return where image_transport puts the CameraInfo of an image topic."""
    base = image_topic.removesuffix("/compressed")
    return (f"{base.rpartition('/')[0]}/camera_info", f"{base}/camera_info")


def _check(
    recipe: Recipe,
    config: ImportConfig,
    cameras: Mapping[str, str],
    roles: Mapping[str, str],
    topics: Topics,
    where: Path,
) -> None:
    poses_wanted = bool(recipe.odometry) and "position" not in config.without
    if "odometry" in roles or (cameras and not poses_wanted):
        return
    names = [*recipe.odometry, *(name for c in recipe.cameras.values() for name in c.topics)]
    raise NavOffrlError(
        f"recipe '{config.recipe}' finds no {'odometry' if cameras else 'camera or odometry'} "
        f"({', '.join(names) or 'by message type'}); the bag has "
        f"{_listed(topics.values()) or 'no topics'}",
        where=where,
        remedy="name the topics in a recipe of your own and give its path as --recipe"
        + ("; --without position yaw goes on without poses" if cameras else ""),
    )


def _listed(topics: Iterable[Topic]) -> str:
    found = sorted(topics, key=lambda topic: (-topic.count, topic.name))
    more = f" and {len(found) - MAX_LISTED} more" if len(found) > MAX_LISTED else ""
    return ", ".join(map(str, found[:MAX_LISTED])) + more


def _short(role: str) -> str:
    return " or ".join(kind.rpartition("/")[2] for kind in TYPES[role])
