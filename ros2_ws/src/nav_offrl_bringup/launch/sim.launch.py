"""Simulator, navigator and safety gate; with simulator:=false only what runs on a robot.

ros2 launch nav_offrl_bringup sim.launch.py bundle:=/path/to/bundle world:=office
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PARAMETERS = PathJoinSubstitution(
    [FindPackageShare("nav_offrl_bringup"), "config", "navigation.yaml"]
)
ARGUMENTS = [
    DeclareLaunchArgument("bundle", description="folder that 'nav-offrl export' wrote"),
    DeclareLaunchArgument("simulator", default_value="true", choices=["true", "false"]),
    DeclareLaunchArgument("world", default_value="campus", description="or office, or a YAML"),
    DeclareLaunchArgument("world_seed", default_value="0", description="which world of its kind"),
    DeclareLaunchArgument("namespace", default_value="", description="of all nodes"),
    DeclareLaunchArgument("params_file", default_value=PARAMETERS, description="YAML of all nodes"),
    DeclareLaunchArgument(
        "autostart",
        default_value="true",
        choices=["true", "false"],
        description="configure and activate the navigator without being asked",
    ),
    DeclareLaunchArgument(
        "enable_stamped_cmd_vel", default_value="false", choices=["true", "false"]
    ),
    DeclareLaunchArgument("log_level", default_value="info"),
]


def value(name: str, kind: type) -> ParameterValue:
    """Return a launch argument as a parameter of a type, whatever it looks like."""
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def node(
    executable: str, parameters: dict[str, ParameterValue], condition: IfCondition | None = None
) -> Node:
    """Return a node of nav_offrl_ros; its own parameters win over the file's."""
    stamped = {"enable_stamped_cmd_vel": value("enable_stamped_cmd_vel", bool)}
    return Node(
        package="nav_offrl_ros",
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), stamped, parameters],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
        condition=condition,
    )


def generate_launch_description() -> LaunchDescription:
    """Return the processes."""
    simulator = {"world": value("world", str), "world_seed": value("world_seed", int)}
    navigator = {"bundle": value("bundle", str), "autostart": value("autostart", bool)}
    return LaunchDescription(
        [
            *ARGUMENTS,
            node("safety_gate", {}),
            node("navigator", navigator),
            node("sim_bridge", simulator, IfCondition(LaunchConfiguration("simulator"))),
        ]
    )
