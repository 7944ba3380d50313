"""SemKITTI-DVPS, by hand-worked values and by every error."""

import numpy as np
import pytest
from dataset_fixtures import SEMKITTI_FOCAL, scene, write, write_semkitti

from dps_perception.camera import Intrinsics
from dps_perception.data.semkitti import SemkittiDvps
from dps_perception.errors import DatasetError

NAME = "000008_000000"


@pytest.fixture
def val(tmp_path):
    write_semkitti(tmp_path)
    return tmp_path / "video_sequence" / "val"


def open_val(val):
    return SemkittiDvps(val.parent.parent, "val")


def test_values(val):
    dataset = open_val(val)
    sample = dataset[0]
    assert (list(dataset.sample_ids), len(SemkittiDvps(val.parent.parent, "train"))) == ([NAME], 2)
    # The cars' numbers 3 and 300 don't fit a byte, so they are numbered anew; persons without number are a crowd.
    expected = np.array([14 * 256, 8 * 256, 65535, 1, 2, 5 * 256])[scene()]
    np.testing.assert_array_equal(sample.panoptic, expected)
    assert sample.depth_m[63, 0] == 2.0
    assert np.isnan(sample.depth_m[63, 1])  # between two LiDAR points
    focal = float(SEMKITTI_FOCAL)
    assert sample.intrinsics == Intrinsics(focal, focal, 63.5, 31.5, 64, 128)


def test_eight_bit_files_do_as_well(val):
    write(val / f"{NAME}_gtFine_class.png", np.full((64, 128), 255, np.uint8))
    assert (open_val(val)[0].panoptic == 65535).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gtFine_class", np.full((64, 128), 19, np.uint16), "value 19 .*classes 0..18, or 255"),
        ("gtFine_class", np.zeros((64, 128, 3), np.uint8), r"8-bit or 16-bit grey PNG \(class ids"),
        ("gtFine_instance", np.zeros((64, 64), np.uint16), "64x64, but its image"),
        (f"depth_{SEMKITTI_FOCAL}", np.zeros((64, 128), np.uint8), r"16-bit grey PNG \(metres \* 256"),
        (f"depth_{SEMKITTI_FOCAL}", np.zeros((8, 128), np.uint16), "128x8, but its image"),
    ],
)
def test_bad_content_names_the_file(val, name, content, message):
    path = val / f"{NAME}_{name}.png"
    write(path, content)
    with pytest.raises(DatasetError, match=message) as caught:
        open_val(val)[0]
    assert path.name in str(caught.value)


@pytest.mark.parametrize("name", ["gtFine_class", "gtFine_instance"])
def test_missing_labels_are_found_at_once(val, name):
    (val / f"{NAME}_{name}.png").unlink()
    with pytest.raises(DatasetError, match=rf"missing .*{NAME}_{name}.png: every image needs its {name}"):
        open_val(val)


def test_depth_and_its_focal_length(val):
    depth = val / f"{NAME}_depth_{SEMKITTI_FOCAL}.png"
    other = depth.rename(val / f"{NAME}_depth_far.png")
    with pytest.raises(DatasetError, match=r"_depth_far.png: the name must end with the focal length"):
        open_val(val)[0]
    other = other.rename(val / f"{NAME}_depth_-3.png")
    with pytest.raises(DatasetError, match=r"_depth_-3.png: .*fx=-3"):
        open_val(val)[0]
    write(depth, np.zeros((64, 128), np.uint16))
    with pytest.raises(DatasetError, match="one depth image for each image"):
        open_val(val)
    depth.unlink()
    other.unlink()
    with pytest.raises(DatasetError, match=rf"missing .*{NAME}_depth_<focal length>.png \(1 such"):
        open_val(val)


def test_missing_and_empty_splits_name_those_there_are(val):
    with pytest.raises(DatasetError, match="splits there are: train, val"):
        SemkittiDvps(val.parent.parent, "test")
    (val.parent / "test").mkdir()
    with pytest.raises(DatasetError, match=r"holds no \*_leftImg8bit.png .*test, train, val"):
        SemkittiDvps(val.parent.parent, "test")
