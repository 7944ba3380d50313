"""The stand-in for cv_bridge converts and refuses as the real one does; numbers worked out by hand."""

import array

import cv_bridge
import numpy as np
import pytest
from cv_bridge import CvBridge, CvBridgeError
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

if "standin" not in getattr(cv_bridge, "__version__", ""):
    pytest.skip("the real cv_bridge is installed", allow_module_level=True)

BRIDGE = CvBridge()


def message(encoding, height, width, data, step=None, big=False):
    data = bytes(data)
    return Image(
        encoding=encoding,
        height=height,
        width=width,
        step=len(data) // height if step is None else step,
        is_bigendian=int(big),
        data=array.array("B", data),
    )


def test_row_padding_is_removed():
    padded = message("rgb8", 2, 2, [1, 2, 3, 4, 5, 6, 99, 99, 7, 8, 9, 10, 11, 12, 99, 99])
    assert padded.step == 8
    assert BRIDGE.imgmsg_to_cv2(padded).tolist() == [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]]


def test_one_channel_is_two_dimensional_and_shares_memory():
    source = message("mono8", 1, 3, [1, 2, 3])
    image = BRIDGE.imgmsg_to_cv2(source)
    assert image.shape == (1, 3)
    source.data[1] = 77
    assert image.tolist() == [[1, 77, 3]]


@pytest.mark.parametrize(("big", "value"), [(True, 0x0102), (False, 0x0201)])
def test_byte_order(big, value):
    image = BRIDGE.imgmsg_to_cv2(message("16UC1", 1, 1, [1, 2], big=big))
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    assert image.tolist() == [[value]]


def test_floats_keep_nan_and_infinity():
    data = np.array([[1.5, np.nan, np.inf]], np.float32)
    image = BRIDGE.imgmsg_to_cv2(message("32FC1", 1, 3, data.tobytes()))
    np.testing.assert_array_equal(image, data)


@pytest.mark.parametrize(
    ("encoding", "pixel", "wanted", "result"),
    [
        ("rgb8", [1, 2, 3], "bgr8", [3, 2, 1]),
        ("bgra8", [1, 2, 3, 4], "rgb8", [3, 2, 1]),
        ("rgb8", [1, 2, 3], "rgba8", [1, 2, 3, 255]),
        ("mono8", [9], "rgb8", [9, 9, 9]),
        ("rgb8", [255, 0, 0], "mono8", 76),  # 0.299 * 255
        ("bgr8", [255, 0, 0], "mono8", 29),  # 0.114 * 255
        ("bgr8", [1, 2, 3], "8UC3", [1, 2, 3]),
    ],
)
def test_colors(encoding, pixel, wanted, result):
    assert BRIDGE.imgmsg_to_cv2(message(encoding, 1, 1, pixel), wanted)[0, 0].tolist() == result


def test_sixteen_bits_scale_to_eight_and_back():
    deep = np.array([[0, 128, 129, 65535]], np.uint16)  # 255 / 65535 each: 0, 0.498, 0.502, 255
    assert BRIDGE.imgmsg_to_cv2(message("mono16", 1, 4, deep.tobytes()), "mono8").tolist() == [[0, 0, 1, 255]]
    assert BRIDGE.imgmsg_to_cv2(message("mono8", 1, 2, [1, 255]), "mono16").tolist() == [[257, 65535]]


@pytest.mark.parametrize("wanted", ["rgb8", "bgr8"])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [("yuv422", [1, 0, 2, 0]), ("yuv422_yuy2", [0, 1, 0, 2])],
)
def test_yuv_is_bt601_video_range(encoding, order, wanted):
    y, u, v = 81, 90, 240  # red: 1.164 (y - 16) + 1.596 (v - 128) = 254.4; green -0.6; blue -1.0
    image = BRIDGE.imgmsg_to_cv2(message(encoding, 1, 2, [(y, u, v)[i] for i in order]), wanted)
    red = [254, 0, 0] if wanted == "rgb8" else [0, 0, 254]
    assert image.tolist() == [[red, red]]


@pytest.mark.parametrize(
    ("pattern", "first", "second"),
    [("rggb", "RG", "GB"), ("bggr", "BG", "GR"), ("gbrg", "GB", "RG"), ("grbg", "GR", "BG")],
)
@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257)])
def test_bayer_of_an_even_color(pattern, first, second, bits, scale):
    value = {"R": 200, "G": 100, "B": 50}
    mosaic = np.tile([[value[c] for c in first], [value[c] for c in second]], (3, 3)) * scale
    raw = mosaic.astype(f"u{bits // 8}").tobytes()
    rgb = BRIDGE.imgmsg_to_cv2(message(f"bayer_{pattern}{bits}", 6, 6, raw), "rgb8")
    assert np.unique(rgb.reshape(-1, 3), axis=0).tolist() == [[200, 100, 50]]


@pytest.mark.parametrize(
    ("encoding", "data", "wanted", "words"),
    [
        ("nv12", [0, 0, 0], "passthrough", "Unrecognized image encoding"),
        ("rgb9", [0, 0, 0], "rgb8", "Unrecognized image encoding"),
        ("8UC3", [0, 0, 0], "rgb8", "not a color format"),
        ("32FC1", [0, 0, 0, 0], "mono8", "not a color format"),
        ("8UC3", [0, 0, 0], "8UC1", "same number of channel"),
        ("rgb8", [0, 0, 0], "bayer_rggb8", "Unsupported conversion"),
        ("rgb8", [0, 0, 0], "yuv422", "Unsupported conversion"),
    ],
)
def test_refusals(encoding, data, wanted, words):
    with pytest.raises(CvBridgeError, match=words):
        BRIDGE.imgmsg_to_cv2(message(encoding, 1, 1, data), wanted)


@pytest.mark.parametrize(("step", "data"), [(5, [0] * 12), (6, [0] * 11)])
def test_malformed_images_are_refused(step, data):
    with pytest.raises(CvBridgeError, match="wrongly formed"):
        BRIDGE.imgmsg_to_cv2(message("rgb8", 2, 2, data, step=step))


def test_array_to_message():
    array_ = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)[:, ::-1]  # not contiguous
    made = BRIDGE.cv2_to_imgmsg(array_, "rgb8", header=Header(frame_id="camera"))
    assert (made.height, made.width, made.step, made.encoding, made.is_bigendian) == (2, 2, 6, "rgb8", 0)
    assert made.header.frame_id == "camera"
    assert list(made.data) == [3, 4, 5, 0, 1, 2, 9, 10, 11, 6, 7, 8]
    assert BRIDGE.cv2_to_imgmsg(np.zeros((2, 3), np.float32)).encoding == "32FC1"
    with pytest.raises(CvBridgeError, match="incompatible type 8UC3"):
        BRIDGE.cv2_to_imgmsg(array_, "mono8")
    with pytest.raises(TypeError, match="not a numpy array"):
        BRIDGE.cv2_to_imgmsg([[1]])


def test_compressed_round_trip_without_loss():
    bgr = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    packed = BRIDGE.cv2_to_compressed_imgmsg(bgr, "png")
    assert packed.format == "png"
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(packed), bgr)
    np.testing.assert_array_equal(BRIDGE.compressed_imgmsg_to_cv2(packed, "rgb8"), bgr[..., ::-1])


def test_compressed_rubbish():
    rubbish = CompressedImage(format="jpeg", data=array.array("B", b"no image"))
    assert BRIDGE.compressed_imgmsg_to_cv2(rubbish) is None
    with pytest.raises(CvBridgeError, match="can't be decoded"):
        BRIDGE.compressed_imgmsg_to_cv2(rubbish, "rgb8")
    with pytest.raises(CvBridgeError, match="encoder"):
        BRIDGE.cv2_to_compressed_imgmsg(np.zeros((1, 1), np.uint8), "tiffy")


def test_encoding_look_ups():
    assert BRIDGE.encoding_to_dtype_with_channels("32FC1") == ("float32", 1)
    assert BRIDGE.encoding_to_dtype_with_channels("bayer_grbg16") == ("uint16", 1)
    assert BRIDGE.encoding_to_cvtype2("bgr8") == 16  # CV_8UC3 of OpenCV 4
    assert BRIDGE.dtype_with_channels_to_cvtype2(np.dtype(np.uint16), 3) == "16UC3"
