"""Geometry of the street world: projection, poses, and that nothing stands or drives inside another thing."""

import numpy as np
import pytest

from dps_perception.camera import Intrinsics, back_project, project
from dps_perception.data.street import build_scene, classes, drive, street_intrinsics
from dps_perception.data.street.builder import Builder, Material, Placement
from dps_perception.data.street.cast import HitMap, cast
from dps_perception.data.street.grammar import Scene
from dps_perception.data.street.occupancy import Occupancy
from dps_perception.data.street.pose import base_pose, camera_in_base, camera_pose, pose_primitives
from dps_perception.data.street.view import View
from dps_perception.labels import unpack

SEEDS = range(500, 520)
EGO_HALF_M = np.array([2.0, 0.85])
FLAT = 1e-9


def scene_of(*solids: tuple) -> Scene:
    """A scene whose objects stand at map positions: (method, material, position, half sizes, shape options)."""
    scene = build_scene(1)
    builder = Builder()
    for method, position, half, options in solids:
        body = builder.body(Placement(0, 0), classes.CAR, np.random.default_rng(0))
        getattr(body, method)(Material.PLAIN, position, half, (0.5, 0.5, 0.5), **options)
    road = scene.road.__class__(**{**vars(scene.road), "curvature": 0.0})
    return Scene(scene.seed, scene.weather, road, scene.ego, builder.finish(), 1.0)


def look_at(scene: Scene, k: Intrinsics) -> HitMap:
    """Cast from the map's origin, looking along +x: optical (x, y, z) = map (-y, -z, x)."""
    pose = np.eye(4)
    pose[:3, :3] = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    hits = HitMap.empty(k.height, k.width)
    with np.errstate(all="ignore"):
        cast(pose_primitives(scene, 0.0), View.pinhole(pose, k), hits, 1000.0)
    return hits


def test_ball_projects_where_intrinsics_say() -> None:
    # Optical centre (1, 0.5, 10): u = 100 * 0.1 + 31.5 = 41.5, v = 200 * 0.05 + 15.5 = 25.5; radius .3 is 3 and 6 px.
    k = Intrinsics(100.0, 200.0, 31.5, 15.5, 48, 64)
    hits = look_at(scene_of(("ball", (10, -1, -0.5), (0.3, 0.3, 0.3), {})), k)
    rows, columns = np.nonzero(hits.primitive == 0)
    assert (columns.min(), columns.max()) == (39, 44)
    assert (rows.min(), rows.max()) == (20, 31)
    assert hits.depth.min() == pytest.approx(9.7, abs=0.02)


def test_box_has_the_depth_of_its_front_along_the_axis() -> None:
    # The front is at 4 m, y and z within +-1: u = 31.5 +- 25 -> 7..56 (6.5 is no centre), v = 15.5 +- 25 -> all rows.
    k = Intrinsics(100.0, 100.0, 31.5, 15.5, 32, 64)
    hits = look_at(scene_of(("box", (5, 0, 0), (1, 1, 1), {})), k)
    assert np.flatnonzero((hits.primitive == 0).all(0)).tolist() == list(range(7, 57))
    np.testing.assert_allclose(hits.depth[:, 7:57], 4.0, rtol=1e-5)


def test_tapered_box_narrows_upwards() -> None:
    # Thin board at 10 m, half width 1 at the bottom (z = -1), 0.2 at the top (z = 1): at z = 0 it is 0.6.
    k = Intrinsics(100.0, 100.0, 31.5, 15.5, 32, 64)
    hits = look_at(scene_of(("box", (10, 0, 0), (0.01, 1, 1), {"taper": (1.0, 0.2)})), k)
    widths = (hits.primitive == 0).sum(1)
    assert widths[6] == pytest.approx(20 * (0.6 - 0.4 * 0.95), abs=1)
    assert widths[15] == pytest.approx(20 * (0.6 - 0.4 * 0.05), abs=1)
    assert widths[25] == pytest.approx(20 * (0.6 + 0.4 * 0.95), abs=1)


def test_nearer_solid_hides_the_farther() -> None:
    k = Intrinsics(100.0, 100.0, 31.5, 15.5, 32, 64)
    far, near = ("box", (20, 0, 0), (1, 8, 8), {}), ("box", (6, 0, 0), (1, 0.5, 0.5), {})
    hits = look_at(scene_of(far, near), k)
    assert hits.primitive[16, 32] == 1
    assert hits.primitive[2, 2] == 0


def test_street_camera_is_the_scaled_cityscapes_camera() -> None:
    k = street_intrinsics(512, 1024)
    assert (k.fx, k.fy) == pytest.approx((1131.26, 1132.65))
    # The published centre counts from the corner of the image, ours from the middle of the first pixel.
    assert (k.cx, k.cy) == pytest.approx((1096.98 / 2 - 0.5, 513.137 / 2 - 0.5))


def test_camera_pose_is_mount_on_vehicle() -> None:
    scene = build_scene(3)
    pose = camera_pose(scene, 1.0)
    np.testing.assert_allclose(pose, base_pose(scene, 1.0) @ camera_in_base(scene))
    assert pose[2, 3] == pytest.approx(scene.ego.height)
    forward, down = pose[:3, 2], pose[:3, 1]
    heading = base_pose(scene, 1.0)[:3, 0]
    assert forward @ heading > 0.99
    assert down[2] < -0.99
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1)


@pytest.mark.parametrize("seed", [501, 504])
def test_static_pixels_warp_onto_the_next_frame(seed: int) -> None:
    a, b = drive(seed, 2, 5.0, 128, 256)
    class_id, instance_id = unpack(a.panoptic)
    static = np.isfinite(a.depth_m) & (a.depth_m < 60) & (instance_id == 0) & (class_id != classes.VEGETATION)
    in_map = back_project(a.depth_m, a.intrinsics)[static] @ a.pose[:3, :3].T + a.pose[:3, 3]
    in_b = (in_map - b.pose[:3, 3]) @ b.pose[:3, :3]
    pixel = project(in_b, b.intrinsics)
    inside = (pixel >= 0).all(1) & (pixel <= [b.intrinsics.width - 1, b.intrinsics.height - 1]).all(1)
    assert inside.sum() > 5000
    u, v = np.rint(pixel[inside]).astype(int).T
    error = np.abs(b.depth_m[v, u] - in_b[inside, 2]) / in_b[inside, 2]
    assert np.median(error) < 0.01
    same_place = error < 0.02
    assert same_place.mean() > 0.8
    assert (unpack(b.panoptic)[0][v, u] == class_id[static][inside])[same_place].mean() > 0.97


def footprints(scene: Scene) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Objects that can collide, with middle and half size of their solids below 2 m in the object's own frame."""
    table = scene.primitives
    reach = np.abs(table.rotation * table.half[:, None]).sum(2)
    low, high = table.centre - reach, table.centre + reach
    small_and_fixed = np.isin(table.class_id, (classes.POLE, classes.BUILDING)) & (low[:, 2] < 2)
    collides = (table.class_id >= classes.PERSON) | small_and_fixed
    chosen, middles, halves = [], [], []
    for index in np.unique(table.object_index[collides]):
        own = (table.object_index == index) & (low[:, 2] < 2)
        first, last = low[own, :2].min(0), high[own, :2].max(0)
        if (table.class_id[own] >= classes.PERSON).any() or (last - first < 2.5).all():
            chosen.append(int(index))
            middles.append((first + last) / 2)
            halves.append((last - first) / 2)
    return chosen, np.array(middles), np.array(halves)


def rectangles(scene: Scene, t_s: float, chosen: list[int], middles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = [scene.primitives.placements[i] for i in chosen]
    moved = np.minimum(t_s, [p.moves_for_s for p in places])
    s = np.array([p.s for p in places]) + moved * [p.speed_s for p in places]
    d = np.array([p.d for p in places]) + moved * [p.speed_d for p in places]
    x, y, heading = scene.road.position(s, d)
    yaw = heading + [p.yaw for p in places]
    axes = np.stack([np.stack([np.cos(yaw), np.sin(yaw)], 1), np.stack([-np.sin(yaw), np.cos(yaw)], 1)], 1)
    return np.stack([x, y], 1) + np.einsum("nki,nk->ni", axes, middles), axes


def overlapping(centres: np.ndarray, axes: np.ndarray, halves: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Separating axis test of rectangle pairs."""
    between = centres[j] - centres[i]
    apart = np.zeros(len(i), bool)
    for own in (i, j):
        for k in (0, 1):
            axis = axes[own, k]
            reach = sum(np.abs(np.einsum("nki,ni->nk", axes[n], axis) * halves[n]).sum(1) for n in (i, j))
            apart |= np.abs((between * axis).sum(1)) > reach
    return ~apart


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_stands_or_drives_inside_another_thing(seed: int) -> None:
    scene = build_scene(seed)
    chosen, middles, halves = footprints(scene)
    # Swinging arms and mirrors reach a little beyond the space that is kept free; a handle bar may touch a handle bar.
    halves = np.maximum(halves - 0.15, 0.02)
    for t_s in np.arange(0, 5.01, 0.5):
        centres, axes = rectangles(scene, t_s, chosen, middles)
        i, j = np.triu_indices(len(chosen), 1)
        near = np.linalg.norm(centres[i] - centres[j], axis=1) < 20
        i, j = i[near], j[near]
        hit = overlapping(centres, axes, halves, i, j)
        assert not hit.any(), [(t_s, chosen[a], chosen[b]) for a, b in zip(i[hit], j[hit], strict=True)]


@pytest.mark.parametrize("seed", SEEDS)
def test_ego_lane_stays_clear(seed: int) -> None:
    """No solid of a thing comes into the ego vehicle, and the camera is inside no solid, for five seconds."""
    scene = build_scene(seed)
    for t_s in np.arange(0, 5.01, 0.25):
        posed = pose_primitives(scene, t_s)
        base = base_pose(scene, t_s)
        reach = np.abs(base[:3, :3].T @ posed.matrix).sum(2)
        centre = (posed.centre - base[:3, 3]) @ base[:3, :3]
        inside = (np.abs(centre[:, :2]) < reach[:, :2] + EGO_HALF_M).all(1)
        inside &= (posed.class_id >= classes.PERSON) & (centre[:, 2] - reach[:, 2] < 2)
        assert not inside.any(), f"seed {seed}, {t_s} s: class {posed.class_id[inside]}"
        camera = camera_pose(scene, t_s)[:3, 3]
        unit = np.einsum("nij,nj->ni", posed.inverse, camera - posed.centre)
        assert not (np.abs(unit) < 1.02).all(1).any(), f"seed {seed}, {t_s} s: the camera is inside a solid"


def test_occupancy_knows_time() -> None:
    space = Occupancy(10.0)
    space.claim(Placement(0.0, 0.0, speed_s=5.0), 4.0, 2.0)
    assert space.is_free(Placement(10.0, 0.0, speed_s=5.0), 4.0, 2.0)
    assert not space.is_free(Placement(10.0, 0.0), 4.0, 2.0)
    assert space.is_free(Placement(10.0, 2.2), 4.0, 2.0)
    # At 1.2 s the space is at s = 6: someone who crosses at s = 30 has left the lane after 3 s, before it comes.
    crosser = Placement(30.0, -2.0, speed_d=1.5, moves_for_s=4.0)
    assert space.is_free(crosser, 0.5, 0.5)
    assert not space.is_free(Placement(30.0, -2.0, speed_d=1.5, moves_for_s=1.3), 0.5, 0.5)


def test_road_coordinates_follow_the_bend() -> None:
    # Curvature 1/100 to the left: after a quarter circle (50 pi) the road is at (100, 100) and points along +y.
    straight = build_scene(1).road
    road = straight.__class__(**{**vars(straight), "curvature": 0.01})
    x, y, heading = road.position(50 * np.pi, 2.0)
    assert (x, y, heading) == pytest.approx((98.0, 100.0, np.pi / 2))
    assert road.coordinates(x, y) == pytest.approx((50 * np.pi, 2.0), rel=1e-5)


def test_objects_move_at_their_speed_until_they_stop() -> None:
    builder = Builder()
    for place in (Placement(1.0, 2.0, speed_s=3.0), Placement(0.0, -1.0, speed_d=2.0, moves_for_s=0.5)):
        body = builder.body(place, classes.CAR, np.random.default_rng(0))
        body.box(Material.PLAIN, (0, 0, 0.5), (1, 1, 0.5), (0, 0, 0))
    scene = scene_of(("box", (0, 0, 0), (1, 1, 1), {}))
    scene = Scene(0, scene.weather, scene.road, scene.ego, builder.finish(), 5.0)
    np.testing.assert_allclose(pose_primitives(scene, 2.0).centre, [[7, 2, 0.5], [0, 0, 0.5]], atol=1e-6)
