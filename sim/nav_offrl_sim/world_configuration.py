"""What a family of worlds is made of; `worlds/*.yaml` beside this file are instances."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from nav_offrl.config import Config, ConfigT, load_yaml
from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.library import (
    Library,
    MaterialConfig,
    PrefabConfig,
    Range,
    shipped_library,
)

FOLDER = Path(__file__).parent


class BladesConfig(Config):
    """Grass that stands on the ground."""

    height: Range = Field((0.4, 0.8), description="of a blade, m")
    density: float = Field(15.0, gt=0, le=100, description="blades per m²")
    width: float = Field(0.06, gt=0, description="of a blade at the ground, m")
    material: str = Field("grass_blades", description="name of a material")


class GroundConfig(Config):
    """A kind of ground, everywhere or in patches; later ones lie on top of earlier ones."""

    kind: str = Field(description="name of the kind, the ground truth of `World.terrain`")
    material: str = Field(description="name of a material")
    roughness: Range = Field(
        (0.05, 0.05), description="the gyro's rms per speed, (rad/s)/(m/s); varies within"
    )
    patches: int | None = Field(None, ge=0, le=100, description="how many; left out: everywhere")
    patch_size: Range = Field((2.0, 5.0), description="across a patch, m")
    patch_shape: Literal["blob", "box"] = Field("blob", description="outline of a patch")
    blades: BladesConfig | None = Field(None, description="grass standing on it")
    seen_by_lidar: bool = Field(False, description="a lidar takes what stands there for solid")


class PathsConfig(Config):
    """Paved ways, on top of all other ground."""

    kind: str = Field("path", description="name of the kind of ground")
    material: str = Field("pavement", description="name of a material")
    roughness: Range = Field((0.05, 0.05), description="(rad/s)/(m/s)")
    width: float = Field(1.6, gt=0.3, description="m")
    pattern: Literal["ring", "winding", "streets"] = Field(
        "ring", description="a ring with spokes; curves across the world; a grid of streets"
    )
    count: int = Field(4, ge=1, le=12, description="spokes, curves, or streets each way")


class BorderConfig(Config):
    """Walls around an outdoor world."""

    materials: tuple[str, ...] = Field(min_length=1, description="of the four sides, in turn")
    height: Range = Field((1.5, 2.1), description="m; each side draws its own")
    tile: float = Field(3.0, gt=0, description="the picture repeats after about this length, m")
    posters: float = Field(0.0, ge=0, description="posters per m of wall")


class OutdoorConfig(Config):
    """Ground under the sky."""

    paths: PathsConfig | None = Field(None, description="paved ways")
    border: BorderConfig | None = Field(None, description="walls around it; none: an open edge")
    sky_clouds: float = Field(0.5, ge=0, le=1, description="share of the sky that is clouded")


class IndoorConfig(Config):
    """Rooms under a ceiling, with corridors and doors between them."""

    room_size: float = Field(3.2, ge=2.0, description="rooms are split until about this wide, m")
    corridors: int = Field(0, ge=0, le=4, description="corridors along x, joined by one across")
    corridor_width: float = Field(1.8, ge=1.2, description="m")
    door_width: float = Field(1.2, ge=0.8, description="width of a door opening, m")
    wall_thickness: float = Field(0.16, gt=0, description="thickness of walls, m")
    wall_height: float = Field(2.6, gt=2.2, description="height of the ceiling, m")
    extra_doors: float = Field(0.5, ge=0, le=1, description="share of doors beyond a tree of them")
    walls: tuple[str, ...] = Field(("room_wall",), description="materials, one drawn per room")
    floors: tuple[str, ...] = Field(("room_floor",), description="materials, one drawn per room")
    floor_kind: str = Field("floor", description="name of the kind of ground")
    floor_roughness: Range = Field((0.03, 0.1), description="each room's, (rad/s)/(m/s)")
    posters: float = Field(0.5, ge=0, description="posters and windows per m of wall")


class RowsConfig(Config):
    """Places in rows, from one corner of the world to the other."""

    spacing: tuple[float, float] = Field(description="from place to place along x and y, m")
    block: tuple[int, int] = Field((1000, 1000), description="places between two aisles")
    aisle: tuple[float, float] = Field((0.0, 0.0), description="further gap after a block, m")
    margin: tuple[float, float] = Field((2.0, 2.0), description="kept free at the edges, m")
    left_out: float = Field(0.0, ge=0, le=1, description="share of places that stay empty")
    jitter: float = Field(0.0, ge=0, description="each place is off by up to this, m")


class ObjectsConfig(Config):
    """Objects of one kind: how many, where, how large."""

    prefab: str = Field(description="name of a prefab")
    count: tuple[int, int] | int = Field(1, description="how many, or from and to")
    place: Literal["anywhere", "rows", "walls", "paths"] = Field(
        "anywhere",
        description="'rows' uses `rows`; 'walls' is along the walls of rooms, `count` in each; "
        "'paths' is beside paths, facing them",
    )
    rows: RowsConfig | None = Field(None, description="where the rows are")
    gap: float = Field(1.2, ge=0, le=2.5, description="least gap to what is there before, m")
    only_on: tuple[str, ...] = Field((), description="kinds of ground it may stand on; none: any")
    never_on: tuple[str, ...] = Field((), description="kinds of ground it may not stand on")
    scale: Range = Field((1.0, 1.0), description="its size over that of the prefab")
    length: Range | None = Field(None, description="instead of the prefab's, along x, m")
    width: Range | None = Field(None, description="instead of the prefab's, along y, m")
    height: Range | None = Field(None, description="instead of the prefab's, m")
    heading: Literal["any", "square", "fixed"] = Field(
        "any", description="any; along the axes; as in the prefab"
    )

    @model_validator(mode="after")
    def _sensible(self) -> "ObjectsConfig":
        if (self.place == "rows") != (self.rows is not None):
            raise ValueError("'rows' goes with place: rows")
        low, high = self.counts
        if not 0 <= low <= high <= 2000:
            raise ValueError("'count' must be within 0 to 2000, the lower number first")
        return self

    @property
    def counts(self) -> tuple[int, int]:
        """The least and the greatest number of them."""
        return (self.count, self.count) if isinstance(self.count, int) else self.count


class WorldConfig(Config):
    """A family of worlds; `generate_world(config, seed)` makes one of them."""

    name: str = Field(description="name of the world, used in file names and figures")
    size: tuple[float, float] = Field(description="extent along x and y, m; one corner is (0, 0)")
    grid: float = Field(0.1, gt=0, le=0.25, description="cell size for shortest paths, m")
    texture_resolution: float = Field(24, gt=4, le=100, description="of the ground, pixels per m")
    outdoor: OutdoorConfig | None = Field(None, description="set for an outdoor world")
    indoor: IndoorConfig | None = Field(None, description="set for an indoor world")
    ground: tuple[GroundConfig, ...] = Field((), description="painted one over another")
    objects: tuple[ObjectsConfig, ...] = Field((), description="put down one after another")
    materials: dict[str, MaterialConfig] = Field({}, description="beyond those of the library")
    prefabs: dict[str, PrefabConfig] = Field({}, description="beyond those of the library")

    @model_validator(mode="after")
    def _one_kind(self) -> "WorldConfig":
        if (self.outdoor is None) == (self.indoor is None):
            raise ValueError("give exactly one of 'outdoor' and 'indoor'")
        if not all(6.0 <= side <= 60.0 for side in self.size):
            raise ValueError("each side of 'size' must be between 6 and 60 m")
        if self.outdoor is not None and (not self.ground or self.ground[0].patches is not None):
            raise ValueError("an outdoor world needs a first 'ground' that lies everywhere")
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> "WorldConfig":
        library = self.library()
        if unknown := {objects.prefab for objects in self.objects} - library.prefabs.keys():
            raise ValueError(f"no prefab is called {_list(unknown)}; {_list(library.prefabs)} are")
        used = {ground.material for ground in self.ground}
        used |= {ground.blades.material for ground in self.ground if ground.blades}
        used |= {
            m for o in self.objects for p in library.prefabs[o.prefab].parts for m in p.materials
        }
        if self.outdoor is not None:
            used |= {self.outdoor.paths.material} if self.outdoor.paths else set()
            used |= set(self.outdoor.border.materials) if self.outdoor.border else set()
        if self.indoor is not None:
            used |= {*self.indoor.walls, *self.indoor.floors}
        if unknown := used - library.materials.keys():
            raise ValueError(
                f"no material is called {_list(unknown)}; {_list(library.materials)} are"
            )
        return self

    def library(self) -> Library:
        """The shipped materials and prefabs with this world's own."""
        return shipped_library().joined(Library(materials=self.materials, prefabs=self.prefabs))


def _list(names: "set[str] | dict[str, MaterialConfig] | dict[str, PrefabConfig]") -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def load_world_config(name_or_path: str | Path) -> WorldConfig:
    """Load a family by its name here ("campus", "forest", "office"...) or from a YAML file."""
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
