"""Images with any fields against the running node: none ends it, and the next good frame comes out."""

import array

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_fakes import camera_info, image
from node_rig import rigs
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from dps_perception.node.decode import ENCODINGS

MANY = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
sizes = st.one_of(st.integers(0, 64), st.sampled_from([2**16, 100_000, 2**31, 2**32 - 1]))
encodings = st.one_of(st.sampled_from([*ENCODINGS, "32FC1", "16UC1", "", "jpeg"]), st.text(max_size=12).filter(
    lambda text: "\x00" not in text and text.isprintable()))  # fmt: skip
floats = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -1.0, 1e308]))
FIELDS = {
    "height": sizes,
    "width": sizes,
    "step": sizes,
    "encoding": encodings,
    "is_bigendian": st.sampled_from([0, 1, 255]),
    "data": st.binary(max_size=300).map(lambda data: array.array("B", data)),
}


@st.composite
def spoilt_image(draw):
    """A good image but for two fields at most: with more it rarely gets further than the first check."""
    message = image()
    message.header.frame_id = draw(st.sampled_from(["", "camera", "/camera", "a b"]))
    for name in draw(st.lists(st.sampled_from(list(FIELDS)), max_size=2, unique=True)):
        setattr(message, name, draw(FIELDS[name]))
    return message


@st.composite
def any_info(draw):
    message = CameraInfo(
        height=draw(sizes), width=draw(sizes), distortion_model=draw(st.sampled_from(["", "x", "plumb_bob"]))
    )
    message.d = [draw(floats) for _ in range(draw(st.integers(0, 6)))]
    for name, length in (("k", 9), ("r", 9), ("p", 12)):
        setattr(message, name, [draw(floats) for _ in range(length)])
    message.binning_x, message.roi.width = draw(sizes), draw(sizes)
    return message


@pytest.fixture(scope="module")
def rig():
    with rigs() as make:
        r = make(qos_input="reliable", camera_info_timeout=0.05)
        r.listen(panoptic=Image, points=PointCloud2)
        r.ready()
        r.second = 0
        yield r


def came_out(rig, message, info):
    """Send a frame and a good one after it, which must come out; whether the first did too."""
    rig.second += 2
    for each in (message, info):
        each.header.stamp.sec = rig.second - 1
    worker = rig.node._worker
    received = worker.counts().received
    rig.infos.publish(info)
    rig.images.publish(message)
    # Waiting for its end by `drain` would drop what is not yet in work.
    rig.until(lambda: worker.counts().received > received and worker._idle(0, len(worker._stages)))
    rig.send(rig.second)
    rig.until(lambda: rig.second in rig.stamps("panoptic"))
    traces = [text for _, text in rig.warnings if "Traceback" in text]
    assert not traces, traces[-1]
    return rig.second - 1 in rig.stamps("panoptic")


def test_a_malformed_image_costs_no_good_frame(rig):
    seen = set()

    @MANY
    @given(message=spoilt_image())
    def each(message):
        seen.add(came_out(rig, message, camera_info()))

    each()
    assert seen == {False, True}  # some are refused, and some get through the node


def test_a_malformed_calibration_costs_no_frame(rig):
    @MANY
    @given(info=any_info())
    def each(info):
        assert came_out(rig, image(), info)

    each()
    assert rig.node.cameras[0].health.calibration_error == ""  # the last one was good
