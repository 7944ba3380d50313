"""Image messages to RGB: every encoding against OpenCV's own conversion, every malformed message by name."""

import array
import sys
import tracemalloc
import types
import zlib

import cv2
import numpy as np
import pytest
from node_fakes import image
from sensor_msgs.msg import CompressedImage

from dps_perception.data.yuv import yuv_to_rgb
from dps_perception.errors import ImageError
from dps_perception.node.decode import ENCODINGS, BridgeError, Decoder, least_step, needed_bytes

H, W = 6, 8
RNG = np.random.default_rng(3)
COLOR = RNG.integers(0, 256, (H, W, 3), np.uint8)
GREY = COLOR[..., 0].copy()
ALPHA = np.dstack([COLOR, GREY])


@pytest.fixture(scope="module")
def decoder():
    return Decoder()


def message(encoding, pixels, pad=0):
    """Rows of `pixels` with `pad` more bytes each."""
    rows = np.ascontiguousarray(pixels).reshape(H, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=99)
    result = image(encoding, (H, W))
    result.step = rows.shape[1]
    result.data = array.array("B", rows.tobytes())
    return result


def grey16_as_8(pixels):
    return np.rint(pixels.astype(float) * 255 / 65535).astype(np.uint8)


YUV = RNG.integers(0, 256, (H, W, 2), np.uint8)
GREY16 = RNG.integers(0, 65536, (H, W), np.uint16)
CASES = {
    "rgb8": (COLOR, COLOR),
    "bgr8": (COLOR, COLOR[..., ::-1]),
    "8UC3": (COLOR, COLOR[..., ::-1]),
    "rgba8": (ALPHA, COLOR),
    "bgra8": (ALPHA, COLOR[..., ::-1]),
    "8UC4": (ALPHA, COLOR[..., ::-1]),
    "mono8": (GREY, np.dstack([GREY] * 3)),
    "8UC1": (GREY, np.dstack([GREY] * 3)),
    "mono16": (GREY16, np.dstack([grey16_as_8(GREY16)] * 3)),
    "yuv422": (YUV, cv2.cvtColor(YUV, cv2.COLOR_YUV2RGB_UYVY)),
    "yuv422_yuy2": (YUV, cv2.cvtColor(YUV, cv2.COLOR_YUV2RGB_YUY2)),
    "uyvy": (YUV, cv2.cvtColor(YUV, cv2.COLOR_YUV2RGB_UYVY)),
    "yuyv": (YUV, cv2.cvtColor(YUV, cv2.COLOR_YUV2RGB_YUY2)),
    "bayer_rggb8": (GREY, cv2.cvtColor(GREY, cv2.COLOR_BayerBG2RGB)),
    "bayer_bggr8": (GREY, cv2.cvtColor(GREY, cv2.COLOR_BayerRG2RGB)),
    "bayer_gbrg8": (GREY, cv2.cvtColor(GREY, cv2.COLOR_BayerGR2RGB)),
    "bayer_grbg8": (GREY, cv2.cvtColor(GREY, cv2.COLOR_BayerGB2RGB)),
    "bayer_rggb16": (GREY16, grey16_as_8(cv2.cvtColor(GREY16, cv2.COLOR_BayerBG2RGB))),
    "bayer_bggr16": (GREY16, grey16_as_8(cv2.cvtColor(GREY16, cv2.COLOR_BayerRG2RGB))),
    "bayer_gbrg16": (GREY16, grey16_as_8(cv2.cvtColor(GREY16, cv2.COLOR_BayerGR2RGB))),
    "bayer_grbg16": (GREY16, grey16_as_8(cv2.cvtColor(GREY16, cv2.COLOR_BayerGB2RGB))),
    "rgb16": (np.dstack([GREY16, GREY16.T.reshape(H, W), GREY16 // 3]), None),
}
CASES["rgb16"] = CASES["rgb16"][0], grey16_as_8(CASES["rgb16"][0])


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize("encoding", CASES)
def test_encodings(decoder, encoding, pad):
    pixels, expected = CASES[encoding]
    if pad and pixels.dtype == np.uint16:
        pad = 6
    rgb = decoder.rgb(message(encoding, pixels, pad))
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb, expected)


@pytest.mark.parametrize("encoding", [name for name in CASES if name.endswith("16")])
def test_big_endian_16_bit(decoder, encoding):
    pixels, expected = CASES[encoding]
    sent = message(encoding, pixels.astype(">u2").view(np.uint8), pad=4)
    sent.is_bigendian = 1
    np.testing.assert_array_equal(decoder.rgb(sent), expected)


@pytest.mark.parametrize("encoding", ["nv12", "nv21", "nv24"])
def test_planes(decoder, encoding):
    """`data.yuv` does it, and is tested there; here that rows and planes are found, with padded rows."""
    sent = image(encoding, (H, W))
    sent.step = W + 6
    sent.data = array.array("B", RNG.integers(0, 256, needed_bytes(encoding, H, sent.step), np.uint8).tobytes())
    expected = yuv_to_rgb(encoding, np.frombuffer(sent.data, np.uint8), H, W, sent.step)
    np.testing.assert_array_equal(decoder.rgb(sent), expected)
    assert np.ptp(expected) > 200
    sent.data = sent.data[:-1]
    with pytest.raises(ImageError, match=r"needs \d+ with the colour plane; the image is truncated"):
        decoder.rgb(sent)


def test_an_odd_width_needs_whole_pairs(decoder):
    sent = image("uyvy", (2, 3), channels=2)
    with pytest.raises(ImageError, match=r"step 6 is less than 3 pixels of uyvy \(8 bytes\)"):
        decoder.rgb(sent)


def test_a_mosaic_too_small_for_neighbours_is_refused(decoder):
    with pytest.raises(ImageError, match="image is 2x6; bayer_rggb8 needs 3x3 pixels"):
        decoder.rgb(image("bayer_rggb8", (6, 2), channels=1))


def test_pure_red_in_a_bayer_pattern_stays_red(decoder):
    """Independent of names: red sensor cells lit in an RGGB pattern make a red image."""
    mosaic = np.zeros((H, W), np.uint8)
    mosaic[::2, ::2] = 200
    rgb = decoder.rgb(message("bayer_rggb8", mosaic))
    assert rgb[2:4, 2:6].reshape(-1, 3).max(0).tolist() == [200, 0, 0]


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_direct_path_equals_cv_bridge(decoder, encoding):
    from cv_bridge import CvBridge

    sent = message(encoding, CASES[encoding][0], pad=3)
    np.testing.assert_array_equal(decoder.rgb(sent), CvBridge().imgmsg_to_cv2(sent, "rgb8"))


def test_rgb8_is_not_copied(decoder):
    sent = message("rgb8", COLOR)
    rgb = decoder.rgb(sent)
    sent.data[0] = (sent.data[0] + 1) % 256
    assert rgb[0, 0, 0] == sent.data[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"height": 0}, "image is 8x0; the camera driver sent no pixels"),
        ({"width": 0}, "image is 0x6"),
        ({"step": 20}, r"step 20 is less than 8 pixels of rgb8 \(24 bytes\)"),
        ({"step": 0}, "step 0 is less"),
        ({"step": 2**31}, "144 bytes of data, but height 6 x step 2147483648 needs"),
        ({"height": 7}, "144 bytes of data, but height 7 x step 24 needs 168; the image is truncated"),
        (
            {"width": 2**32 - 1, "height": 2**32 - 1, "step": 2**32 - 1},
            r"4294967295x4294967295.*32766 a side.*67 million",
        ),
        ({"width": 100_000, "height": 100_000, "step": 300_000}, r"claims 100000x100000 pixels; at most 32766 a side"),
        ({"width": 100_000, "height": 100_000, "step": 24}, "claims 100000x100000 pixels"),
        ({"width": 8193, "height": 8192, "step": 8193 * 3}, "claims 8193x8192 pixels.*67 million in all"),
        ({"encoding": "rgb9"}, "encoding 'rgb9' is unknown, did you mean 'rgb8'.*one of: rgb8, bgr8"),
        ({"encoding": ""}, "encoding '' is unknown"),
        ({"encoding": "32FC1"}, "encoding '32FC1' is unknown"),
    ],
)
def test_malformed_images_are_named(decoder, changes, expected):
    sent = message("rgb8", COLOR)
    for name, value in changes.items():
        setattr(sent, name, value)
    with pytest.raises(ImageError, match=expected):
        decoder.rgb(sent)


def test_truncated_image(decoder):
    sent = message("bgr8", COLOR)
    sent.data = sent.data[:-1]
    with pytest.raises(ImageError, match=r"143 bytes of data.*truncated"):
        decoder.rgb(sent)


def test_every_listed_encoding_has_a_size_and_decodes(decoder):
    for encoding in ENCODINGS:
        sent = image(encoding, (H, W))
        sent.step = least_step(encoding, W)
        sent.data = array.array("B", bytes(needed_bytes(encoding, H, sent.step)))
        assert decoder.rgb(sent).shape == (H, W, 3), encoding


def compressed(pixels, kind, **changes):
    written, data = cv2.imencode(f".{kind}", pixels)
    assert written
    result = CompressedImage(format=kind)
    result.data = array.array("B", data.tobytes())
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def test_png_is_exact_in_color_grey_alpha_and_16_bit(decoder):
    bgr = np.ascontiguousarray(COLOR[..., ::-1])
    np.testing.assert_array_equal(decoder.rgb(compressed(bgr, "png")), COLOR)
    np.testing.assert_array_equal(decoder.rgb(compressed(np.dstack([bgr, GREY]), "png")), COLOR)
    np.testing.assert_array_equal(decoder.rgb(compressed(GREY, "png")), np.dstack([GREY] * 3))
    np.testing.assert_array_equal(
        decoder.rgb(compressed(GREY16, "png")), np.dstack([(GREY16 >> 8).astype(np.uint8)] * 3)
    )


def test_jpeg(decoder):
    plain = np.full((16, 16, 3), (30, 90, 200), np.uint8)
    rgb = decoder.rgb(compressed(plain[..., ::-1].copy(), "jpg", format="bgr8; jpeg compressed bgr8"))
    assert np.abs(rgb.astype(int) - plain).max() <= 4


@pytest.mark.parametrize(
    ("data", "format_", "expected"),
    [
        (b"", "jpeg", "0 bytes of format 'jpeg' can't be decoded"),
        (b"\x00" * 50, "png", "50 bytes of format 'png' can't be decoded"),
        (b"\x00" * 50, "16UC1; compressedDepth png", "holds depth; give a colour image"),
    ],
)
def test_undecodable_compressed_images(decoder, data, format_, expected):
    sent = CompressedImage(format=format_)
    sent.data = array.array("B", data)
    with pytest.raises(ImageError, match=expected):
        decoder.rgb(sent)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_truncated_files(decoder, kind):
    """OpenCV would fill the missing part of a JPEG with grey."""
    whole = compressed(RNG.integers(0, 256, (64, 64, 3), np.uint8), kind)
    assert decoder.rgb(whole).shape == (64, 64, 3)
    for kept in (40, len(whole.data) // 2, len(whole.data) - 20):
        sent = CompressedImage(format=kind, data=whole.data[:kept])
        with pytest.raises(ImageError, match="can't be decoded"):
            decoder.rgb(sent)


def test_a_jpeg_with_padding_and_a_preview_of_another_size(decoder):
    """Some cameras pad their JPEG; a preview inside has a header of its own, which doesn't count."""
    whole, preview = (
        compressed(np.full((*size, 3), 90, np.uint8), "jpg").data.tobytes() for size in ((32, 48), (8, 8))
    )
    inside = b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview
    sent = CompressedImage(format="jpeg", data=array.array("B", whole[:2] + inside + b"\xff" + whole[2:] + bytes(100)))
    assert decoder.rgb(sent).shape == (32, 48, 3)


def claimed(kind, height, width):
    """A file of a few bytes that says to be of this size."""
    if kind == "png":
        head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
        chunk = b"IHDR" + head
        end = b"\x00\x00\x00\x00IEND\xaeB`\x82"
        return b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" + chunk + zlib.crc32(chunk).to_bytes(4, "big") + end
    frame = b"\x08" + height.to_bytes(2, "big") + width.to_bytes(2, "big") + b"\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    scan = b"\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
    segments = b"\xff\xc0" + (len(frame) + 2).to_bytes(2, "big") + frame + b"\xff\xda" + b"\x00\x0c" + scan
    return b"\xff\xd8" + segments + b"\x00\xff\xd9"


@pytest.mark.parametrize(
    ("kind", "size"),
    [("png", (100_000, 100_000)), ("png", (2**32 - 1, 2**32 - 1)), ("png", (1, 40_000)), ("jpeg", (65_000, 65_000)),
     ("jpeg", (9000, 9000))],
)  # fmt: skip
def test_a_claimed_size_is_refused_before_it_is_allocated(decoder, kind, size):
    sent = CompressedImage(format=kind, data=array.array("B", claimed(kind, *size)))
    tracemalloc.start()
    with pytest.raises(ImageError, match=rf"image claims {size[1]}x{size[0]} pixels; at most 32766 a side and 67 mill"):
        decoder.rgb(sent)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_a_claimed_size_without_pixels(decoder):
    sent = CompressedImage(format="jpeg", data=array.array("B", claimed("jpeg", 0, 8)))
    with pytest.raises(ImageError, match="image is 8x0"):
        decoder.rgb(sent)


@pytest.mark.parametrize("kind", ["bmp", "webp", "tiff"])
def test_other_files_are_refused_unread(decoder, kind):
    with pytest.raises(ImageError, match="neither a jpeg nor a png"):
        decoder.rgb(compressed(COLOR, kind))


def test_a_mosaic_as_png(decoder):
    """image_transport packs a bayer image into a grey PNG and names the pattern in the format."""
    sent = compressed(GREY, "png", format="bayer_rggb8; png compressed ")
    np.testing.assert_array_equal(decoder.rgb(sent), CASES["bayer_rggb8"][1])
    color = compressed(COLOR, "png", format="bayer_rggb8; png compressed bgr8")
    np.testing.assert_array_equal(decoder.rgb(color), COLOR[..., ::-1])


def broken_bridge(monkeypatch, convert):
    module = types.ModuleType("cv_bridge")
    module.CvBridge = type("CvBridge", (), {"imgmsg_to_cv2": staticmethod(convert)})
    monkeypatch.setitem(sys.modules, "cv_bridge", module)


def numpy_2(*_):
    raise AttributeError("_ARRAY_API not found")


@pytest.mark.parametrize(
    "convert", [numpy_2, lambda *_: np.zeros((2, 2, 3), np.uint8), lambda *_: np.zeros((2, 2), np.int8)]
)
def test_a_cv_bridge_that_does_not_fit_says_what_to_pin(monkeypatch, convert):
    """Built against NumPy 1 it raises on use; beside OpenCV 5 its type codes mean other types."""
    broken_bridge(monkeypatch, convert)
    with pytest.raises(
        BridgeError, match=f"NumPy {np.__version__}, OpenCV.*pin them.*'numpy<2' 'opencv-python-headless<5'"
    ):
        Decoder()


def test_a_cv_bridge_that_fails_on_import(monkeypatch, tmp_path):
    (tmp_path / "cv_bridge.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.delitem(sys.modules, "cv_bridge", raising=False)
    monkeypatch.delitem(sys.modules, "cv_bridge.core", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BridgeError, match=r"multiarray failed to import.*'numpy<2'"):
        Decoder()


def test_a_missing_cv_bridge_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)
    with pytest.raises(BridgeError, match=r"not installed.*apt install.*make setup"):
        Decoder()
