"""ID switches and IDF1 on drives of a few pixels, worked out by hand."""

import json

import numpy as np
import pytest

from dps_perception.evaluation.tracking import TrackingEvaluator, match_things
from dps_perception.labels import CITYSCAPES, VOID_PANOPTIC_ID

CAR, TRUCK, PERSON, ROAD = 13 * 256, 14 * 256, 11 * 256, 0


def row(*ids):
    """Ten pixels of each id in one row."""
    return np.repeat(np.array(ids, np.uint16), 10)[None]


def scores(frames):
    evaluator = TrackingEvaluator(CITYSCAPES)
    for frame in frames:
        if frame is None:
            evaluator.start()
        else:
            evaluator.update(*frame)
    return evaluator.compute()


def test_a_change_of_number_is_a_switch_and_a_return_is_another():
    """The car has track 1, 1, 2, 1: two switches. Given one track for good it keeps 3 of its 4 matches: 2 * 3 / 8."""
    image = row(ROAD, CAR + 1)
    found = scores([(image, {CAR + 1: track}, image) for track in (1, 1, 2, 1)])
    assert (found.objects, found.detections, found.matches, found.switches, found.tracks) == (4, 4, 4, 2, 2)
    assert found.identity_matches == 3
    assert found.idf1 == pytest.approx(75.0)
    assert found.switches_per_100 == pytest.approx(50.0)


def test_two_that_swap_numbers_are_two_switches():
    image = row(CAR + 1, CAR + 2)
    found = scores([(image, {CAR + 1: a, CAR + 2: 3 - a}, image) for a in (1, 1, 2)])
    assert (found.switches, found.identity_matches, found.matches) == (2, 4, 6)


def test_numbers_within_a_frame_mean_nothing():
    """Prediction calls it instance 7, then 9; what counts is the track."""
    truth = row(ROAD, CAR + 1)
    found = scores([(row(ROAD, CAR + i), {CAR + i: 5}, truth) for i in (7, 9)])
    assert (found.switches, found.identity_matches, found.idf1) == (0, 2, 100.0)


def test_a_gap_is_no_switch_but_coming_back_under_another_number_is():
    truth, nothing = row(ROAD, CAR + 1), row(ROAD, ROAD)
    frames = [(truth, {CAR + 1: 1}, truth), (nothing, {}, truth), (truth, {CAR + 1: 1}, truth)]
    assert scores(frames).switches == 0
    assert scores(frames).idf1 == pytest.approx(200 * 2 / (3 + 2))
    frames[2] = (truth, {CAR + 1: 2}, truth)
    assert scores(frames).switches == 1


def test_what_nothing_could_be_scored_of_is_none_in_json():
    found = scores([(row(ROAD), {}, row(ROAD))])
    assert np.isnan([found.idf1, found.switches_per_100]).all()
    written = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (written["idf1"], written["switches_per_100"], written["frames"]) == (None, None, 1)


def test_another_drive_knows_nothing_of_the_one_before():
    image = row(ROAD, CAR + 1)
    found = scores([(image, {CAR + 1: 1}, image), None, (image, {CAR + 1: 2}, image)])
    assert (found.switches, found.identity_matches, found.tracks) == (0, 2, 2)


def test_half_covered_is_not_matched_and_the_class_does_not_matter():
    """Of 10 pixels 5 are found, of 20 pixels 15; IoU must be above one half. The truck is a car in truth."""
    truth = row(CAR + 1, CAR + 2, CAR + 2)
    found = truth.copy()
    found[0, 5:10], found[0, 25:] = ROAD, ROAD
    found[found == CAR + 2] = TRUCK + 4
    assert match_things(found, truth, CITYSCAPES)[2] == [(CAR + 2, TRUCK + 4)]


def test_void_and_crowd_are_nobodys():
    """The second car lies on void, the third on a crowd of persons; the first one's IoU leaves void out: 10 of 10."""
    truth = row(CAR + 1, VOID_PANOPTIC_ID, VOID_PANOPTIC_ID, PERSON)
    found = row(CAR + 1, CAR + 1, CAR + 2, CAR + 3)
    objects, detections, pairs = match_things(found, truth, CITYSCAPES)
    assert objects == [CAR + 1]
    assert detections == [CAR + 1]
    assert pairs == [(CAR + 1, CAR + 1)]


def test_what_is_not_tracked_is_left_out():
    image = row(CAR + 1, CAR + 2)
    found = scores([(image, {CAR + 2: 4}, image)])
    assert (found.objects, found.detections, found.matches) == (2, 1, 1)
    assert np.isnan(scores([(row(ROAD), {}, row(ROAD))]).idf1)
