"""Simulator, navigator and safety gate; with simulator:=false only what runs on a robot.

ros2 launch nav_offrl_bringup sim.launch.py bundle:=B world:=office robot:=jackal
ros2 launch nav_offrl_bringup sim.launch.py bundle:=B use_sim_time:=true pace:=commands
"""

from typing import Any

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
    DeclareLaunchArgument("world", default_value="campus", description="its name, or a YAML file"),
    DeclareLaunchArgument("world_seed", default_value="0", description="which world of its kind"),
    DeclareLaunchArgument("robot", default_value="generic", description="its name, or a YAML file"),
    DeclareLaunchArgument("seed", default_value="0", description="of drawn places, noise, people"),
    DeclareLaunchArgument("pedestrians", default_value="0", description="people who walk about"),
    DeclareLaunchArgument("randomisation", default_value="", description="YAML file, or none"),
    DeclareLaunchArgument(
        "use_sim_time",
        default_value="false",
        choices=["true", "false"],
        description="of all nodes: the simulator is the clock",
    ),
    DeclareLaunchArgument(
        "pace",
        default_value="real_time",
        choices=["real_time", "commands", "free"],
        description="commands: as fast as the navigator answers; with use_sim_time",
    ),
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


def node(executable: str, parameters: dict[str, Any], condition: IfCondition | None = None) -> Node:
    """Return a node of nav_offrl_ros; its own parameters win over the file's."""
    common = {
        "enable_stamped_cmd_vel": value("enable_stamped_cmd_vel", bool),
        "use_sim_time": value("use_sim_time", bool),
    }
    return Node(
        package="nav_offrl_ros",
        executable=executable,
        name=executable,
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), common, parameters],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        output="screen",
        condition=condition,
    )


def generate_launch_description() -> LaunchDescription:
    """Return the processes."""
    simulator: dict[str, Any] = {
        **{name: value(name, str) for name in ("world", "robot", "randomisation", "pace")},
        **{name: value(name, int) for name in ("world_seed", "seed", "pedestrians")},
        "pace_topics": ["cmd_vel_nav", "cmd_vel"],
    }
    navigator = {"bundle": value("bundle", str), "autostart": value("autostart", bool)}
    return LaunchDescription(
        [
            *ARGUMENTS,
            node("safety_gate", {}),
            node("navigator", navigator),
            node("sim_bridge", simulator, IfCondition(LaunchConfiguration("simulator"))),
        ]
    )
