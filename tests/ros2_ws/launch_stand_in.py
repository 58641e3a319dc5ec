"""Enough of launch and launch_ros to learn what a launch file would start.

They come with a system-wide ROS and with no Python package. `resolve` runs a launch file against
these classes and returns the processes; nothing is started. Unknown names fail on import.
"""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

Context = dict[str, str]


class Substitution:
    def text(self, context: Context) -> str:
        raise NotImplementedError


class LaunchConfiguration(Substitution):
    def __init__(self, name: str) -> None:
        self.name = name

    def text(self, context: Context) -> str:
        return context[self.name]


class PathJoinSubstitution(Substitution):
    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def text(self, context: Context) -> str:
        return str(Path(*[text_of(part, context) for part in self.parts]))


class FindPackageShare(Substitution):
    folder = Path()

    def __init__(self, package: str) -> None:
        self.package = package

    def text(self, context: Context) -> str:
        return str(self.folder / self.package)


class ParameterValue:
    def __init__(self, value: Any, *, value_type: type) -> None:
        self.value, self.value_type = value, value_type

    def typed(self, context: Context) -> Any:
        text = text_of(self.value, context)
        value = text if self.value_type is str else yaml.safe_load(text)
        assert isinstance(value, self.value_type), f"{text!r} is no {self.value_type.__name__}"
        return value


class IfCondition:
    def __init__(self, value: Any) -> None:
        self.value = value

    def holds(self, context: Context) -> bool:
        return text_of(self.value, context).lower() in ("true", "1")


class DeclareLaunchArgument:
    def __init__(
        self,
        name: str,
        *,
        default_value: Any = None,
        description: str = "",
        choices: list[str] | None = None,
    ) -> None:
        self.name, self.default, self.choices = name, default_value, choices

    def visit(self, context: Context, processes: list["Process"]) -> None:
        if self.name not in context:
            if self.default is None:
                raise LookupError(f"argument '{self.name}' is missing")
            context[self.name] = text_of(self.default, context)
        if self.choices and context[self.name] not in self.choices:
            raise LookupError(f"{self.name}:={context[self.name]} is not one of {self.choices}")


@dataclass
class Process:
    package: str
    executable: str
    name: str
    namespace: str
    files: list[Path] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)


class Node:
    def __init__(
        self,
        *,
        package: str,
        executable: str,
        name: str,
        namespace: Any = "",
        parameters: list[Any] | None = None,
        arguments: list[Any] | None = None,
        output: str = "log",
        condition: IfCondition | None = None,
    ) -> None:
        self.named = (package, executable, name)
        self.namespace, self.condition = namespace, condition
        self.parameters, self.arguments = parameters or [], arguments or []

    def visit(self, context: Context, processes: list[Process]) -> None:
        if self.condition is not None and not self.condition.holds(context):
            return
        process = Process(*self.named, text_of(self.namespace, context))
        for item in self.parameters:
            if isinstance(item, Mapping):
                for name, value in item.items():
                    typed = isinstance(value, ParameterValue)
                    process.parameters[name] = value.typed(context) if typed else value
            else:
                process.files.append(Path(text_of(item, context)))
        process.arguments = [text_of(item, context) for item in self.arguments]
        processes.append(process)


class LaunchDescription:
    def __init__(self, entities: list[Any]) -> None:
        self.entities = entities


def text_of(value: Any, context: Context) -> str:
    return value.text(context) if isinstance(value, Substitution) else str(value)


MODULES = {
    "launch": (LaunchDescription,),
    "launch.actions": (DeclareLaunchArgument,),
    "launch.conditions": (IfCondition,),
    "launch.substitutions": (LaunchConfiguration, PathJoinSubstitution),
    "launch_ros": (),
    "launch_ros.actions": (Node,),
    "launch_ros.parameter_descriptions": (ParameterValue,),
    "launch_ros.substitutions": (FindPackageShare,),
}


def resolve(file: Path, share: Path, arguments: Mapping[str, str]) -> list[Process]:
    """Return what `ros2 launch FILE name:=value ...` would start; `share` holds the packages."""
    FindPackageShare.folder = share
    before = {name: sys.modules.get(name) for name in MODULES}
    try:
        for name, classes in MODULES.items():
            module = sys.modules[name] = ModuleType(name)
            for entry in classes:
                setattr(module, entry.__name__, entry)
        spec = importlib.util.spec_from_file_location("launch_file", file)
        assert spec is not None and spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded)
        context, processes = dict(arguments), []
        for entity in loaded.generate_launch_description().entities:
            entity.visit(context, processes)
        return processes
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
