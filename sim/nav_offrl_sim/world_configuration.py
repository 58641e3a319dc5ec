"""What a family of worlds is made of; `worlds/*.yaml` beside this file are instances."""

from pathlib import Path

from pydantic import Field, model_validator

from nav_offrl.config import Config, ConfigT, load_yaml
from nav_offrl.errors import NavOffrlError

FOLDER = Path(__file__).parent


class OutdoorConfig(Config):
    """What stands in an outdoor world: counts are aims, placement stops when space runs out."""

    buildings: int = Field(6, ge=0, le=12, description="buildings, each with a facade of its own")
    trees: int = Field(12, ge=0, description="trees")
    cars: int = Field(3, ge=0, description="parked cars")
    benches: int = Field(5, ge=0, description="benches")
    signs: int = Field(8, ge=0, description="signs on posts, each with a picture of its own")
    small_objects: int = Field(8, ge=0, description="bins, bollards and planters")
    passage: float = Field(1.5, gt=0, description="least gap between two objects, m")


class IndoorConfig(Config):
    """Rooms and furniture of an indoor world."""

    room_size: float = Field(3.2, ge=2.0, description="rooms are split until about this wide, m")
    door_width: float = Field(1.2, ge=0.8, description="width of a door opening, m")
    wall_thickness: float = Field(0.16, gt=0, description="thickness of inner walls, m")
    wall_height: float = Field(2.6, gt=2.2, description="height of the ceiling, m")
    extra_doors: float = Field(0.5, ge=0, le=1, description="share of doors beyond a tree of them")
    furniture_per_room: int = Field(3, ge=0, description="pieces of furniture tried in each room")


class WorldConfig(Config):
    """A family of worlds; `generate_world(config, seed)` makes one of them."""

    name: str = Field(description="name of the world, used in file names and figures")
    size: tuple[float, float] = Field(description="extent along x and y, m; one corner is (0, 0)")
    grid: float = Field(0.1, gt=0, le=0.2, description="cell size of the occupancy grid, m")
    texture_resolution: float = Field(32, gt=4, le=100, description="wall texture, pixels per m")
    outdoor: OutdoorConfig | None = Field(None, description="set for an outdoor world")
    indoor: IndoorConfig | None = Field(None, description="set for an indoor world")

    @model_validator(mode="after")
    def _one_kind(self) -> "WorldConfig":
        if (self.outdoor is None) == (self.indoor is None):
            raise ValueError("give exactly one of 'outdoor' and 'indoor'")
        if not all(6.0 <= side <= 60.0 for side in self.size):
            raise ValueError("each side of 'size' must be between 6 and 60 m")
        return self


def load_world_config(name_or_path: str | Path) -> WorldConfig:
    """Load a world by its name here ("campus", "office") or from a YAML file."""
    return load_named(WorldConfig, name_or_path, "worlds")


def load_named(model: type[ConfigT], name_or_path: str | Path, folder: str) -> ConfigT:
    """Load `model` by the name of a YAML file shipped in `folder`, or from a file.

    Raises:
        NavOffrlError: there is no such name and no such file, or a field does not fit.
    """
    shipped = FOLDER / folder / f"{name_or_path}.yaml"
    if shipped.is_file():
        return load_yaml(model, shipped)
    if Path(name_or_path).is_file():
        return load_yaml(model, Path(name_or_path))
    names = ", ".join(sorted(path.stem for path in (FOLDER / folder).glob("*.yaml")))
    raise NavOffrlError(
        "no such name and no such file",
        where=str(name_or_path),
        remedy=f"give the path of a YAML file, or one of {names}",
    )
