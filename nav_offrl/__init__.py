"""From logged robot drives to a robot that drives itself to a photo."""

__version__ = "0.1.0"
