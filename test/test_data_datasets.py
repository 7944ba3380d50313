"""Formats behind one door, their classes, and that training takes every one of them."""

import numpy as np
import pytest
from dataset_fixtures import (
    WIDTH,
    picture,
    write_cityscapes,
    write_cityscapes_dvps,
    write_coco,
    write_mapillary,
    write_semkitti,
)
from dataset_fixtures_bag import write_lidar_bag

from dps_perception.camera import Intrinsics
from dps_perception.data.bag_index import BagOptions
from dps_perception.data.bag_topics import BagTopics
from dps_perception.data.datasets import FORMATS, label_space_of, open_dataset
from dps_perception.data.dvps import DvpsFolder, write_sample
from dps_perception.data.panoptic_ids import panoptic_of
from dps_perception.data.transforms import Augmentation, augment
from dps_perception.errors import ConfigError, DatasetError
from dps_perception.labels import CITYSCAPES, COCO_PANOPTIC, LABEL_SPACES, MAPILLARY_VISTAS, SEMKITTI_DVPS, unpack
from dps_perception.training.targets import make_targets
from dps_perception.types import Sample

WRITERS = {
    "cityscapes": (write_cityscapes, "train", "val"),
    "cityscapes_dvps": (write_cityscapes_dvps, "train", "val"),
    "semkitti_dvps": (write_semkitti, "train", "val"),
    "coco": (write_coco, "train", "val"),
    "mapillary": (write_mapillary, "training", "validation"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_training_takes_every_format(tmp_path, name):
    writer, train, val = WRITERS[name]
    writer(tmp_path)
    dataset = open_dataset(name, tmp_path, train)
    assert (len(dataset), len(open_dataset(name, tmp_path, val))) == (2, 1)
    assert len(set(dataset.sample_ids)) == 2
    changes = Augmentation(scale=(0.8, 1.2), flip=1.0, rotation=2.0)
    for index in range(2):
        sample = dataset[index]
        assert sample.sample_id == dataset.sample_ids[index]
        np.testing.assert_array_equal(sample.image.shape, (64, 128, 3))
        class_id, instance_id = unpack(sample.panoptic)
        thing = np.append(dataset.label_space.is_thing, np.zeros(256 - len(dataset.label_space), bool))[class_id]
        assert (instance_id[~thing] == 0).all()
        view = augment(sample, (64, WIDTH), 100.0, changes, np.random.default_rng(index))
        targets = make_targets(view, dataset.label_space, 4, 100, 88.0)
        assert len(targets.classes) >= 4  # above, road and two cars
        assert (view.depth_m is not None) == (name not in ("coco", "mapillary"))


def test_formats_know_their_classes(tmp_path):
    assert set(FORMATS) == {*WRITERS, "dvps", "bag"}
    assert label_space_of("semkitti_dvps") == SEMKITTI_DVPS
    assert label_space_of("dvps") is None
    write_semkitti(tmp_path)
    with pytest.raises(
        ConfigError, match=r"'semkitti_dvps' has the classes of .*'semkitti_dvps', the run .*'cityscapes'"
    ):
        open_dataset("semkitti_dvps", tmp_path, "train", CITYSCAPES)
    assert len(open_dataset("semkitti_dvps", tmp_path, "train", SEMKITTI_DVPS)) == 2


def test_an_unknown_format_names_the_nearest(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no dataset format 'city_scapes', did you mean 'cityscapes'\?; there are: dvps,"
    ):
        open_dataset("city_scapes", tmp_path, "train")


def test_our_own_folders_take_the_runs_classes(tmp_path):
    intrinsics = Intrinsics(100, 100, 64, 32, 64, 128)
    write_sample(tmp_path, "val", 0, 0, Sample(picture(0), np.zeros((64, 128), np.uint16), None, intrinsics, ""))
    assert open_dataset("dvps", tmp_path, "val").label_space == CITYSCAPES
    dataset = open_dataset("dvps", str(tmp_path), "val", SEMKITTI_DVPS)
    assert isinstance(dataset, DvpsFolder)
    assert dataset.label_space == SEMKITTI_DVPS
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"empty holds no \*_leftImg8bit.png .*splits there are: empty, val"):
        open_dataset("dvps", tmp_path, "empty")


def test_bags_open_through_the_same_door(tmp_path):
    with pytest.raises(DatasetError, match=str(tmp_path)):
        open_dataset("bag", tmp_path, "train")
    write_lidar_bag(tmp_path / "drive", labelled=True)
    topics, options = BagTopics(cloud=None), BagOptions(val_share=0.5, gap_s=0.0)
    dataset = open_dataset("bag", tmp_path, "val", topics=topics, options=options)
    assert [sample.depth_m for sample in dataset] == [None] * 5
    for given in ({"topics": topics}, {"options": options}):
        with pytest.raises(ConfigError, match="format 'dvps' has no topics"):
            open_dataset("dvps", tmp_path, "val", **given)


# Things, stuff, and a few (class id, name, is thing, colour) of each dataset's own definition.
@pytest.mark.parametrize(
    ("space", "things", "stuff", "some"),
    [
        (SEMKITTI_DVPS, 8, 11, [(0, "car", True, (100, 150, 245)), (18, "traffic-sign", False, (255, 0, 0))]),
        (
            COCO_PANOPTIC,
            80,
            53,
            [
                (0, "person", True, (220, 20, 60)),
                (79, "toothbrush", True, (191, 162, 208)),
                (80, "banner", False, (255, 255, 128)),
                (132, "rug-merged", False, (250, 141, 255)),
            ],
        ),
        (
            MAPILLARY_VISTAS,
            37,
            28,
            [
                (0, "bird", True, (165, 42, 42)),
                (13, "road", False, (128, 64, 128)),
                (58, "on rails", False, (0, 80, 100)),
                (64, "ego vehicle", False, (120, 10, 10)),
            ],
        ),
    ],
)
def test_label_spaces(space, things, stuff, some):
    assert LABEL_SPACES[space.name] is space
    assert (int(space.is_thing.sum()), int((~space.is_thing).sum())) == (things, stuff)
    assert len(set(space.names)) == len(space)
    for class_id, name, is_thing, color in some:
        info = space.classes[class_id]
        assert (info.name, info.is_thing, info.color) == (name, is_thing, color)


def test_large_instance_numbers_keep_the_largest_255():
    classes = np.array([[0, 0, 0, 0, 8, 5, 255]])
    numbers = np.array([[900, 900, 256, 0, 7, 2, 9]])
    # Car 900 is larger than car 256, so it comes first; a car without number is a crowd; road has no instances;
    # persons fit as they are.
    assert panoptic_of(classes, numbers, SEMKITTI_DVPS).tolist() == [[1, 1, 2, 0, 8 * 256, 5 * 256 + 2, 65535]]
