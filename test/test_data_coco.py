"""COCO panoptic, by hand-worked values and by every error."""

import json

import cv2
import numpy as np
import pytest
from dataset_fixtures import picture, scene, write, write_coco

from dps_perception.data.coco import CocoPanoptic
from dps_perception.errors import DatasetError

NAME = "000000000139"


@pytest.fixture
def coco(tmp_path):
    write_coco(tmp_path)
    return tmp_path


def edit(coco, change, split="val"):
    path = coco / "annotations" / f"panoptic_{split}2017.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_values(coco):
    dataset = CocoPanoptic(coco, "val")
    assert list(dataset.sample_ids) == [NAME]
    assert list(CocoPanoptic(coco, "train").sample_ids) == ["000000000009", "000000000025"]
    sample = dataset[0]
    # Classes by place in COCO's list: sky-other-merged 119, road 100, car 2, person 0. Instances count the
    # segments by id: 1 sky, 258 persons (a crowd), 1000 road, 70000 and 16000000 the cars.
    expected = np.array([119 * 256, 100 * 256, 65535, 2 * 256 + 4, 2 * 256 + 5, 0])[scene()]
    np.testing.assert_array_equal(sample.panoptic, expected)
    assert sample.depth_m is None
    assert sample.intrinsics is None
    assert sample.image.shape == (64, 128, 3)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("progressive", [0, 1])
def test_a_truncated_jpeg_is_no_image(coco, kept, progressive):
    # A preview in an APP1 segment ends like an image of its own. OpenCV fills what is missing with grey.
    path = coco / f"val2017/{NAME}.jpg"
    data = cv2.imencode(".jpg", picture(0), (cv2.IMWRITE_JPEG_PROGRESSIVE, progressive))[1].tobytes()
    preview = b"Exif\0\0" + cv2.imencode(".jpg", picture(1)[:8, :8])[1].tobytes()
    whole = data[:2] + b"\xff\xe1" + (len(preview) + 2).to_bytes(2, "big") + preview + data[2:]
    path.write_bytes(whole + b"what a phone may add")
    assert CocoPanoptic(coco, "val")[0].image.shape == (64, 128, 3)
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DatasetError, match=rf"{path.name} is not a readable image \(truncated"):
        CocoPanoptic(coco, "val")[0]


def test_pngs_beside_annotations_are_found(coco):
    (coco / "annotations" / "panoptic_val2017").rename(coco / "panoptic_val2017")
    assert CocoPanoptic(coco, "val")[0].panoptic[63, 0] == 100 * 256


def test_surplus_instances_become_crowd(coco):
    ids = np.repeat(np.arange(1, 301), 20)  # 300 cars of 20 pixels ...
    ids = np.concatenate([ids, np.arange(1, 256).repeat(8), np.zeros(64 * 128 - 6000 - 2040, int)])  # ... 255 larger
    ids = ids.reshape(64, 128)
    write(
        coco / f"annotations/panoptic_val2017/{NAME}.png", np.stack([ids * 0, ids >> 8, ids & 255], -1).astype(np.uint8)
    )
    segments = [{"id": n, "category_id": 3, "iscrowd": 0} for n in range(1, 301)]
    edit(coco, lambda data: data["annotations"][0].update(segments_info=segments))
    panoptic = CocoPanoptic(coco, "val")[0].panoptic
    assert (panoptic[ids == 0] == 65535).all()
    assert sorted(np.unique(panoptic[(ids > 0) & (ids <= 255)])) == [2 * 256 + n for n in range(1, 256)]
    assert (panoptic[ids > 255] == 2 * 256).all()


def test_an_id_that_the_json_does_not_name(coco):
    edit(coco, lambda data: data["annotations"][0]["segments_info"].pop())
    with pytest.raises(
        DatasetError, match=rf"{NAME}.png: segment id 258 is not among the segments_info .*val2017.json"
    ):
        CocoPanoptic(coco, "val")[0]
    edit(coco, lambda data: data["annotations"][0]["segments_info"].clear())
    with pytest.raises(DatasetError, match=rf"{NAME}.png: segment id 1 is not among"):
        CocoPanoptic(coco, "val")[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((64, 128), np.uint8), "expected an 8-bit RGB PNG"),
        (np.zeros((64, 128, 3), np.uint16), "uint16 .*8-bit RGB PNG"),
        (np.zeros((64, 64, 3), np.uint8), "64x64, but its image"),
    ],
)
def test_bad_pngs_are_named(coco, content, message):
    write(coco / f"annotations/panoptic_val2017/{NAME}.png", content)
    with pytest.raises(DatasetError, match=message) as caught:
        CocoPanoptic(coco, "val")[0]
    assert f"{NAME}.png" in str(caught.value)


@pytest.mark.parametrize("name", ["val2017/{}.jpg", "annotations/panoptic_val2017/{}.png"])
def test_missing_files_are_found_at_once(coco, name):
    path = coco / name.format(NAME)
    path.unlink()
    with pytest.raises(DatasetError, match=rf"missing .*{path.name} \(1 in all\), listed in .*panoptic_val2017.json"):
        CocoPanoptic(coco, "val")
    path.parent.rmdir()
    with pytest.raises(DatasetError, match=rf"no folder .*{path.parent.name}"):
        CocoPanoptic(coco, "val")


def test_missing_split_names_those_there_are(coco):
    with pytest.raises(DatasetError, match=r"no .*panoptic_test2017.json .*splits there are: train, val"):
        CocoPanoptic(coco, "test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["annotations"].clear(), "lists no annotated image"),
        (lambda data: data.pop("images"), "not a COCO panoptic annotation file .*images"),
        (lambda data: data["images"][0].update(id=7), "image id 139, which 'images' does not list"),
        (lambda data: data["categories"].pop(), "category 187, which 'categories' lacks"),
        (lambda data: data["categories"][0].update(name="sofa"), r"category 1 'sofa' .*133"),
        (lambda data: data["categories"][0].update(isthing=0), r"'person' \(isthing 0\)"),
        (lambda data: data["annotations"][0]["segments_info"][0].pop("iscrowd"), "iscrowd"),
    ],
)
def test_bad_annotation_files_are_named(coco, change, message):
    edit(coco, change)
    with pytest.raises(DatasetError, match=message) as caught:
        CocoPanoptic(coco, "val")
    assert "panoptic_val2017.json" in str(caught.value)
