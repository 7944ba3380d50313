"""Tiny trees in the layouts of the published datasets: two training images and one for validation, 64x128 each.

All show one scene: sky above, road below, a patch of void, two cars next to each other and a group of persons:

    rows  0..23 sky, but rows 0..7 x columns 0..15 void
    rows 24..63 road; on it rows 24..39 x columns 16..31 and 32..47 a car each, rows 40..47 x columns 80..127 persons
"""

import json

import cv2
import numpy as np

HEIGHT, WIDTH = 64, 128
SKY, ROAD, VOID, FIRST_CAR, SECOND_CAR, GROUP = range(6)


def scene():
    """(64, 128) region of each pixel."""
    regions = np.full((HEIGHT, WIDTH), ROAD)
    regions[:24] = SKY
    regions[:8, :16] = VOID
    regions[24:40, 16:32] = FIRST_CAR
    regions[24:40, 32:48] = SECOND_CAR
    regions[40:48, 80:] = GROUP
    return regions


def ground_depth_m():
    """(64, 128) metres, 0 in the sky; nearer towards the bottom, exact in steps of 1 / 256 m."""
    depth = np.repeat(2 + (HEIGHT - 1 - np.arange(HEIGHT)) * 0.5, WIDTH).reshape(HEIGHT, WIDTH)
    return np.where((scene() == SKY) | (scene() == VOID), 0, depth)


def write(path, array):
    """An image or a list/dict as JSON, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(array, (dict, list)):
        path.write_text(json.dumps(array))
    else:
        assert cv2.imwrite(str(path), array)


def picture(index):
    """(64, 128, 3) uint8, another for each index."""
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def cityscapes_camera(index=0):
    """Content of a Cityscapes camera file for a 64x128 image; baseline and fx change with the index."""
    return {
        "extrinsic": {"baseline": 0.2 + 0.05 * index, "pitch": 0.0},
        "intrinsic": {"fx": 100.0 + 10 * index, "fy": 101.0, "u0": 64.0, "v0": 30.0},
    }


CITYSCAPES_FRAMES = (("train", "aachen"), ("train", "bochum"), ("val", "munster"))


def write_cityscapes(root):
    """gtFine with a group of persons (24), unlabelled pixels (0) and a patch that is not evaluated (4)."""
    raw = np.array([23, 7, 0, 26000, 26001, 24], np.uint16)[scene()]
    raw[8:16, :16] = 4  # static: not evaluated
    disparity = np.where(scene() == SKY, 0, 1 + 256 * (1 + (np.arange(HEIGHT)[:, None] // 8))).astype(np.uint16)
    for index, (split, city) in enumerate(CITYSCAPES_FRAMES):
        name = f"{city}_000000_00001{index}"
        write(root / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", picture(index))
        write(root / f"gtFine/{split}/{city}/{name}_gtFine_instanceIds.png", raw)
        write(root / f"disparity/{split}/{city}/{name}_disparity.png", disparity)
        write(root / f"camera/{split}/{city}/{name}_camera.json", cityscapes_camera(index))


CITYSCAPES_DVPS_FRAMES = (
    ("train", "000000_000000_munster_000105_000004"),
    ("train", "000000_000001_munster_000105_000009"),
    ("val", "000001_000006_frankfurt_000000_000294"),
)


def write_cityscapes_dvps(root):
    """The format has no crowds: groups are void, things count from 0."""
    raw = np.array([10000, 0, 32000, 13000, 13001, 32000], np.uint16)[scene()]
    for index, (split, name) in enumerate(CITYSCAPES_DVPS_FRAMES):
        folder = root / "video_sequence" / split
        write(folder / f"{name}_leftImg8bit.png", picture(index))
        write(folder / f"{name}_gtFine_instanceTrainIds.png", raw)
        write(folder / f"{name}_depth.png", (ground_depth_m() * 256).astype(np.uint16))


SEMKITTI_FOCAL = "718.8560180664062"


def write_semkitti(root):
    """Vegetation for sky; the second car has a number past 255, persons without number are a crowd."""
    classes = np.array([14, 8, 255, 0, 0, 5], np.uint16)[scene()]
    instances = np.array([0, 0, 0, 3, 300, 0], np.uint16)[scene()]
    depth = (ground_depth_m() * 256).astype(np.uint16)
    depth[:, 1::2] = 0  # sparse
    for index, (split, name) in enumerate(
        (("train", "000000_000000"), ("train", "000000_000001"), ("val", "000008_000000"))
    ):
        folder = root / "video_sequence" / split
        write(folder / f"{name}_leftImg8bit.png", picture(index))
        write(folder / f"{name}_gtFine_class.png", classes)
        write(folder / f"{name}_gtFine_instance.png", instances)
        write(folder / f"{name}_depth_{SEMKITTI_FOCAL}.png", depth)


COCO_SEGMENTS = ((1, 187, 0), (1000, 149, 0), None, (70000, 3, 0), (16000000, 3, 0), (258, 1, 1))
"""(segment id, category id, iscrowd) of each region of the scene."""


def coco_categories():
    """The categories that the scene needs, as COCO's annotation files list them."""
    named = ((1, "person", 1), (3, "car", 1), (149, "road", 0), (187, "sky-other-merged", 0))
    return [{"id": number, "name": name, "isthing": thing} for number, name, thing in named]


def write_coco(root):
    """A crowd of persons; the colours of the PNGs use all three bytes of the segment id."""
    ids = np.array([segment[0] if segment else 0 for segment in COCO_SEGMENTS])[scene()]
    bgr = np.stack([ids >> 16 & 255, ids >> 8 & 255, ids & 255], -1).astype(np.uint8)
    segments = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in filter(None, COCO_SEGMENTS)]
    for split, numbers in (("train", (9, 25)), ("val", (139,))):
        for number in numbers:
            write(root / f"{split}2017/{number:012d}.jpg", picture(number))
            write(root / f"annotations/panoptic_{split}2017/{number:012d}.png", bgr)
        annotations = {
            "images": [{"id": n, "file_name": f"{n:012d}.jpg", "height": HEIGHT, "width": WIDTH} for n in numbers],
            "annotations": [{"image_id": n, "file_name": f"{n:012d}.png", "segments_info": segments} for n in numbers],
            "categories": coco_categories(),
        }
        write(root / f"annotations/panoptic_{split}2017.json", annotations)


def write_mapillary(root):
    """The format has no crowds; things count from 0, so the group is person 0."""
    raw = np.array([27 * 256, 13 * 256, 65 * 256, 55 * 256, 55 * 256 + 1, 19 * 256], np.uint16)[scene()]
    for index, (split, name) in enumerate((("training", "aaa"), ("training", "bbb"), ("validation", "ccc"))):
        write(root / split / "images" / f"{name}.jpg", picture(index))
        write(root / split / "instances" / f"{name}.png", raw)
