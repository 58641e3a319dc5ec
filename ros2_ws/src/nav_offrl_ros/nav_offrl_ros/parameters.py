"""Declaring parameters with a description and a range, so that `ros2 param describe` helps."""

from typing import Any, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from nav_offrl.config import Config, parse_config

ConfigT = TypeVar("ConfigT", bound=Config)
# ROS ranges have two ends; this stands for "no limit".
UNLIMITED = 1e9


def declare(
    node: Node,
    name: str,
    default: Any,
    description: str,
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """Declare a read-only parameter and return its value.

    Read-only, because a limit or a timeout that changes under a moving robot is a fault of its own:
    set it at start. A value outside [low, high] ends the node with a message that names it.
    """
    descriptor = ParameterDescriptor(description=description, read_only=True)
    if low is not None or high is not None:
        bounds = (-UNLIMITED if low is None else low, UNLIMITED if high is None else high)
        if isinstance(default, int):
            limits = IntegerRange(from_value=int(bounds[0]), to_value=int(bounds[1]), step=1)
            descriptor.integer_range = [limits]
        else:
            limits = FloatingPointRange(from_value=float(bounds[0]), to_value=float(bounds[1]))
            descriptor.floating_point_range = [limits]
    return node.declare_parameter(name, default, descriptor).value


def declare_choice(node: Node, name: str, choices: tuple[str, ...], description: str) -> str:
    """Declare a text parameter whose default is the first choice."""
    value = str(declare(node, name, choices[0], f"{description}: {' or '.join(choices)}"))
    if value not in choices:
        raise ValueError(f"parameter '{name}' is '{value}', not one of {', '.join(choices)}")
    return value


def declare_config(node: Node, model: type[ConfigT]) -> ConfigT:
    """Declare every field of a configuration as a parameter of the same name; return its values.

    ROS has no null: for a field that may be null, 0 means null.

    Raises:
        NavOffrlError: the values do not fit together.
    """
    values = {name: _declare_field(node, name, info) for name, info in model.model_fields.items()}
    return parse_config(model, values, f"parameters of {node.get_fully_qualified_name()}")


def _declare_field(node: Node, name: str, info: FieldInfo) -> Any:
    optional = type(None) in getattr(info.annotation, "__args__", ())
    default = info.get_default()
    if optional and default is None:
        default = 0.0
    if isinstance(default, tuple):
        default = list(default)
    low, high = _range(info)
    description = (info.description or "").replace("null", "0" if optional else "null")
    value = declare(node, name, default, description, 0.0 if optional else low, high)
    if optional and value == 0.0:
        return None
    return list(value) if isinstance(default, list) else value


def _range(info: FieldInfo) -> tuple[float | None, float | None]:
    low: Any = None
    high: Any = None
    for limit in info.metadata:
        if isinstance(limit, Ge | Gt):
            low = limit.ge if isinstance(limit, Ge) else limit.gt
        elif isinstance(limit, Le | Lt):
            high = limit.le if isinstance(limit, Le) else limit.lt
    return low, high
