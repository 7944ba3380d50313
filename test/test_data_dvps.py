import cv2
import numpy as np
import pytest

from dps_perception.camera import Intrinsics
from dps_perception.data.dvps import DvpsFolder, is_complete, read_depth, read_panoptic, write_sample
from dps_perception.errors import DatasetError
from dps_perception.types import Sample


def tiny_sample(**changes):
    values = dict(
        image=np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        panoptic=np.array([[0, 13 * 256 + 7, 65535, 10 * 256], [0, 11 * 256, 0, 0]], np.uint16),
        depth_m=np.array([[1.5, 20.25, np.nan, np.inf], [300.0, 88.0, 0.5, 255.0]], np.float32),
        intrinsics=Intrinsics(3.0, 4.0, 1.5, 0.5, 2, 4),
        sample_id="",
    )
    return Sample(**{**values, **changes})


def test_files_hold_the_published_encoding(tmp_path):
    sample_id = write_sample(tmp_path, "val", 12, 3, tiny_sample())
    assert sample_id == "000012_000003_street"
    labels = cv2.imread(str(tmp_path / "val" / f"{sample_id}_gtFine_instanceTrainIds.png"), cv2.IMREAD_UNCHANGED)
    assert labels.tolist() == [[0, 13007, 32000, 10000], [0, 11000, 0, 0]]
    depth = cv2.imread(str(tmp_path / "val" / f"{sample_id}_depth.png"), cv2.IMREAD_UNCHANGED)
    assert depth.tolist() == [[384, 5184, 0, 0], [0, 22528, 128, 65280]]  # metres * 256; 300 m does not fit
    assert is_complete(tmp_path, "val", sample_id)


def test_round_trip(tmp_path):
    write_sample(tmp_path, "val", 0, 0, tiny_sample())
    sample = DvpsFolder(tmp_path, "val")[0]
    expected = tiny_sample()
    assert (sample.image == expected.image).all()
    assert (sample.panoptic == expected.panoptic).all()
    assert sample.intrinsics == expected.intrinsics
    np.testing.assert_array_equal(sample.depth_m[0], np.array([1.5, 20.25, np.nan, np.nan], np.float32))
    assert sorted(p.name for p in (tmp_path / "val").iterdir() if p.name.startswith(".")) == []


def test_missing_split_names_those_there_are(tmp_path):
    write_sample(tmp_path, "train", 0, 0, tiny_sample())
    with pytest.raises(DatasetError, match=r"val.*train"):
        DvpsFolder(tmp_path, "val")


@pytest.mark.parametrize(
    ("content", "reader", "message"),
    [
        (b"\x89PNG broken", read_depth, "not a readable image"),
        (cv2.imencode(".png", np.zeros((2, 2), np.uint8))[1].tobytes(), read_panoptic, "16-bit"),
        (cv2.imencode(".png", np.full((2, 2), 13300, np.uint16))[1].tobytes(), read_panoptic, "instance 300"),
    ],
)
def test_bad_files_are_named(tmp_path, content, reader, message):
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        reader(path)
    assert "bad.png" in str(caught.value)


def test_sizes_must_agree(tmp_path):
    write_sample(tmp_path, "val", 0, 0, tiny_sample(depth_m=np.ones((3, 4), np.float32)))
    with pytest.raises(DatasetError, match="depth"):
        DvpsFolder(tmp_path, "val")[0]


def test_class_ids_beyond_the_encoding_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="class id 80"):
        write_sample(tmp_path, "val", 0, 0, tiny_sample(panoptic=np.full((2, 4), 80 * 256, np.uint16)))
