"""YUV images to RGB: by the formula of BT.601, and OpenCV's own conversion of planes laid out by hand."""

import cv2
import numpy as np
import pytest

from dps_perception.data.yuv import ENCODINGS, least_step, needed_bytes, yuv_to_rgb

RNG = np.random.default_rng(7)


def bt601(y, u, v):
    """ITU-R BT.601, limited range, in floating point; below black is black."""
    c, d, e = 1.164383 * np.maximum(y - 16.0, 0), u - 128.0, v - 128.0
    rgb = np.stack([c + 1.596027 * e, c - 0.391762 * d - 0.812968 * e, c + 2.017232 * d], -1)
    return np.clip(np.rint(rgb), 0, 255)


def laid_out(encoding, y, u, v, pad=0):
    """(data, step): rows `pad` bytes too long; u and v are of full size and equal within what shares a colour."""
    height, width = y.shape
    even = np.pad(y, ((0, 0), (0, width % 2)), mode="edge")
    pairs = u[:, ::2], v[:, ::2]
    if encoding in ("yuv422", "uyvy"):
        rows = np.stack([pairs[0], even[:, ::2], pairs[1], even[:, 1::2]], -1).reshape(height, -1)
    elif encoding in ("yuv422_yuy2", "yuyv"):
        rows = np.stack([even[:, ::2], pairs[0], even[:, 1::2], pairs[1]], -1).reshape(height, -1)
    elif encoding == "nv24":
        step = width + pad
        color = np.stack([u, v], -1).reshape(height, -1)
        planes = np.pad(y, ((0, 0), (0, pad))), np.pad(color, ((0, 0), (0, 2 * pad)))
        return np.concatenate([p.ravel() for p in planes]), step
    else:
        order = [pairs[0][::2], pairs[1][::2]][:: 1 if encoding == "nv12" else -1]
        rows = np.concatenate([even, np.stack(order, -1).reshape(-(-height // 2), -1)])
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=77)
    return rows.ravel(), rows.shape[1]


def planes(height, width, encoding):
    """Random y, u, v of full size, equal colour where the encoding shares it."""
    shared = {"nv12": (2, 2), "nv21": (2, 2), "nv24": (1, 1)}.get(encoding, (1, 2))
    y = RNG.integers(0, 256, (height, width), np.uint8)
    small = [RNG.integers(0, 256, (-(-height // shared[0]), -(-width // shared[1])), np.uint8) for _ in range(2)]
    u, v = (np.kron(c, np.ones(shared, np.uint8))[:height, :width] for c in small)
    return y, u, v


@pytest.mark.parametrize("pad", [0, 3])
@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_pixel_follows_the_formula(encoding, size, pad):
    y, u, v = planes(*size, encoding)
    data, step = laid_out(encoding, y, u, v, pad)
    assert (step, data.size) == (least_step(encoding, size[1]) + pad, needed_bytes(encoding, size[0], step))
    data.flags.writeable = False
    rgb = yuv_to_rgb(encoding, data, *size, step)
    assert rgb.shape == (*size, 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_allclose(rgb, bt601(y.astype(float), u.astype(float), v.astype(float)), atol=1)


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
def test_two_planes_as_opencv_takes_them_in_one_array(encoding):
    data = RNG.integers(0, 256, (9, 8), np.uint8)  # 6 rows of brightness, 3 of colour
    code = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}[encoding]
    np.testing.assert_array_equal(yuv_to_rgb(encoding, data.ravel(), 6, 8, 8), cv2.cvtColor(data, code))


@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [((16, 128, 128), (0, 0, 0)), ((235, 128, 128), (255, 255, 255)), ((81, 90, 240), (255, 0, 0)),
     ((145, 54, 34), (0, 255, 0)), ((41, 240, 110), (0, 0, 255))],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_colors_of_the_standard(encoding, yuv, rgb):
    """Black, white, red, green and blue as BT.601 numbers them: exchanged colour channels would make blue of red."""
    data, step = laid_out(encoding, *(np.full((2, 2), value, np.uint8) for value in yuv))
    np.testing.assert_allclose(yuv_to_rgb(encoding, data, 2, 2, step), np.broadcast_to(rgb, (2, 2, 3)), atol=2)
