"""Images find their CameraInfo, and none is lost for want of one."""

import pytest
from node_fakes import camera_info, image

from dps_perception.node.pairing import Pairing


class Paired:
    """A Pairing with a clock in hand; `frames` holds (image second, CameraInfo second or None)."""

    def __init__(self, slop_s=0.0, timeout_s=1.0):
        self.now, self.frames, self.reasons = 0.0, [], []
        self.pairing = Pairing(slop_s, timeout_s, self.on_frame, self.reasons.append, lambda: self.now)

    def on_frame(self, image, info):
        self.frames.append((seconds(image), None if info is None else seconds(info)))

    def image(self, at):
        self.pairing.image(image(stamp=stamp(at)))

    def info(self, at):
        self.pairing.camera_info(camera_info(stamp=stamp(at)))


def stamp(at):
    return int(at), round((at - int(at)) * 1e9)


def seconds(message):
    return message.header.stamp.sec + message.header.stamp.nanosec / 1e9


def test_equal_stamps_are_paired_in_either_order():
    p = Paired()
    p.image(1)
    p.info(1)
    p.info(2)
    p.image(2)
    assert p.frames == [(1, 1), (2, 2)]


def test_an_image_whose_partner_was_lost_goes_alone_when_the_next_comes():
    p = Paired()
    p.image(1)
    p.image(2)
    p.info(2)
    assert p.frames == [(1, None), (2, 2)]
    assert p.reasons == []  # one lost message is no news


def test_the_last_image_of_a_stream_goes_alone_after_the_timeout():
    p = Paired()
    p.image(1)
    p.now = 0.9
    p.pairing.tick()
    assert p.frames == []
    p.now = 1.0
    p.pairing.tick()
    assert p.frames == [(1, None)]


def test_without_camera_info_images_wait_at_first_and_then_no_more():
    p = Paired(timeout_s=1.0)
    for i in range(5):
        p.now = i * 0.4
        p.image(i)
    assert p.frames == [(0, None), (1, None), (2, None), (3, None), (4, None)]  # 3 and 4 at once
    assert p.pairing.alone
    assert p.reasons[-1] == "no camera_info arrives"


def test_camera_info_that_comes_late_brings_3d_back():
    p = Paired(timeout_s=1.0)
    for i in (1, 2, 3):
        p.now = float(i)
        p.image(i)
    assert p.pairing.alone
    p.info(3)  # too late for image 3, which is not processed twice
    p.now = 4.0
    p.image(4)
    p.info(4)
    assert p.frames == [(1, None), (2, None), (3, None), (4, 4)]
    assert not p.pairing.alone


def test_stamps_that_differ_are_named_with_the_cure():
    p = Paired()
    for i in range(4):
        p.now = float(i)
        p.info(i + 0.012)
        p.image(i)
    assert p.frames == [(0, None), (1, None), (2, None), (3, None)]
    assert (
        p.reasons[-1]
        == "the stamp of camera_info differs from the image's by 0.012 s, although sync_slop=0 wants it equal"
    )


def test_slop_pairs_near_stamps():
    p = Paired(slop_s=0.02)
    for i in range(3):
        p.image(i)
        p.info(i + 0.012)
    assert p.frames == [(0, 0.012), (1, 1.012), (2, 2.012)]


@pytest.mark.parametrize("slop_s", [0.0, 0.02])
def test_a_bag_that_starts_again_is_paired_from_its_first_frame(slop_s):
    p = Paired(slop_s)
    for i in range(100, 110):  # unmatched stamps fill the queues
        p.image(i)
        p.info(i + 0.5)
    p.frames.clear()
    for i in (1, 2, 3):
        p.image(i)
        p.info(i)
    assert [f for f in p.frames if f[0] < 100] == [(1, 1), (2, 2), (3, 3)]
    assert p.pairing.jumps == 1


@pytest.mark.parametrize("slop_s", [0.0, 0.02])
def test_after_a_jump_back_the_first_image_keeps_the_camera_info_that_came_before_it(slop_s):
    p = Paired(slop_s)
    for i in (100, 101, 1, 2):
        p.info(i)
        p.image(i)
    assert p.frames == [(100, 100), (101, 101), (1, 1), (2, 2)]


def test_images_without_stamps_are_all_processed():
    p = Paired()
    for _ in range(3):
        p.image(0)
        p.now += 1
        p.pairing.tick()
    assert p.frames == [(0, None)] * 3
