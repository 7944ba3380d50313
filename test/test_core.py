import numpy as np
import pytest

from dps_perception import cli
from dps_perception.camera import Intrinsics, back_project, project
from dps_perception.errors import CameraInfoError, ConfigError, DatasetError, nearest
from dps_perception.files import replacing, sha256_of
from dps_perception.labels import CITYSCAPES, ClassInfo, LabelSpace, pack, unpack
from dps_perception.ranks import rank_and_size


def test_panoptic_encoding():
    assert pack(13, 7) == 13 * 256 + 7
    assert pack(255, 9) == 65535
    class_id, instance_id = unpack(np.array([3335, 65535, 0, 18 * 256 + 255], np.uint16))
    assert class_id.tolist() == [13, 255, 0, 18]
    assert instance_id.tolist() == [7, 0, 0, 255]


def test_things_are_told_from_crowds_stuff_and_void():
    """car 7, a crowd of cars, road, road with an instance (which nothing has), an unknown class, void."""
    ids = np.array([3335, 3328, 0, 7, 40 * 256 + 1, 65535], np.uint16)
    assert CITYSCAPES.is_instance(ids).tolist() == [True, False, False, False, False, False]
    assert CITYSCAPES.is_crowd(ids).tolist() == [False, True, False, False, False, False]


def test_cityscapes_classes_are_the_published_ones():
    # trainId order, things last, colours as in the benchmark's label definition.
    assert CITYSCAPES.names[0] == "road"
    assert CITYSCAPES.names[10] == "sky"
    assert CITYSCAPES.names[18] == "bicycle"
    assert np.flatnonzero(CITYSCAPES.is_thing).tolist() == list(range(11, 19))
    assert CITYSCAPES.colors[13].tolist() == [0, 0, 142]
    assert CITYSCAPES.colors[255].tolist() == [0, 0, 0]


def test_label_space_round_trip_and_limits():
    assert LabelSpace.from_dict(CITYSCAPES.to_dict()) == CITYSCAPES
    with pytest.raises(ConfigError, match="name, classes"):
        LabelSpace.from_dict({"name": "x", "classes": [{"name": "a"}]})
    with pytest.raises(ConfigError, match="255 classes"):
        LabelSpace("x", tuple(ClassInfo(str(i), True, (0, 0, 0)) for i in range(255)))


K = Intrinsics(fx=100.0, fy=200.0, cx=2.0, cy=1.0, height=4, width=6)


def test_back_projection_by_hand():
    depth = np.full((4, 6), 10.0, np.float32)
    depth[0, 0], depth[0, 1], depth[0, 2] = np.nan, np.inf, 0.0
    points = back_project(depth, K)
    np.testing.assert_allclose(points[3, 5], [(5 - 2) / 100 * 10, (3 - 1) / 200 * 10, 10.0], rtol=1e-6)
    assert np.isnan(points[0, :3]).all()
    np.testing.assert_allclose(project(points[3, 5], K), [5, 3], rtol=1e-6)
    assert np.isnan(project(np.array([0.0, 0.0, -1.0]), K)).all()


def test_resizing_keeps_pixel_corners():
    # The image's left edge is u = -0.5 before and after: x/z of it must not change.
    big = K.resized(8, 12)
    assert (big.fx, big.fy) == (200.0, 400.0)
    assert (-0.5 - K.cx) / K.fx == pytest.approx((-0.5 - big.cx) / big.fx)
    assert (3.5 - K.cy) / K.fy == pytest.approx((7.5 - big.cy) / big.fy)


def test_cropping_moves_the_centre():
    window = K.cropped(top=1, left=2, height=2, width=3)
    assert (window.cx, window.cy, window.size_hw) == (0.0, 0.0, (2, 3))


@pytest.mark.parametrize("changes", [{"fx": 0.0}, {"fy": -1.0}, {"fx": float("nan")}, {"width": 0}])
def test_unusable_calibration_is_refused(changes):
    values = dict(fx=1.0, fy=1.0, cx=0.0, cy=0.0, height=4, width=6)
    with pytest.raises(CameraInfoError):
        Intrinsics(**{**values, **changes})


def test_depth_of_another_size_is_refused():
    with pytest.raises(CameraInfoError, match=r"5x4.*6x4"):
        back_project(np.ones((4, 5), np.float32), K)


def test_replacing_writes_whole_files_or_nothing(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_midway():
        with replacing(path) as beside:
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_midway()
    assert path.read_text() == "old"
    with replacing(path) as beside:
        beside.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "new"
    assert sha256_of(path) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"  # sha256sum of "new"


def test_commands_report_mistakes_in_one_line(capsys):
    def fails(_):
        raise DatasetError("no folder x")

    assert cli.run(fails) == 2
    assert capsys.readouterr().err == "error: no folder x\n"

    def interrupted(_):
        raise KeyboardInterrupt

    assert cli.run(interrupted) == 130
    assert cli.run(lambda _: None) == 0


def test_sizes_are_height_by_width():
    assert cli.parse_size("512x1024") == (512, 1024)
    for text in ("512", "ax2", "0x5", "1x2x3"):
        with pytest.raises(ConfigError, match=f"'{text}'"):
            cli.parse_size(text)


def test_nearest_name():
    assert nearest("batch_sise", ["batch_size", "steps"]) == ", did you mean 'batch_size'?"
    assert nearest("qqq", ["batch_size"]) == ""


def test_rank_and_size_follow_the_launcher(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert rank_and_size() == (0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert rank_and_size() == (2, 3)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(ConfigError, match="RANK '3' and WORLD_SIZE '3'"):
        rank_and_size()
