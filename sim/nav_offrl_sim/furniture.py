"""Furniture and wall decoration of indoor worlds."""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from nav_offrl_sim.geometry import Obstacle
from nav_offrl_sim.scene import Scene
from nav_offrl_sim.textures import (
    Colour,
    Image,
    Rng,
    distinct_colours,
    paste,
    poster,
    shade,
    speckled,
)

Draw = Callable[[Scene, Obstacle, Rng], None]


def _local(piece: Obstacle, along: float, across: float) -> tuple[float, float]:
    cos, sin = math.cos(piece.yaw), math.sin(piece.yaw)
    return piece.x + along * cos - across * sin, piece.y + along * sin + across * cos


def _paint(rng: Rng, saturation: float = 0.75, value: float = 210) -> Colour:
    return distinct_colours(rng, 1, saturation, value)[0]


def _desk(scene: Scene, piece: Obstacle, rng: Rng) -> None:
    wood, leg = scene.atlas.colour(_paint(rng, 0.5)), scene.atlas.colour((70, 70, 75))
    half = (piece.half_length, piece.half_width)
    scene.mesh.box((piece.x, piece.y), half, (0.7, 0.75), wood, wood, piece.yaw, open_below=False)
    for along in (-1, 1):
        place = _local(piece, along * (half[0] - 0.05), 0)
        scene.mesh.box(place, (0.04, half[1] - 0.04), (0, 0.7), leg, leg, piece.yaw)
    screen = scene.atlas.add(poster(rng, 24, 36))
    dark = scene.atlas.colour((30, 30, 35))
    place = _local(piece, 0, -half[1] + 0.15)
    sides = [dark, dark, screen, dark]
    scene.mesh.box(place, (0.3, 0.03), (0.8, 1.2), sides, dark, piece.yaw)


def _shelf(scene: Scene, piece: Obstacle, rng: Rng) -> None:
    picture = np.full((72, 64, 3), 70, dtype=np.uint8)
    for top in range(3, 70, 17):
        left = 3
        while left < 58:
            width, height = int(rng.integers(3, 8)), int(rng.integers(9, 15))
            cv2.rectangle(
                picture,
                (left, top + 14 - height),
                (left + width - 1, top + 14),
                _paint(rng, 0.8),
                -1,
            )
            left += width
    front = scene.atlas.add(picture)
    wood = scene.atlas.colour(_paint(rng, 0.4, 150))
    half = (piece.half_length, piece.half_width)
    sides = [wood, wood, front, wood]
    scene.mesh.box((piece.x, piece.y), half, (0, piece.height), sides, wood, piece.yaw)


def _cabinet(scene: Scene, piece: Obstacle, rng: Rng) -> None:
    colour = _paint(rng)
    picture = speckled(rng, 32, 40, colour, 0.05)
    for left in (1, 20):
        cv2.rectangle(picture, (left, 2), (left + 17, 30), shade(colour, 0.6), 1)
        cv2.circle(picture, (20 + (4 if left > 10 else -4), 15), 2, (245, 240, 200), -1)
    front = scene.atlas.add(picture)
    side = scene.atlas.colour(shade(colour, 0.8))
    half = (piece.half_length, piece.half_width)
    sides = [side, side, front, side]
    scene.mesh.box((piece.x, piece.y), half, (0, piece.height), sides, side, piece.yaw)


def _sofa(scene: Scene, piece: Obstacle, rng: Rng) -> None:
    colour = _paint(rng, 0.8, 190)
    seat, back = scene.atlas.colour(colour), scene.atlas.colour(shade(colour, 0.75))
    half = (piece.half_length, piece.half_width)
    scene.mesh.box((piece.x, piece.y), half, (0, 0.42), back, seat, piece.yaw)
    place = _local(piece, 0, -half[1] + 0.1)
    scene.mesh.box(place, (half[0], 0.1), (0.42, 0.85), back, back, piece.yaw)
    for along in (-1, 1):
        place = _local(piece, along * (half[0] - 0.09), 0)
        scene.mesh.box(place, (0.09, half[1]), (0.42, 0.62), seat, back, piece.yaw)


def _plant(scene: Scene, piece: Obstacle, rng: Rng) -> None:
    pot = scene.atlas.colour(_paint(rng))
    leaf = scene.atlas.add(speckled(rng, 24, 32, (70, 135, 60), 0.5))
    centre = (piece.x, piece.y)
    scene.mesh.frustum(centre, (0.15, 0.2), (0, 0.4), pot)
    scene.mesh.ball((*centre, 0.62), 0.24, leaf)
    scene.mesh.ball((*centre, 0.95), 0.18, leaf)


def _bin(scene: Scene, piece: Obstacle, rng: Rng) -> None:
    colour = _paint(rng, 0.9, 220)
    body, lid = scene.atlas.colour(colour), scene.atlas.colour(shade(colour, 0.5))
    half = (piece.half_length, piece.half_width)
    scene.mesh.box((piece.x, piece.y), half, (0, 0.7), body, lid, piece.yaw)


def _panel(scene: Scene, piece: Obstacle, rng: Rng) -> None:
    front = scene.atlas.add(poster(rng, 60, 48))
    edge = scene.atlas.colour((230, 230, 230))
    half = (piece.half_length, piece.half_width)
    sides = [edge, edge, front, edge]
    scene.mesh.box((piece.x, piece.y), half, (0, piece.height), sides, edge, piece.yaw)


# What draws a piece, and its (length, depth, height) in m. The front looks along local +y.
DRAW_FURNITURE: dict[str, tuple[Draw, tuple[float, float, float]]] = {
    "desk": (_desk, (1.4, 0.6, 0.75)),
    "shelf": (_shelf, (1.0, 0.32, 1.9)),
    "cabinet": (_cabinet, (0.9, 0.4, 0.8)),
    "sofa": (_sofa, (1.5, 0.65, 0.85)),
    "plant": (_plant, (0.4, 0.4, 1.1)),
    "bin": (_bin, (0.35, 0.35, 0.7)),
    "panel": (_panel, (0.8, 0.12, 1.3)),
}


def pictures_on_wall(
    picture: Image, rng: Rng, openings: Sequence[tuple[float, ...]], resolution: float
) -> None:
    """Hang posters, whiteboards and windows on a wall's texture, not where its doors are."""
    height, width = picture.shape[:2]
    taken = [(a * resolution - 4, b * resolution + 4) for a, b in openings]
    for _ in range(max(1, round(width / resolution / 1.6))):
        size = int(rng.uniform(0.25, 0.5) * height), int(rng.uniform(0.2, 0.6) * height)
        left = int(rng.uniform(2, max(3, width - size[1] - 2)))
        top = int(rng.uniform(0.25, 0.45) * height)
        if any(left < b and left + size[1] > a for a, b in taken):
            continue
        taken.append((left - 4, left + size[1] + 4))
        kind = float(rng.uniform())
        patch = poster(rng, *size)
        if kind < 0.2:
            patch[:] = (150, 190, 225)
            patch[size[0] // 2 : size[0] // 2 + 2] = patch[:, size[1] // 2 : size[1] // 2 + 2] = 250
        paste(picture, patch, left, top)
