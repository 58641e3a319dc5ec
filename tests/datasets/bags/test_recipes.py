"""Recipes: the built-in ones, and which topics they mean in a bag."""

from pathlib import Path

import pytest

from nav_offrl.errors import NavOffrlError
from nav_offrl_datasets.bags.files import Topic
from nav_offrl_datasets.bags.topics import Chosen, choose, load_recipe
from nav_offrl_datasets.config import CameraTopic, ImportConfig, Recipe, default_recipes

BUILT_IN = [
    "generic",
    "go2",
    "huron",
    "husky",
    "jackal",
    "locobot",
    "scand",
    "tartandrive",
    "turtlebot4",
]
KINDS = {
    "image": "sensor_msgs/msg/Image",
    "jpeg": "sensor_msgs/msg/CompressedImage",
    "info": "sensor_msgs/msg/CameraInfo",
    "odom": "nav_msgs/msg/Odometry",
    "pose": "geometry_msgs/msg/PoseStamped",
    "twist": "geometry_msgs/msg/Twist",
    "stamped": "geometry_msgs/msg/TwistStamped",
    "imu": "sensor_msgs/msg/Imu",
    "fix": "sensor_msgs/msg/NavSatFix",
    "scan": "sensor_msgs/msg/LaserScan",
    "bool": "std_msgs/msg/Bool",
}


def chosen(recipe: Recipe, *topics: str, **settings: object) -> Chosen:
    """Choose among `topics`, each "name kind" or "name kind count"."""
    known = {}
    for text in topics:
        name, kind, *count = text.split()
        known[name] = Topic(name, KINDS[kind], int(count[0]) if count else 10, standard=True)
    return choose(recipe, known, ImportConfig(**settings), Path("a.bag"))


def test_every_robot_has_its_recipe() -> None:
    assert sorted(path.stem for path in default_recipes().glob("*.yaml")) == BUILT_IN


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_recipes_are_valid_and_find_their_own_topics(name: str) -> None:
    recipe = load_recipe(name)
    if name == "generic":
        assert recipe.by_type
        return
    assert recipe.robot and recipe.odometry and recipe.cameras["front"].topics
    kind = {"odometry": "odom", "command": "twist", "imu": "imu", "gps": "fix", "lidar": "scan"}
    kind |= {"collision": "bool"}
    named = {role: getattr(recipe, role)[0] for role in kind if getattr(recipe, role)}
    camera = recipe.cameras["front"].topics[0]
    found = chosen(recipe, f"{camera} jpeg", *(f"{t} {kind[role]}" for role, t in named.items()))
    assert dict(found.roles) == named
    assert dict(found.cameras) == {"front": camera}


def test_facts_of_public_data_sets_are_in_their_recipes() -> None:
    tartan, scand, huron = map(load_recipe, ("tartandrive", "scand", "huron"))
    assert tartan.heading_offset == pytest.approx(1.5707963)
    assert tartan.command == ()  # throttle and steering are no twist
    assert scand.odometry == ("/odom", "/jackal_velocity_controller/odom")
    assert huron.cameras["front"].topics == ("/fisheye_image/compressed",)
    assert huron.odometry == ("/odometry",)


def test_a_recipe_of_ones_own_and_its_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("odometry: [/o]\nrate_hz: 2\n")
    assert load_recipe(str(path)).odometry == ("/o",)
    path.write_text("odometery: [/o]")
    with pytest.raises(NavOffrlError, match=r"mine\.yaml: field 'odometery'"):
        load_recipe(str(path))
    with pytest.raises(NavOffrlError, match=r"unknown recipe 'huski'.*built-in are generic, go2"):
        load_recipe("huski")


def test_the_first_candidate_with_messages_of_a_fitting_type_wins() -> None:
    recipe = Recipe(odometry=("/a", "/b", "/c", "/d"))
    found = chosen(recipe, "/b odom 0", "/c twist", "/d odom", "/e odom")
    assert found.roles["odometry"] == "/d"
    told = "\n".join(found.facts)
    assert "odometry: /b has no messages" in told
    assert "odometry: /c (geometry_msgs/msg/Twist, 10 messages) is passed over" in told
    assert "not used: /c" in told.replace("/b (nav_msgs/msg/Odometry, 0 messages), ", "")


def test_a_namespace_may_come_before_if_there_is_one_only() -> None:
    recipe = Recipe(odometry=("/platform/odom",))
    assert chosen(recipe, "/a200_0001/platform/odom odom").roles["odometry"].startswith("/a200")
    with pytest.raises(NavOffrlError, match="finds no camera or odometry"):
        chosen(recipe, "/r1/platform/odom odom", "/r2/platform/odom odom")


def test_cameras_of_a_recipe_and_their_calibration() -> None:
    recipe = Recipe(
        odometry=("/o",),
        cameras={
            "front": CameraTopic(topics=("/f/image",), info_topics=("/calibration",)),
            "rear": CameraTopic(topics=("/r/image/compressed",)),
            "left": CameraTopic(topics=("/l/image",)),
        },
    )
    found = chosen(recipe, "/o odom", "/f/image image", "/r/image/compressed jpeg",
                   "/calibration info", "/r/camera_info info")  # fmt: skip
    assert dict(found.cameras) == {"front": "/f/image", "rear": "/r/image/compressed"}
    assert dict(found.camera_infos) == {"front": "/calibration", "rear": "/r/camera_info"}
    assert "camera 'left': the bag has no /l/image to use" in found.facts


@pytest.mark.parametrize(
    ("role", "topics", "expected"),
    [
        ("odometry", ("/odom odom", "/gps/odom odom 99", "/goal pose"), "/odom"),
        ("odometry", ("/x odom 9", "/y odom 10"), "/y"),
        ("odometry", ("/goal_pose pose 99", "/state odom 5"), "/state"),
        ("command", ("/cmd_vel twist", "/teleop/cmd_vel twist 99"), "/cmd_vel"),
        ("command", ("/cmd_vel twist", "/controller/cmd_vel twist"), "/controller/cmd_vel"),
        ("command", ("/cmd_vel_nav twist 99", "/cmd_vel stamped"), "/cmd_vel"),
        ("imu", ("/camera/imu imu 99", "/imu/data imu", "/imu/data_raw imu"), "/imu/data"),
        ("lidar", ("/scan scan", "/rear/scan scan 99"), "/scan"),
        ("gps", ("/gps/fix fix 5",), "/gps/fix"),
    ],
)  # fmt: skip
def test_generic_prefers_what_names_and_numbers_speak_for(
    role: str, topics: tuple[str, ...], expected: str
) -> None:
    found = chosen(load_recipe("generic"), "/image jpeg", *topics)
    assert found.roles[role] == expected


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        (("/cam/depth/image image 99", "/cam/color/image_raw image"), "/cam/color/image_raw"),
        (("/cam/image_raw image", "/cam/image_raw/compressed jpeg"), "/cam/image_raw/compressed"),
        (("/rear/image_raw jpeg 99", "/front/image_raw image"), "/front/image_raw"),
        (("/cam/depth/compressedDepth jpeg 99", "/infra/image image"), "/infra/image"),
    ],
)
def test_generic_prefers_a_front_colour_camera(topics: tuple[str, ...], expected: str) -> None:
    found = chosen(load_recipe("generic"), "/odom odom", *topics, camera="eye")
    assert dict(found.cameras) == {"eye": expected}
    assert any(line.startswith(f"camera: {expected}") for line in found.facts)


def test_a_measured_velocity_is_no_command() -> None:
    found = chosen(load_recipe("generic"), "/odom odom", "/gps/vel stamped")
    assert "command" not in found.roles
    assert any("/gps/vel" in line and "none by its name" in line for line in found.facts)


def test_flags_are_never_guessed() -> None:
    found = chosen(load_recipe("generic"), "/odom odom", "/bumper bool")
    assert "collision" not in found.roles


def test_fields_that_are_not_wanted_are_not_looked_for() -> None:
    found = chosen(load_recipe("generic"), "/odom odom", "/scan scan", without=("lidar",))
    assert "lidar" not in found.roles
    with pytest.raises(NavOffrlError, match="finds no camera or odometry"):
        chosen(Recipe(odometry=("/odom",)), "/odom odom", without=("position",))


def test_a_long_list_of_topics_is_cut_short() -> None:
    with pytest.raises(NavOffrlError, match=r"and 10 more"):
        chosen(load_recipe("husky"), *(f"/t{index} bool" for index in range(50)))
