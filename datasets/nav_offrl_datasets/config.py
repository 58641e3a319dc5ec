"""Settings of the importers; imports nothing heavy, so that `--help` is quick."""

from pydantic import Field

from nav_offrl.config import Config


class GnmImportConfig(Config):
    """How to read a folder of GNM runs."""

    rate_hz: float = Field(
        default=4.0,
        gt=0,
        le=1000,
        description="steps per second; GNM logs hold no time, so this is taken on trust "
        "(4 is the rate of the GNM family's own data sets)",
    )
    held_out_fraction: float = Field(
        default=0.2, ge=0, lt=1, description="share of the runs kept out of training"
    )
    seed: int = Field(default=0, description="chooses which runs are held out")
    camera: str = Field(
        default="front", pattern=r"^[a-z][a-z0-9_]*$", description="name of the camera"
    )
    horizontal_fov: float | None = Field(
        default=None, gt=0, lt=6.3, description="camera's horizontal field of view, rad, if known"
    )
    max_position_jump: float = Field(
        default=1.0, gt=0, description="m between steps; the run is split where it is exceeded"
    )
    min_episode_length: int = Field(
        default=5, ge=2, description="steps; shorter pieces are dropped (and reported)"
    )
    keep_stale: bool = Field(
        default=True,
        description="keep steps whose pose is exactly the previous one (odometry not updated, "
        "or the robot stands still)",
    )
    robot: str = Field(default="", max_length=64, description="what drove, e.g. unitree_go2")
    licence: str = Field(default="", max_length=64, description="licence of the logs, e.g. MIT")
    strict: bool = Field(
        default=False, description="anything dropped, split or refused is an error: no store"
    )
