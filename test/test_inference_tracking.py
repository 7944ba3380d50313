"""Tracks on scenes whose objects are known: the camera's motion, their own, gaps, classes, and a fresh start."""

import numpy as np
import pytest

from dps_perception.camera import Intrinsics
from dps_perception.data.street import build_scene, render
from dps_perception.data.street.pose import pose_primitives
from dps_perception.evaluation.tracking import TrackingEvaluator
from dps_perception.inference import tracking
from dps_perception.inference.evaluate_tracking import renumbered
from dps_perception.inference.tracking import LOST_AFTER_S, SAMPLES, Tracker
from dps_perception.labels import CITYSCAPES, COCO_PANOPTIC, VOID_PANOPTIC_ID

CAR, TRUCK, PERSON, SKY = 13 * 256, 14 * 256, 11 * 256, 10 * 256
H, W = 60, 100
CAMERA = Intrinsics(50, 50, 49.5, 29.5, H, W)
TENTH = 10**8


def picture(*boxes, depth=10.0):
    """(panoptic, depth) of (id, left, top, width, height) over the sky."""
    panoptic, depth_m = np.full((H, W), SKY, np.uint16), np.full((H, W), depth, np.float32)
    for id_, left, top, width, height in boxes:
        panoptic[max(0, top) : top + height, max(0, left) : left + width] = id_
    return panoptic, depth_m


def ahead(z, x=0.0):
    """A camera that looks along z of the world, `z` metres on and `x` to the right."""
    pose = np.eye(4)
    pose[0, 3], pose[2, 3] = x, z
    return pose


def follow(*frames, tracker=None, pose=None, space=CITYSCAPES, camera=CAMERA, begin=0):
    """Track numbers of each frame; frames a tenth of a second apart."""
    tracker = tracker or Tracker()
    poses = [None] * len(frames) if pose is None else pose
    return [
        tracker.update(*frame, camera, where, (begin + i) * TENTH, space)
        for i, (frame, where) in enumerate(zip(frames, poses, strict=True))
    ]


def test_numbers_stay_whatever_the_instance_ids_are():
    first, second = follow(
        picture((CAR + 1, 10, 20, 20, 10), (CAR + 2, 60, 20, 20, 10)),
        picture((CAR + 7, 62, 20, 20, 10), (CAR + 9, 12, 20, 20, 10)),
    )
    assert first == {CAR + 1: 1, CAR + 2: 2}
    assert second == {CAR + 9: 1, CAR + 7: 2}


def test_the_cameras_motion_is_allowed_for():
    """Two posts at 10 m, 4 m apart; the camera goes 4 m to the right, so the right one is where the left one was."""
    before = picture((CAR + 1, 45, 20, 10, 20), (CAR + 2, 65, 20, 10, 20))
    after = picture((CAR + 1, 25, 20, 10, 20), (CAR + 2, 45, 20, 10, 20))
    assert follow(before, after, pose=[ahead(0), ahead(0, x=4.0)])[1] == {CAR + 1: 1, CAR + 2: 2}
    assert follow(before, after)[1][CAR + 2] == 1  # without it they are taken for each other


def test_the_camera_turns_with_no_depth_known():
    """A quarter of a radian to the right moves what is ahead 12.8 pixels to the left, at whatever depth."""
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(0.25)
    turn[0, 2], turn[2, 0] = np.sin(0.25), -np.sin(0.25)
    before = picture((CAR + 1, 44, 25, 12, 10), (CAR + 2, 57, 25, 12, 10), depth=np.nan)
    after = picture((CAR + 1, 31, 25, 12, 10), (CAR + 2, 44, 25, 12, 10), depth=np.nan)
    assert follow(before, after, pose=[np.eye(4), turn])[1] == {CAR + 1: 1, CAR + 2: 2}


def test_what_moves_by_itself_is_expected_where_its_velocity_takes_it():
    """Cars in a row, 24 pixels apart, move 8 pixels a frame; unseen once, each is partly where another was."""

    def cars(offset):
        return picture(*((CAR + 1 + i, offset + 24 * i, 20, 12, 10) for i in range(3)))

    seen = follow(cars(0), cars(8), cars(16), cars(24), picture(), cars(40))
    assert all(numbers == {CAR + 1: 1, CAR + 2: 2, CAR + 3: 3} for numbers in (*seen[:4], seen[5]))
    assert follow(cars(24), cars(40))[1][CAR + 1] == 2  # without a velocity they are taken for each other


def test_small_and_fast_things_without_overlap_are_found_near_by():
    seen = follow(picture((PERSON + 1, 20, 20, 4, 8)), picture((PERSON + 1, 30, 20, 4, 8)))
    assert seen[1] == {PERSON + 1: 1}
    seen = follow(picture((PERSON + 1, 20, 20, 4, 8)), picture((PERSON + 1, 70, 20, 4, 8)))
    assert seen[1] == {PERSON + 1: 2}  # that is too far
    seen = follow(picture((PERSON + 1, 20, 20, 4, 8)), picture((PERSON + 1, 26, 5, 20, 30)))
    assert seen[1] == {PERSON + 1: 2}  # and that too large


def test_a_class_that_flips_keeps_the_track_but_another_thing_does_not_get_it():
    car, truck = picture((CAR + 1, 10, 20, 20, 10)), picture((TRUCK + 1, 10, 20, 20, 10))
    assert follow(car, truck, car) == [{CAR + 1: 1}, {TRUCK + 1: 1}, {CAR + 1: 1}]
    beside = picture((PERSON + 1, 28, 20, 6, 10))
    assert follow(car, beside)[1] == {PERSON + 1: 2}
    # Of two that overlap alike, the one of the same class goes on.
    both = picture((TRUCK + 1, 10, 20, 10, 10), (CAR + 5, 20, 20, 10, 10))
    assert follow(car, both)[1] == {CAR + 5: 1, TRUCK + 1: 2}


def test_a_gap_is_bridged_and_numbers_are_never_given_again():
    car = picture((CAR + 1, 10, 20, 20, 10))
    frames = round(LOST_AFTER_S * 10)
    assert follow(car, *[picture()] * (frames - 1), car)[-1] == {CAR + 1: 1}
    tracker = Tracker()
    assert follow(car, *[picture()] * frames, car, tracker=tracker)[-1] == {CAR + 1: 2}
    assert len(tracker._tracks) == 1


@pytest.mark.parametrize("what", ["time", "space", "calibration", "forget"])
def test_what_begins_anew_gives_new_numbers(what):
    car, tracker = picture((CAR + 1, 10, 20, 20, 10)), Tracker()
    follow(car, tracker=tracker, begin=50)
    again = {"begin": 51}
    if what == "time":
        again["begin"] = 49
    elif what == "space":
        again["space"] = COCO_PANOPTIC  # 13 is a bench there
    elif what == "calibration":
        again["camera"] = None
    else:
        tracker.forget()
    assert follow(car, tracker=tracker, **again) == [{CAR + 1: 2}]


def test_numbers_begin_again_after_the_largest():
    tracker = Tracker()
    tracker._next = 2**32 - 1
    (numbers,) = follow(picture((CAR + 1, 0, 0, 5, 5), (CAR + 2, 20, 0, 5, 5)), tracker=tracker)
    assert numbers == {CAR + 1: 2**32 - 1, CAR + 2: 1}


def test_stuff_void_and_crowds_have_no_number():
    assert follow(picture((VOID_PANOPTIC_ID, 0, 0, 9, 9), (PERSON, 20, 0, 9, 9))) == [{}]


def test_a_pose_that_is_missing_once_counts_as_no_motion():
    car = picture((CAR + 1, 40, 20, 20, 10))
    seen = follow(car, car, car, pose=[ahead(0), None, ahead(0.1)])
    assert seen == [{CAR + 1: 1}] * 3


def test_another_size_of_the_same_camera_changes_nothing():
    """output_scale may change while the node runs."""
    panoptic, depth_m = picture((CAR + 1, 10, 20, 20, 10), (CAR + 2, 60, 20, 20, 10))
    tracker = Tracker()
    tracker.update(panoptic, depth_m, CAMERA, None, 0, CITYSCAPES)
    half = np.ascontiguousarray(panoptic[::2, ::2]), np.ascontiguousarray(depth_m[::2, ::2])
    assert tracker.update(*half, CAMERA.resized(H // 2, W // 2), None, TENTH, CITYSCAPES) == {CAR + 1: 1, CAR + 2: 2}


def test_samples_are_few_and_stand_for_the_whole_mask():
    panoptic, depth_m = picture((CAR + 1, 0, 0, 50, 60), (CAR + 2, 60, 3, 5, 2))
    depth_m[3, 60] = np.nan
    _, look = tracking._look(panoptic, depth_m, CAMERA, CITYSCAPES)
    assert np.bincount(look.owner).tolist() == [SAMPLES, 10]
    np.testing.assert_allclose(np.bincount(look.owner, look.weight) * CAMERA.fx * CAMERA.fy, [3000, 10])
    np.testing.assert_allclose(look.centre[0], [(24.5 - 49.5) / 50, 0], atol=0.02)
    np.testing.assert_allclose(look.centre[1], [(62 - 49.5) / 50, (3.5 - 29.5) / 50])
    assert (look.depth_m == 10).all()  # what is unknown is as far as the rest


def test_ids_of_a_street_drive_stay_with_their_objects():
    """Ground truth for ID switches: what has an id is, in the map, where the object of that id is."""
    scene, checked = build_scene(3_000_000), 0
    for t_s in (0.0, 0.7, 1.4):
        frame, posed = render(scene, t_s, 128, 256), pose_primitives(scene, t_s)
        k = frame.intrinsics
        for id_ in np.unique(frame.panoptic[frame.panoptic >> 8 == 13]):
            v, u = np.nonzero(frame.panoptic == id_)
            z = frame.depth_m[v, u]
            optical = np.median(np.stack([(u - k.cx) / k.fx * z, (v - k.cy) / k.fy * z, z]), axis=1)
            place = (frame.pose @ [*optical, 1])[:3]
            parts = posed.centre[(posed.class_id == 13) & (posed.instance_id == id_ % 256)]
            assert np.linalg.norm(parts - place, axis=1).min() < 2.0
            checked += 1
    assert checked > 15


def test_a_street_drive_is_tracked_with_few_switches():
    """A second at 10 Hz by true masks whose ids say nothing; docs/tracking.md has the long drives."""
    scene, rng = build_scene(3_000_000), np.random.default_rng(0)
    trackers = {"moving": Tracker(), "still": Tracker()}
    scores = {name: TrackingEvaluator(CITYSCAPES) for name in trackers}
    for i in range(14):
        frame = render(scene, i / 10, 192, 384)
        masks = renumbered(frame.panoptic, CITYSCAPES, rng)
        for name, tracker in trackers.items():
            pose = frame.pose if name == "moving" else None
            numbers = tracker.update(masks, frame.depth_m, frame.intrinsics, pose, i * TENTH, CITYSCAPES)
            scores[name].update(masks, numbers, frame.panoptic)
    moving, still = scores["moving"].compute(), scores["still"].compute()
    assert moving.matches == moving.objects > 100
    assert moving.switches_per_100 < 2.0
    assert moving.idf1 > 90
    assert moving.switches < still.switches
