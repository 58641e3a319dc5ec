"""What runs on the robot: bundle loader, navigator, safety gate. No torch, no rclpy."""

from nav_offrl.runtime.bundle import Bundle, load_bundle
from nav_offrl.runtime.contract import ActionContract, BundleContract, CameraContract
from nav_offrl.runtime.navigator import (
    Navigator,
    NavigatorConfig,
    NavigatorInputs,
    NavigatorState,
)
from nav_offrl.runtime.safety import (
    Cause,
    SafetyConfig,
    SafetyDiagnosis,
    SafetyGate,
    SafetyInputs,
    SafetyState,
)
from nav_offrl.runtime.session import SessionConfig
from nav_offrl.runtime.types import (
    Command,
    Diagnosis,
    Status,
    TimedCommand,
    TimedImage,
    TimedImageHeader,
    TimedOdometry,
    image_digest,
)

__all__ = [
    "ActionContract",
    "Bundle",
    "BundleContract",
    "CameraContract",
    "Cause",
    "Command",
    "Diagnosis",
    "Navigator",
    "NavigatorConfig",
    "NavigatorInputs",
    "NavigatorState",
    "SafetyConfig",
    "SafetyDiagnosis",
    "SafetyGate",
    "SafetyInputs",
    "SafetyState",
    "SessionConfig",
    "Status",
    "TimedCommand",
    "TimedImage",
    "TimedImageHeader",
    "TimedOdometry",
    "image_digest",
    "load_bundle",
]
