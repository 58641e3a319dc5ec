"""Settings of the importers; imports nothing heavy, so that `--help` is quick."""

from pathlib import Path

from pydantic import Field

from nav_offrl.config import Config


class LabelConfig(Config):
    """How a robot labels its own experience, after BADGR (Kahn et al. 2020, section III-B)."""

    close_range: float = Field(
        default=0.0, ge=0, description="m; a lidar return nearer than this is a collision; 0: off"
    )
    stuck_command: float = Field(default=0.2, gt=0, description="m/s; commanded at least this, and")
    stuck_speed: float = Field(default=0.05, ge=0, description="m/s; moved at most this, and")
    stuck_duration: float = Field(
        default=1.0, gt=0, description="s; for this long: stuck, which is a collision"
    )
    flipped_gravity: float = Field(
        default=4.9,
        ge=0,
        description="m/s^2; less than this of gravity along the robot's up axis: flipped",
    )
    jolt: float = Field(
        default=0.0,
        ge=0,
        description="m/s^2; horizontal acceleration above this is a collision; 0: off",
    )


class ImportConfig(Config):
    """How to read a log, whatever its format."""

    rate_hz: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="steps per second: the rate to resample to where the log has timestamps, "
        "taken on trust where it has none; default: the format's or the recipe's own",
    )
    held_out_fraction: float = Field(
        default=0.2, ge=0, lt=1, description="share of the sessions kept out of training"
    )
    seed: int = Field(default=0, description="chooses which sessions are held out")
    camera: str = Field(
        default="front",
        pattern=r"^[a-z][a-z0-9_]*$",
        description="name of the camera, where the log does not name it",
    )
    horizontal_fov: float | None = Field(
        default=None, gt=0, lt=6.3, description="camera's horizontal field of view, rad, if known"
    )
    recipe: str = Field(
        default="generic",
        description="for bags: name of a built-in recipe (husky, jackal, ...) or path of a YAML "
        "file that says which topic is what",
    )
    tolerance: float | None = Field(
        default=None,
        gt=0,
        description="s; how far a camera frame, pose or command may lie from its step; default: "
        "half a period",
    )
    max_gap: float = Field(
        default=2.5, gt=1, description="periods without a step at which the run is split"
    )
    max_position_jump: float = Field(
        default=1.0,
        gt=0,
        description="m between steps; the run is split where it is exceeded (scaled up for "
        "periods longer than 0.25 s)",
    )
    min_episode_length: int = Field(
        default=5, ge=2, description="steps; shorter pieces are dropped (and reported)"
    )
    end_slack: int = Field(
        default=0,
        ge=0,
        description="steps to drop at the end of a run (RECON's runs end in a collision: 3)",
    )
    keep_stale: bool = Field(
        default=True,
        description="keep steps whose pose is exactly the previous one (odometry not updated, "
        "or the robot stands still)",
    )
    without: tuple[str, ...] = Field(
        default=(), description="fields and cameras to leave out, e.g. lidar gps"
    )
    labels: LabelConfig | None = Field(
        default=None,
        description="label collisions and bumpiness from lidar, IMU and motion; default: by the "
        "recipe, else only what the log itself says",
    )
    robot: str = Field(default="", max_length=64, description="what drove, e.g. unitree_go2")
    licence: str = Field(default="", max_length=64, description="licence of the logs, e.g. MIT")
    workers: int = Field(default=0, ge=0, description="processes that read; 0: one a core")
    strict: bool = Field(
        default=False, description="anything dropped, split or refused is an error: no store"
    )


class CameraTopic(Config):
    """One camera of a recipe."""

    topics: tuple[str, ...] = Field(description="first one that the bag has is taken")
    info_topics: tuple[str, ...] = Field(default=(), description="sensor_msgs/CameraInfo")
    horizontal_fov: float | None = Field(default=None, gt=0, lt=6.3, description="rad, if known")


class Recipe(Config):
    """Which topic of a robot's bags is what; the first of several candidates that is there wins.

    Empty candidates of odometry or command in the recipe `generic` mean: by message type.
    """

    robot: str = ""
    licence: str = ""
    rate_hz: float = Field(default=4.0, gt=0, le=1000, description="steps per second")
    cameras: dict[str, CameraTopic] = Field(default_factory=dict)
    odometry: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    imu: tuple[str, ...] = ()
    gps: tuple[str, ...] = ()
    lidar: tuple[str, ...] = ()
    collision: tuple[str, ...] = Field(default=(), description="std_msgs/Bool")
    intervention: tuple[str, ...] = Field(default=(), description="std_msgs/Bool: a person drives")
    by_type: bool = Field(default=False, description="find what no topic names by message type")
    heading_offset: float = Field(
        default=0.0, description="rad, added to the odometry's yaw (TartanDrive: pi/2)"
    )
    tolerance: float | None = Field(default=None, gt=0, description="s; default: half a period")
    max_command_age: float = Field(
        default=0.5, gt=0, description="s; an older command means that the robot was told nothing"
    )
    labels: LabelConfig | None = None


def default_recipes() -> Path:
    """Return the folder of the built-in recipes."""
    return Path(__file__).parent / "recipes"
