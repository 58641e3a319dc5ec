"""Shapes, pictures and clearance maps against numbers worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nav_offrl.errors import NavOffrlError
from nav_offrl_sim.geometry import REACH, ClearanceMap, Obstacle
from nav_offrl_sim.library import MaterialConfig, PrefabConfig, shipped_library
from nav_offrl_sim.materials import PAINTERS, paint_area, paint_variants
from nav_offrl_sim.meshes import Atlas, MeshBuilder
from nav_offrl_sim.prefabs import placed_triangles, prefab_shape


def shape_of(*parts):
    prefab = PrefabConfig.model_validate({"parts": parts})
    return prefab_shape(prefab, frozenset({"poster"}))


def volume(vertices):
    """Signed volume inside triangles that look outwards, m³."""
    return float(
        np.einsum("ij,ij->i", vertices[:, 0], np.cross(vertices[:, 1], vertices[:, 2])).sum() / 6
    )


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"size": (2.0, 1.0, 0.5)}, 1.0),
        ({"size": (2.0, 1.0, 0.5), "pitch": 0.7, "turn": 0.4}, 1.0),
        # A prism on an octagon of radius 1 has the area 2 * sqrt(2).
        ({"shape": "cylinder", "size": (2.0, 2.0, 3.0)}, 6 * math.sqrt(2)),
        ({"shape": "cylinder", "size": (2.0, 2.0, 3.0), "top": 0.0}, 2 * math.sqrt(2)),
        # Four frusta on heptagons of area 2.736 r², radii 0, 0.707, 1, 0.707 and 0.
        ({"shape": "ball", "size": (2.0, 2.0, 2.0)}, 3.114),
    ],
)
def test_closed_shapes_look_outwards_and_hold_their_volume(part, expected):
    shape = shape_of({"material": "paint", "at": (0.0, 0.0, 1.0), **part})
    assert volume(shape.vertices) == pytest.approx(expected, rel=1e-3)


def test_a_part_is_where_it_is_put():
    shape = shape_of({"size": (2.0, 1.0, 0.5), "at": (3.0, -1.0, 0.25), "material": "paint"})
    low, high = shape.vertices.min(axis=(0, 1)), shape.vertices.max(axis=(0, 1))
    assert low == pytest.approx([2.0, -1.5, 0.25])
    assert high == pytest.approx([4.0, -0.5, 0.75])


def test_faces_show_their_own_pictures_upright():
    shape = shape_of(
        {
            "size": (2, 1, 1),
            "material": "paint",
            "front": "poster",
            "back": "poster",
            "above": "wood",
        }
    )
    assert shape.pictures == ("poster", "paint", "poster", "wood")  # back, sides, front, above
    front = shape.slots == 2
    assert (shape.vertices[front][..., 1] == 0.5).all()
    corners, uv = shape.vertices[front].reshape(-1, 3), shape.texture[front].reshape(-1, 2)
    # Seen from the front, +x is on the left; the picture's first row is above.
    assert uv[:, 0] == pytest.approx((1.0 - corners[:, 0]) / 2)
    assert uv[:, 1] == pytest.approx(1.0 - corners[:, 2])


def test_objects_are_scaled_turned_and_moved_in_this_order():
    shape = shape_of({"size": (1.0, 1.0, 1.0), "material": "paint"})
    poses = np.array([[10.0, 20.0, math.pi / 2], [0.0, 0.0, 0.0]])
    scales = np.array([[4.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    rects = np.array([[[100, 200, 110, 220]], [[0, 0, 10, 10]]], dtype=float)
    corners, texture = placed_triangles(shape, poses, scales, rects)
    first = corners[: len(shape.vertices)]
    assert first.min(axis=(0, 1)) == pytest.approx([9.0, 18.0, 0.0])
    assert first.max(axis=(0, 1)) == pytest.approx([11.0, 22.0, 3.0])
    assert texture[: len(shape.vertices)].min(axis=(0, 1)) == pytest.approx([100, 200])
    assert texture[: len(shape.vertices)].max(axis=(0, 1)) == pytest.approx([110, 220])


def test_footprint_is_the_box_around_the_parts_unless_given():
    bench = shipped_library().prefabs["bench"].outline()
    assert (bench.length, bench.width) == pytest.approx((1.5, 0.5))
    assert shipped_library().prefabs["tree"].outline().radius == pytest.approx(0.18)


@pytest.mark.parametrize("name", sorted(shipped_library().prefabs))
def test_every_shipped_prefab_has_known_materials_and_no_empty_triangles(name):
    library = shipped_library()
    prefab = library.prefabs[name]
    for part in prefab.parts:
        assert part.materials <= library.materials.keys()
    vertices = prefab_shape(prefab, frozenset()).vertices
    area = np.cross(vertices[:, 1] - vertices[:, 0], vertices[:, 2] - vertices[:, 0])
    assert (np.linalg.norm(area, axis=1) > 1e-6).all()
    assert len(vertices) < 400


@pytest.mark.parametrize("pattern", sorted(PAINTERS))
def test_every_pattern_is_painted_at_any_size_and_follows_its_seed(pattern):
    for pixels in ((4, 4), (37, 61), (200, 20)):
        material = MaterialConfig(pattern=pattern, variants=3, pixels=pixels, contrast=0.3)
        first, again, other = (
            paint_variants(np.random.default_rng(seed), material) for seed in (1, 1, 2)
        )
        assert all(picture.shape == (pixels[1], pixels[0], 3) for picture in first)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        if pixels[0] > 4:  # there is no room for a difference in the smallest
            assert any((a != b).any() for a, b in zip(first, other, strict=True))
    area = paint_area(np.random.default_rng(0), material, 90, 1500)
    assert area.shape == (90, 1500, 3) and area.dtype == np.uint8


def test_colours_are_those_given():
    material = MaterialConfig(pattern="plain", colours=((200, 40, 40), (40, 40, 200)), variants=4)
    means = [
        picture.mean(axis=(0, 1)) for picture in paint_variants(np.random.default_rng(0), material)
    ]
    red = [mean for mean in means if mean[0] > mean[2]]
    assert len(red) == 2
    assert np.allclose(red, (200, 40, 40), rtol=0.13, atol=4)


def test_library_names_what_is_wrong():
    with pytest.raises(ValidationError, match="either 'radius' or both"):
        PrefabConfig.model_validate(
            {"parts": [{"size": (1, 1, 1), "material": "paint"}], "footprint": {"length": 1.0}}
        )
    with pytest.raises(ValidationError, match="must be positive"):
        PrefabConfig.model_validate({"parts": [{"size": (0, 1, 1), "material": "paint"}]})


def test_pictures_in_the_atlas_do_not_overlap_and_a_full_one_says_so():
    atlas, rng = Atlas(), np.random.default_rng(0)
    pictures = [
        rng.integers(0, 255, (*rng.integers(4, 90, 2), 3), dtype=np.uint8) for _ in range(150)
    ]
    rects = [atlas.add(picture).astype(int) for picture in pictures]
    image = atlas.finished()
    assert image.shape[0] % 256 == 0
    for picture, (left, top, right, bottom) in zip(pictures, rects, strict=True):
        assert np.array_equal(image[top:bottom, left:right], picture)
    with pytest.raises(NavOffrlError, match="one atlas"):
        for _ in range(20):
            atlas.add(np.zeros((600, 1000, 3), dtype=np.uint8))


def test_chunks_hold_every_triangle_within_their_box():
    rng, builder = np.random.default_rng(0), MeshBuilder()
    corners = rng.uniform(0, 40, (500, 1, 3)) * [1, 1, 0.1] + rng.uniform(-1, 1, (500, 3, 3))
    builder.triangles(corners, np.zeros((500, 3, 2)))
    builder.quads(np.array([[0, 0, 0], [90, 0, 0], [90, 90, 0], [0, 90, 0]]), np.zeros(4))
    mesh = builder.mesh(np.zeros((256, 1024, 3), dtype=np.uint8))
    assert len(mesh) == 502 and mesh.first[0] == 0 and mesh.first[-1] == 502
    assert np.sort(mesh.vertices[:, :, 2].ravel())[-3:] == pytest.approx(
        np.sort(corners[:, :, 2].ravel())[-3:], rel=1e-5
    )
    for k, box in enumerate(mesh.boxes):
        points = mesh.vertices[mesh.first[k] : mesh.first[k + 1]].reshape(-1, 3)
        assert len(points) and (np.abs(points - box[:3]) <= box[3:] + 1e-4).all()
    assert np.isinf(mesh.reach).all()
    assert np.allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-5)


def test_details_are_in_chunks_of_their_own():
    rng, builder = np.random.default_rng(0), MeshBuilder()
    corners = rng.uniform(0, 10, (300, 1, 3)) + rng.uniform(-0.1, 0.1, (300, 3, 3))
    builder.triangles(corners[:200], np.zeros((200, 3, 2)))
    builder.triangles(corners[200:], np.zeros((100, 3, 2)), reach=5.0)
    mesh = builder.mesh(np.zeros((256, 1024, 3), dtype=np.uint8))
    sizes = np.diff(mesh.first)
    assert sizes[mesh.reach == 5.0].sum() == 100 and sizes[np.isinf(mesh.reach)].sum() == 200
    near = np.repeat(mesh.reach == 5.0, sizes)
    assert np.sort(mesh.vertices[near].ravel()) == pytest.approx(
        np.sort(corners[200:].ravel()), abs=1e-5
    )


def test_clearance_is_the_distance_to_a_turned_box_and_a_disc():
    box = Obstacle(2.0, 2.0, 1.0, 0.5, yaw=math.pi / 2)
    disc = Obstacle(5.0, 5.0, 0.0, 0.0, radius=0.5)
    clearance = ClearanceMap([box, disc], (8.0, 8.0), 0.05)
    assert clearance.at(3.5, 2.0) == pytest.approx(1.0, abs=1e-6)
    assert clearance.at(2.0, 4.0) == pytest.approx(1.0, abs=1e-6)
    assert clearance.at(6.02, 5.0) == pytest.approx(0.52, abs=1e-3)
    assert clearance.at(0.3, 7.0) == pytest.approx(0.3, abs=1e-6)
    assert clearance.at(2.0, 2.0) < 0
    assert clearance.at(-0.1, 2.0) < 0


@settings(max_examples=30, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(*[st.floats(0.5, 9.5)] * 2, *[st.floats(0.05, 2.0)] * 2, st.floats(-3, 3)),
        max_size=4,
    ),
    points=st.lists(st.tuples(st.floats(-1, 11), st.floats(-1, 11)), min_size=1, max_size=10),
)
def test_clearance_at_many_points_is_that_of_each_and_near_the_truth(boxes, points):
    obstacles = [Obstacle(*box) for box in boxes]
    clearance = ClearanceMap(obstacles, (10.0, 10.0), 0.05)
    together = clearance.at_points(np.array(points))
    for (x, y), value in zip(points, together, strict=True):
        assert value == pytest.approx(clearance.at(x, y), abs=1e-6)
        if 0 <= x < 9.95 and 0 <= y < 9.95:
            exact = min(
                [x, 10 - x, y, 10 - y, REACH]
                + [float(o.distance(np.array(x), np.array(y))) for o in obstacles]
            )
            # Interpolation of a distance is off by less than the cell's diagonal.
            assert value == pytest.approx(exact, abs=0.05 * math.sqrt(2))
    cells = clearance.on_grid(0.2, 50, 50)
    assert cells[7, 30] == pytest.approx(clearance.at(6.1, 1.5), abs=1e-6)
