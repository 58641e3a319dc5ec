"""What worlds are made of, as data: materials and prefabs.

`catalogue/*.yaml` beside this file holds the shipped ones. A world's own YAML file may add to them
or replace them by name.
"""

import functools
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from nav_offrl.config import Config, load_yaml

FOLDER = Path(__file__).parent

Range = tuple[float, float]
Rgb = tuple[int, int, int]
Pattern = Literal[
    "plain",
    "speckle",
    "bricks",
    "panels",
    "planks",
    "stripes",
    "checks",
    "tiles",
    "facade",
    "poster",
    "label",
    "window",
    "shelf",
    "boxes",
    "drawers",
    "wheel",
    "thicket",
    "rock",
    "blade",
    "ceiling",
]


class MaterialConfig(Config):
    """How a surface looks; every world paints `variants` pictures of it, drawn from its seed."""

    pattern: Pattern = Field("plain", description="what is painted")
    colours: tuple[Rgb, ...] = Field((), description="one is drawn per picture; none: any hue")
    saturation: float = Field(0.7, ge=0, le=1, description="of colours of any hue")
    value: float = Field(0.85, ge=0, le=1, description="brightness of colours of any hue")
    contrast: float = Field(0.1, ge=0, le=1, description="how much the brightness varies")
    variants: int = Field(1, ge=1, le=64, description="pictures; objects draw one of them each")
    pixels: tuple[int, int] = Field((16, 16), description="width and height of a picture, pixels")

    @model_validator(mode="after")
    def _sensible(self) -> "MaterialConfig":
        if not all(4 <= side <= 512 for side in self.pixels):
            raise ValueError("each side of 'pixels' must be between 4 and 512")
        return self


class PartConfig(Config):
    """One shape of a prefab; x points to its right, y to its front, z up."""

    shape: Literal["box", "cylinder", "ball", "marking"] = Field(
        "box", description="'marking' is painted flat on the ground"
    )
    size: tuple[float, float, float] = Field(description="extent along x, y and z, m")
    at: tuple[float, float, float] = Field((0, 0, 0), description="middle of its underside, m")
    top: float = Field(1.0, ge=0, description="cylinder: width above over width below; 0: cone")
    pitch: float = Field(0.0, description="rotation about its middle's y axis, rad")
    turn: float = Field(0.0, description="rotation about its middle's z axis, rad")
    outline: float = Field(0.0, ge=0, description="marking: width of its line, m; 0: filled")
    material: str = Field(description="name of a material, for all its faces")
    front: str | None = Field(None, description="box: another material for the face towards +y")
    back: str | None = Field(None, description="box: another material for the face towards -y")
    above: str | None = Field(None, description="box: another material for the upper face")

    @model_validator(mode="after")
    def _sensible(self) -> "PartConfig":
        if min(self.size[:2]) <= 0 or self.size[2] < 0:
            raise ValueError("each side of 'size' must be positive")
        return self

    @property
    def materials(self) -> set[str]:
        """Names of all the materials it uses."""
        return {self.material, *filter(None, (self.front, self.back, self.above))}


class FootprintConfig(Config):
    """What stops the robot: a box, or a disc where `radius` is given."""

    length: float = Field(0.0, ge=0, description="along x, m")
    width: float = Field(0.0, ge=0, description="along y, m")
    radius: float = Field(0.0, ge=0, description="of a disc, m")

    @model_validator(mode="after")
    def _box_or_disc(self) -> "FootprintConfig":
        if (self.radius > 0) == (self.length > 0 and self.width > 0):
            raise ValueError("give either 'radius' or both 'length' and 'width'")
        return self


class PrefabConfig(Config):
    """A kind of object: its parts, and what of it stops the robot."""

    parts: tuple[PartConfig, ...] = Field(min_length=1, description="what is seen")
    footprint: FootprintConfig | None = Field(
        None, description="what stops the robot; left out: the box around all parts"
    )
    passable: bool = Field(False, description="nothing of it stops the robot or a lidar")

    @property
    def height(self) -> float:
        """Of its highest part, m."""
        return max(part.at[2] + part.size[2] for part in self.parts)

    def outline(self) -> FootprintConfig:
        """The footprint, or the box around all parts."""
        if self.footprint is not None:
            return self.footprint
        solid = [part for part in self.parts if part.shape != "marking"] or list(self.parts)
        length, width = (
            2 * max(abs(part.at[axis]) + part.size[axis] / 2 for part in solid) for axis in (0, 1)
        )
        return FootprintConfig(length=length, width=width)


class Library(Config):
    """Materials and prefabs by name."""

    materials: dict[str, MaterialConfig] = Field({}, description="by name")
    prefabs: dict[str, PrefabConfig] = Field({}, description="by name")

    def joined(self, other: "Library") -> "Library":
        """Both libraries; what `other` has of the same name comes first."""
        return Library(
            materials=self.materials | other.materials, prefabs=self.prefabs | other.prefabs
        )


@functools.cache
def shipped_library() -> Library:
    """The materials and prefabs of `catalogue/*.yaml`."""
    library = Library()
    for path in sorted((FOLDER / "catalogue").glob("*.yaml")):
        library = library.joined(load_yaml(Library, path))
    return library
