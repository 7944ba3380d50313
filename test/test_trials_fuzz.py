"""Images with any fields against the running node: none ends it, and the next good frame comes out."""

import array

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_fakes import camera_info, image
from node_rig import rigs
from sensor_msgs.msg import CameraInfo, Image

from dps_perception.node.decode import ENCODINGS

sizes = st.one_of(st.integers(0, 64), st.sampled_from([2**16, 100_000, 2**31, 2**32 - 1]))
encodings = st.one_of(st.sampled_from([*ENCODINGS, "32FC1", "16UC1", "", "jpeg"]), st.text(max_size=12).filter(
    lambda text: "\x00" not in text and text.isprintable()))  # fmt: skip
floats = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, -1.0, 1e308]))


@st.composite
def any_image(draw):
    message = Image(height=draw(sizes), width=draw(sizes), step=draw(sizes), encoding=draw(encodings))
    message.is_bigendian = draw(st.sampled_from([0, 1, 255]))
    message.header.frame_id = draw(st.sampled_from(["", "camera", "/camera", "a b"]))
    message.data = array.array("B", draw(st.binary(max_size=300)))
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
        r.listen(panoptic=Image)
        r.ready()
        r.second = 0
        yield r


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bad=any_image(), info=st.one_of(st.none(), any_info()))
def test_a_malformed_message_costs_no_good_frame(rig, bad, info):
    r = rig
    r.second += 2
    bad.header.stamp.sec = r.second - 1
    if info is not None:
        info.header.stamp.sec = r.second - 1
        r.infos.publish(info)
    received = r.node._worker.counts().received
    r.images.publish(bad)
    r.until(lambda: r.node._worker.counts().received > received)
    assert r.node._worker.drain(10)
    r.infos.publish(camera_info(stamp=(r.second, 0)))
    r.images.publish(image(stamp=(r.second, 0)))
    r.until(lambda: r.second in r.stamps("panoptic"))
    traces = [text for _, text in r.warnings if "Traceback" in text]
    assert not traces, traces[-1]
