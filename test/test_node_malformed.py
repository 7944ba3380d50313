"""Any message at all: what comes out is a right frame or an error of ours, within little memory and time."""

import array
import resource
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from node_fakes import camera_info, fake_prediction
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from test_node_decode import claimed, compressed

from dps_perception.errors import ImageError
from dps_perception.labels import CITYSCAPES
from dps_perception.node.decode import ENCODINGS, Decoder, least_step, needed_bytes
from dps_perception.node.diagnostics import Health
from dps_perception.node.encode import OUTPUTS, Encoder
from dps_perception.node.intake import Intake
from dps_perception.node.parameters import Parameters
from dps_perception.node.scene import Scene, View
from dps_perception.node.worker import Counts

MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
U32 = st.integers(0, 2**32 - 1)
SIZES = st.one_of(st.integers(0, 12), st.sampled_from([100_000, 32_766, 8192, 2**16, 2**31, 2**32 - 1]), U32)
NUMBERS = st.one_of(
    st.sampled_from([0.0, 1.0, 20.0, -20.0, float("nan"), float("inf"), -float("inf"), 1e300, 1e-300, 5e-324]),
    st.floats(width=64),
)
ENCODER = Encoder()
MEMORY_MB = 300  # more than the node may take for a refused frame


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    """The whole module stays within a fixed amount of memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY_MB * 1024


@st.composite
def raw_images(draw):
    """Fields that fit each other now and then."""
    encoding = draw(st.one_of(st.sampled_from(ENCODINGS), st.text(max_size=12)))
    message = Image(height=draw(SIZES), width=draw(SIZES), encoding=encoding, is_bigendian=draw(st.integers(0, 255)))
    least = least_step(encoding, message.width) if encoding in ENCODINGS else message.width
    message.step = draw(st.one_of(st.integers(0, 8).map(lambda more: min(least + more, 2**32 - 1)), U32))
    needed = needed_bytes(encoding, message.height, message.step) if encoding in ENCODINGS else 64
    size = draw(st.one_of(st.just(needed), st.integers(0, 4096))) if needed <= 1 << 16 else draw(st.integers(0, 4096))
    message.data = array.array("B", draw(st.binary(min_size=1, max_size=8)) * size)[:size]
    return message


@st.composite
def files(draw):
    """Compressed images: real ones cut and changed, headers that claim anything, noise."""
    pixels = np.arange(9 * 7 * 3, dtype=np.uint8).reshape(9, 7, 3)
    kind = draw(st.sampled_from(["png", "jpg", "bmp", "claim", "noise"]))
    if kind == "noise":
        data = draw(st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])) + draw(st.binary())
    elif kind == "claim":
        kind = draw(st.sampled_from(["png", "jpeg"]))
        top = 2**32 - 1 if kind == "png" else 2**16 - 1
        data = claimed(kind, *(min(draw(SIZES), top) for _ in range(2)))
    else:
        data = bytearray(compressed(pixels, kind).data.tobytes())
        for _ in range(draw(st.integers(0, 3))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
        data = bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)
    names = st.sampled_from(["jpeg", "png", "bayer_rggb8; png compressed ", "rgb8; jpeg compressed bgr8"])
    message = CompressedImage(format=draw(st.one_of(names, st.text(max_size=12))))
    message.data = array.array("B", data)
    return message


@pytest.fixture(scope="module")
def decoder():
    return Decoder()


@MANY
@given(message=st.one_of(raw_images(), files()))
def test_any_image_decodes_or_is_refused(decoder, message):
    try:
        rgb = decoder.rgb(message)
    except ImageError:
        return
    assert rgb.dtype == np.uint8
    assert rgb.shape[2:] == (3,)
    if isinstance(message, Image):
        assert rgb.shape == (message.height, message.width, 3)
    int(rgb.sum())  # every byte is there


def test_a_long_name_is_cut_short(decoder):
    """A search for the nearest name in megabytes would take minutes, and the log would be full."""
    for sent in (Image(height=1, width=1, encoding="x" * 5_000_000), CompressedImage(format="y" * 5_000_000)):
        began = time.monotonic()
        with pytest.raises(ImageError) as told:
            decoder.rgb(sent)
        assert len(str(told.value)) < 1000
        assert time.monotonic() - began < 2


@st.composite
def calibrations(draw):
    """A usable CameraInfo of a 12x16 image with some fields replaced."""
    info = camera_info((12, 16))
    for name in draw(st.sets(st.sampled_from(["k", "p", "r"]), max_size=2)):
        values = np.array(getattr(info, name))
        for place in draw(st.sets(st.integers(0, len(values) - 1), max_size=3)):
            values[place] = draw(NUMBERS)
        setattr(info, name, values)
    info.d = draw(st.lists(NUMBERS, max_size=15))
    models = ["plumb_bob", "rational_polynomial", "equidistant", "fisheye", "thin_prism", ""]
    info.distortion_model = draw(st.sampled_from(models))
    for name in draw(st.sets(st.sampled_from(["height", "width", "binning_x", "binning_y"]), max_size=2)):
        setattr(info, name, draw(SIZES))
    for name in draw(st.sets(st.sampled_from(["height", "width", "x_offset", "y_offset"]), max_size=3)):
        setattr(info.roi, name, draw(SIZES))
    return info


@MANY
@given(info=calibrations(), rectify=st.booleans(), scale=st.sampled_from([1.0, 0.4, 0.05]))
def test_any_calibration_is_used_or_refused(decoder, info, rectify, scale):
    """All outputs are made of what comes through: the numbers in them are finite."""
    health = Health(Counts)
    sent = Image(height=12, width=16, encoding="rgb8", step=48, data=array.array("B", bytes(range(192)) * 3))
    intake = Intake(decoder, health, lambda *_: None, lambda: "/image_raw")
    frame = intake.frame(sent, info, Parameters(rectify=rectify))
    assert frame.rgb.shape == (12, 16, 3)
    assert (frame.intrinsics is None) == bool(health.calibration_error)
    assert (frame.intrinsics is None) == (frame.camera_info is None)
    view = View(scale=scale, point_stride=2, no_depth_classes=("sky",))
    scene = Scene(
        Header(), frame.rgb, fake_prediction(12, 16), frame.intrinsics, frame.camera_info, CITYSCAPES, "", view
    )
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        made = {name: encode(ENCODER, scene) for name, (_, encode) in OUTPUTS.items()}
    ENCODER.forget()
    withheld = {name for name, message in made.items() if message is None}
    assert withheld == ({"camera_info", "points", "markers"} if frame.intrinsics is None else set())
    if frame.intrinsics is not None:
        out = made["camera_info"]
        assert np.isfinite([*out.k, *out.p, *out.d]).all()
        assert (out.height, out.width) == scene.size_hw
        points = np.frombuffer(made["points"].data, np.float32).reshape(-1, 5)[:, :3]
        assert not np.isinf(points).any()
