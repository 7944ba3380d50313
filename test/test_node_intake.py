"""Messages of a camera to frames: rectified where asked, with the calibration of what comes out."""

import array

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from node_fakes import camera_info, fake_prediction, image
from std_msgs.msg import Header

from dps_perception.data import calibration
from dps_perception.labels import CITYSCAPES
from dps_perception.node.decode import Decoder
from dps_perception.node.diagnostics import OK, WARN, Health, InputSituation, ModelHealth, diagnostic_array
from dps_perception.node.encode import Encoder
from dps_perception.node.intake import Intake
from dps_perception.node.parameters import Parameters
from dps_perception.node.scene import Scene, View
from dps_perception.node.worker import Counts

H, W = 48, 64
K = np.array([[50.0, 0, 30.0], [0, 52.0, 25.0], [0, 0, 1.0]])
PLUMB_BOB = [-0.3, 0.1, 0.002, -0.001, 0.02]
FISHEYE = [0.1, -0.02, 0.01, -0.005]
RATIONAL = [-0.4, -0.1, 0.001, 0.002, 0.01, 0.3, -0.05, 0.02]


class Setting:
    """An intake, and what it told."""

    def __init__(self, topic="/camera/image_raw"):
        self.health = Health(Counts)
        self.warnings = []
        self.intake = Intake(
            Decoder(), self.health, lambda kind, text: self.warnings.append((kind, text)), lambda: topic
        )

    def frame(self, info, pixels=None, **parameters):
        sent = image(size=(H, W))
        if pixels is not None:
            sent.data = array.array("B", pixels.tobytes())
        return self.intake.frame(sent, info, Parameters(**parameters))


def distorted(d=PLUMB_BOB, model="plumb_bob"):
    info = camera_info((H, W))
    info.k, info.d, info.distortion_model = K.flatten(), d, model
    info.p = [40.0, 0.0, 31.0, -4.0, 0.0, 41.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    info.r = cv2.Rodrigues(np.array([0.01, 0.02, 0.0]))[0].ravel()
    return info


def seen_by(model, d):
    """A smooth pattern as the lens shows it, and as a pinhole camera would: both computed from the scene, for each
    pixel along its own ray."""

    def pattern(x, y):
        return np.stack([128 + 100 * np.sin(6 * x), 128 + 100 * np.cos(5 * y), 128 + 90 * np.sin(4 * (x + y))], -1)

    rows, columns = np.mgrid[:H, :W].astype(np.float64)
    pixels = np.stack([columns, rows], -1).reshape(-1, 1, 2)
    undistort = cv2.fisheye.undistortPoints if model == "equidistant" else cv2.undistortPoints
    rays = undistort(pixels, K, np.array(d)).reshape(H, W, 2)
    pinhole = cv2.undistortPoints(pixels, K, None).reshape(H, W, 2)
    return (np.rint(pattern(ray[..., 0], ray[..., 1])).astype(np.uint8) for ray in (rays, pinhole))


@pytest.mark.parametrize(
    ("model", "d"), [("plumb_bob", PLUMB_BOB), ("equidistant", FISHEYE), ("rational_polynomial", RATIONAL)]
)
def test_rectified_pixels_are_those_of_a_pinhole_camera(model, d):
    raw, expected = seen_by(model, d)
    setting = Setting()
    frame = setting.frame(distorted(d, model), raw, rectify=True)
    inside = np.s_[12:-12, 12:-12]
    difference = np.abs(frame.rgb[inside].astype(int) - expected[inside])
    assert np.abs(raw[inside].astype(int) - expected[inside]).max() > 8  # it was distorted
    assert difference.max() <= 3  # bilinear
    assert (frame.intrinsics.fx, frame.intrinsics.cx) == (50.0, 30.0)
    assert setting.warnings == []


@pytest.mark.parametrize("rectify", [True, False])
def test_camera_info_of_the_outputs_is_that_of_the_pixels(rectify):
    """Rectified here: K is the pinhole camera that is left. Rectified before: P says what it is. D is zero in both."""
    frame = Setting("/camera/image").frame(distorted(), rectify=rectify)
    scene = Scene(
        Header(), frame.rgb, fake_prediction(H, W), frame.intrinsics, frame.camera_info, CITYSCAPES, "", View(scale=0.5)
    )
    info = Encoder().camera_info(scene)
    fx, fy, cx, cy = (50.0, 52.0, 30.0, 25.0) if rectify else (40.0, 41.0, 31.0, 24.0)
    expected = np.array([[fx / 2, 0, (cx + 0.5) / 2 - 0.5], [0, fy / 2, (cy + 0.5) / 2 - 0.5], [0, 0, 1]])
    np.testing.assert_allclose(np.array(info.k).reshape(3, 3), expected)
    np.testing.assert_allclose(np.array(info.p).reshape(3, 4)[:, :3], expected)
    assert info.p[3] == pytest.approx(0.0 if rectify else -2.0)  # the stereo term is of the calibration's rotation
    assert (list(info.d), list(info.r)) == ([0.0] * 5, np.eye(3).ravel().tolist())
    np.testing.assert_allclose(scene.intrinsics.matrix(), expected)


def test_maps_are_made_once_for_a_calibration(monkeypatch):
    made = []

    class Counted(calibration.Rectifier):
        def __init__(self, *args):
            made.append(1)
            super().__init__(*args)

    monkeypatch.setattr("dps_perception.node.intake.Rectifier", Counted)
    setting = Setting()
    for d in (PLUMB_BOB, PLUMB_BOB, FISHEYE, FISHEYE, PLUMB_BOB):
        setting.frame(distorted(d, "equidistant" if d is FISHEYE else "plumb_bob"), rectify=True)
    assert len(made) == 3
    other = distorted()
    other.k[0] = 51.0
    assert setting.frame(other, rectify=True).intrinsics.fx == 51.0


def test_rectify_takes_a_raw_image_without_distortion_as_it_is():
    """Such an image is K's, not P's."""
    pixels = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    frame = Setting().frame(distorted([0.0] * 5), pixels, rectify=True)
    np.testing.assert_array_equal(frame.rgb, pixels)
    assert frame.intrinsics.fx == 50.0


@pytest.mark.parametrize(
    ("model", "d", "told"),
    [
        ("magic", [0.1], r"model 'magic' with 1 coefficients can't be undone; known are plumb_bob"),
        ("plumb_bob", [0.1] * 7, "'plumb_bob' with 7 coefficients"),
        ("plumb_bob", [0.1, float("nan"), 0.0, 0.0, 0.0], "coefficients are .*nan.*finite"),
    ],
)
def test_what_cant_be_undone_is_refused_and_2d_goes_on(model, d, told):
    setting = Setting()
    pixels = np.full((H, W, 3), 9, np.uint8)
    frame = setting.frame(distorted(d, model), pixels, rectify=True)
    assert (frame.intrinsics, frame.camera_info) == (None, None)
    np.testing.assert_array_equal(frame.rgb, pixels)
    ((kind, text),) = setting.warnings
    assert kind == "calibration"
    assert text.endswith("2D outputs go on, 3D is withheld")
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(setting.health.calibration_error)


@pytest.mark.parametrize(
    ("topic", "rectify", "d", "told"),
    [
        ("/c/image_raw", False, PLUMB_BOB, r"/c/image_raw is not rectified by its name.*plumb_bob.*-0\.3.*set rectify"),
        ("/c/image_raw/compressed", False, PLUMB_BOB, "not rectified by its name"),
        ("/c/image_raw", False, [0.0] * 5, None),
        ("/c/image_raw", True, PLUMB_BOB, None),
        ("/c/image_rect", False, PLUMB_BOB, None),
        ("/c/image_rect_raw", False, PLUMB_BOB, None),
        ("/c/image_rect_color", True, PLUMB_BOB, "rectify undistorts it once more; set rectify to false"),
        ("/c/image", False, PLUMB_BOB, None),
    ],
)
def test_a_topic_that_contradicts_the_parameter_is_named(topic, rectify, d, told):
    setting = Setting(topic)
    assert setting.frame(distorted(d), rectify=rectify).intrinsics is not None
    if told is None:
        assert (setting.warnings, setting.health.distortion) == ([], "")
    else:
        ((kind, text),) = setting.warnings
        assert (kind, text) == ("distortion", setting.health.distortion)
        with pytest.raises(AssertionError, match=told):
            raise AssertionError(text)


def test_a_new_camera_info_ends_the_trouble():
    setting = Setting()
    setting.frame(distorted([0.1], "magic"), rectify=True)
    assert setting.health.calibration_error
    setting.frame(distorted(), rectify=True)
    assert setting.health.calibration_error == ""
    setting.frame(distorted())
    assert setting.health.distortion
    setting.frame(distorted(), rectify=True)
    assert setting.health.distortion == ""


def test_diagnostics_name_the_contradiction():
    setting = Setting()
    setting.frame(distorted())
    setting.health.frame_done(0.1)
    situation = InputSituation(
        name="", state="active", image_topic="/image_raw", camera_info_topic="/camera_info",
        transport="raw", without_camera_info=False, jumps=0,
    )  # fmt: skip

    def status_of_input():
        return diagnostic_array("/dps", Time(), [(setting.health, situation)], ModelHealth(), {}).status[0]

    status = status_of_input()
    assert (status.name, status.level, status.message) == ("dps: input", WARN, setting.health.distortion)
    setting.frame(distorted(), rectify=True)
    assert status_of_input().level == OK


def test_a_calibration_of_megabytes_does_not_fill_the_log():
    setting = Setting()
    info = distorted([0.5] * 200_000, "x" * 1_000_000)
    setting.frame(info)
    setting.frame(info, rectify=True)
    assert [kind for kind, _ in setting.warnings] == ["distortion", "calibration"]
    assert max(len(text) for _, text in setting.warnings) < 1000
