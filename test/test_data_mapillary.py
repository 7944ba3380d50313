"""Mapillary Vistas v1.2, by hand-worked values and by every error."""

import numpy as np
import pytest
from dataset_fixtures import scene, write, write_mapillary

from dps_perception.data.mapillary import MapillaryVistas
from dps_perception.errors import DatasetError
from dps_perception.labels import MAPILLARY_VISTAS


@pytest.fixture
def vistas(tmp_path):
    write_mapillary(tmp_path)
    return tmp_path


def config(names):
    return {"labels": [{"readable": name, "name": "x"} for name in names], "version": "1.2"}


def test_values(vistas):
    dataset = MapillaryVistas(vistas, "training")
    assert list(dataset.sample_ids) == ["aaa", "bbb"]
    # sky 27, road 13, void, cars 55 and a person 19 whose instances count from 0
    expected = np.array([27 * 256, 13 * 256, 65535, 55 * 256 + 1, 55 * 256 + 2, 19 * 256 + 1])[scene()]
    np.testing.assert_array_equal(dataset[0].panoptic, expected)
    assert dataset[0].depth_m is None
    assert dataset[0].intrinsics is None


def test_release_2_with_its_v1_labels(vistas):
    for split in ("training", "validation"):
        (vistas / split / "v1.2").mkdir()
        (vistas / split / "instances").rename(vistas / split / "v1.2" / "instances")
    assert MapillaryVistas(vistas, "validation")[0].panoptic[63, 0] == 13 * 256


def test_the_256th_instance_becomes_crowd(vistas):
    labels = 55 * 256 + np.minimum(np.arange(64 * 128) // 30, 255).reshape(64, 128)  # the last is largest, 30 px others
    write(vistas / "validation/instances/ccc.png", labels.astype(np.uint16))
    panoptic = MapillaryVistas(vistas, "validation")[0].panoptic
    assert panoptic[63, 127] == 55 * 256 + 1
    assert np.count_nonzero(panoptic == 55 * 256) == 30
    assert len(np.unique(panoptic)) == 256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.full((64, 128), 66 * 256, np.uint16), r"value 16896 .*classes 0..65 of v1.2 \(not v2.0\)"),
        (np.zeros((64, 128), np.uint8), r"16-bit grey PNG \(class \* 256"),
        (np.zeros((4, 8), np.uint16), "8x4, but its image .*ccc.jpg is 128x64"),
    ],
)
def test_bad_content_names_the_file(vistas, content, message):
    write(vistas / "validation/instances/ccc.png", content)
    with pytest.raises(DatasetError, match=message) as caught:
        MapillaryVistas(vistas, "validation")[0]
    assert "ccc.png" in str(caught.value)


def test_missing_files_and_splits(vistas):
    (vistas / "training/instances/bbb.png").unlink()
    with pytest.raises(DatasetError, match=r"missing .*bbb.png: every image needs its v1.2 instances"):
        MapillaryVistas(vistas, "training")
    with pytest.raises(DatasetError, match=r"no folder .*/val; splits there are: training, validation"):
        MapillaryVistas(vistas, "val")
    (vistas / "testing" / "images").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"holds no \*.jpg .*splits there are: testing, training, validation"):
        MapillaryVistas(vistas, "testing")


def test_config_of_another_version_is_refused(vistas):
    names = [name.title() for name in MAPILLARY_VISTAS.names]
    path = vistas / "config_v1.2.json"
    write(path, config([*names, "Unlabeled"]))
    assert len(MapillaryVistas(vistas, "training")) == 2
    write(path, config([*names[:3], "Separator", *names[4:], "Unlabeled"]))
    with pytest.raises(DatasetError, match=r"config_v1.2.json: class 3 is 'separator', expected 'fence'"):
        MapillaryVistas(vistas, "training")
    write(path, config(names))
    with pytest.raises(DatasetError, match=r"65 classes, expected 66"):
        MapillaryVistas(vistas, "training")
    write(path, [1])
    with pytest.raises(DatasetError, match=r"config_v1.2.json: not a Mapillary Vistas config"):
        MapillaryVistas(vistas, "training")
