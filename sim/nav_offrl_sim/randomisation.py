"""What differs between drives in one world: light, paint, camera, picture and latency."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from pydantic import Field, field_validator

from nav_offrl.config import Config
from nav_offrl_sim.robot_configuration import CameraConfig
from nav_offrl_sim.textures import Image

Range = tuple[float, float]
GAMMA = 2.2  # of the pictures: a stop of light is a factor of 2 ** (1 / GAMMA) on grey levels
LOWEST_LENS = 0.02  # above the ground, m


class RandomisationConfig(Config):
    """Ranges that a drive's values are drawn from, evenly; null: as without randomisation."""

    ambient: Range | None = Field(None, description="strength of the light from all sides, 0 to 1")
    diffuse: Range | None = Field(None, description="strength of the sun, 0 to 1")
    sun_azimuth: Range | None = Field(None, description="where the sun stands, rad from x to y")
    sun_elevation: Range | None = Field(None, description="height of the sun, rad")
    tint: Range | None = Field(
        None, description="of red, green and blue each: share of the light, 0 to 1"
    )
    texture_seed: tuple[int, int] | None = Field(
        None, description="first and last seed of the world's paint"
    )
    camera_position: Range | None = Field(
        None, description="added to each lens's place forward, left and up, m"
    )
    camera_yaw: Range | None = Field(None, description="added to each camera's yaw, rad")
    camera_pitch: Range | None = Field(None, description="added to each camera's pitch, rad")
    field_of_view: Range | None = Field(None, description="factor on each horizontal field of view")
    exposure: Range | None = Field(None, description="more (or less) light on the picture, stops")
    noise: Range | None = Field(None, description="standard deviation of a pixel, grey levels")
    blur: Range | None = Field(None, description="standard deviation of the blur, pixels")
    latency: Range | None = Field(None, description="in place of the robot's, s")

    @field_validator("*")
    @classmethod
    def _ordered(cls, value: Any) -> Any:
        if value is not None and value[1] < value[0]:
            raise ValueError(f"the range ends ({value[1]}) below its start ({value[0]})")
        return value

    @field_validator("ambient", "diffuse", "tint")
    @classmethod
    def _shares(cls, value: Range | None) -> Range | None:
        if value is not None and not (value[0] >= 0 and value[1] <= 1):
            raise ValueError("give shares between 0 and 1")
        return value

    @field_validator("texture_seed", "field_of_view", "noise", "blur", "latency")
    @classmethod
    def _not_negative(cls, value: Any) -> Any:
        if value is not None and value[0] < 0:
            raise ValueError("give values that are not negative")
        return value


@dataclass(frozen=True)
class Appearance:
    """What was drawn for one drive.

    Attributes:
        light: arguments of the camera's `set_light`; empty: the world's own light.
        exposure: stops.
        noise: standard deviation, grey levels.
        blur: standard deviation, pixels.
    """

    cameras: Mapping[str, CameraConfig]
    light: Mapping[str, Any] = field(default_factory=dict)
    texture_seed: int | None = None
    exposure: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    latency: float | None = None

    def develop(self, image: Image, rng: np.random.Generator | None = None) -> Image:
        """The picture that this drive's sensor makes of a perfect one, (H, W, 3) uint8.

        `rng` draws the noise; without it there is none.
        """
        if self.exposure == 0.0 and self.noise == 0.0 and self.blur == 0.0:
            return image
        light = image.astype(np.float32) * np.float32(2.0 ** (self.exposure / GAMMA))
        if self.blur > 0:
            light = np.asarray(cv2.GaussianBlur(light, (0, 0), self.blur), np.float32)
        if self.noise > 0 and rng is not None:
            light += rng.standard_normal(light.shape, dtype=np.float32) * np.float32(self.noise)
        return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def draw_appearance(
    config: RandomisationConfig, cameras: Mapping[str, CameraConfig], rng: np.random.Generator
) -> Appearance:
    """Draw one drive's values; an option that is switched on does not shift the others'."""
    shares = dict(zip(_DRAWN, rng.random((len(_DRAWN), 3)), strict=True))

    def draw(name: str, default: float, component: int = 0) -> float:
        bounds = getattr(config, name)
        if bounds is None:
            return default
        return float(bounds[0] + (bounds[1] - bounds[0]) * shares[name][component])

    moved = {
        name: camera.model_copy(
            update={
                "forward": camera.forward + draw("camera_position", 0.0, 0),
                "left": camera.left + draw("camera_position", 0.0, 1),
                "up": max(camera.up + draw("camera_position", 0.0, 2), LOWEST_LENS),
                "yaw": camera.yaw + draw("camera_yaw", 0.0),
                "pitch": camera.pitch + draw("camera_pitch", 0.0),
                "horizontal_fov": min(camera.horizontal_fov * draw("field_of_view", 1.0), 2.8),
            }
        )
        for name, camera in cameras.items()
    }
    seeds = config.texture_seed
    return Appearance(
        cameras=moved,
        light=_light(config, draw),
        texture_seed=None
        if seeds is None
        else seeds[0] + int(shares["texture_seed"][0] * (seeds[1] + 1 - seeds[0])),
        exposure=draw("exposure", 0.0),
        noise=draw("noise", 0.0),
        blur=draw("blur", 0.0),
        latency=None if config.latency is None else draw("latency", 0.0),
    )


def _light(config: RandomisationConfig, draw: Any) -> dict[str, Any]:
    light: dict[str, Any] = {}
    for name in ("ambient", "diffuse"):
        if getattr(config, name) is not None:
            light[name] = draw(name, 0.0)
    if config.sun_azimuth is not None or config.sun_elevation is not None:
        azimuth = draw("sun_azimuth", math.atan2(0.3, 0.5))
        elevation = draw("sun_elevation", math.atan2(0.8, math.hypot(0.5, 0.3)))
        # The light shines away from where the sun stands.
        flat = -math.cos(elevation)
        light["direction"] = (
            flat * math.cos(azimuth),
            flat * math.sin(azimuth),
            -math.sin(elevation),
        )
    if config.tint is not None:
        light["colour"] = tuple(draw("tint", 1.0, component) for component in range(3))
    return light


_DRAWN = tuple(RandomisationConfig.model_fields)
