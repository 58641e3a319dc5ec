"""The main function that all nodes share."""

import sys
from collections.abc import Callable

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from nav_offrl.errors import NavOffrlError


def run_node(create: Callable[[], Node]) -> int:
    """Spin a node until it is interrupted; return the exit status.

    A mistake in parameters or files is one line on stderr and status 2.
    """
    rclpy.init()
    node: Node | None = None
    try:
        node = create()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (NavOffrlError, ParameterException) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
