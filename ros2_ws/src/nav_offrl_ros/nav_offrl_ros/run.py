"""The main functions that the nodes share."""

import sys
from collections.abc import Callable

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from nav_offrl.errors import NavOffrlError


def run_node(create: Callable[[], Node], work: Callable[[Node], None] = rclpy.spin) -> int:
    """Let a node work until it is done or interrupted; return the exit status.

    A mistake in parameters or files is one line on stderr and status 2.
    """
    rclpy.init()
    node: Node | None = None
    try:
        node = create()
        work(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:  # of a publisher, when the interrupt came in the middle of the work
        if rclpy.ok():
            raise
    except (NavOffrlError, ParameterException, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
