"""`dps_label` as a whole, with tiny random teachers: what it writes of bags, folders and videos is learnt from."""

import json
import re

import cv2
import numpy as np
import pytest
from dataset_fixtures_bag import CAMERA, true_depth, write_lidar_bag
from teacher_fixtures import write_depth_anything, write_eomt
from test_labelling_frames import write_images, write_video
from test_training_recipes import CONFIGS, one_step

from dps_perception import cli as commands
from dps_perception.camera import Intrinsics
from dps_perception.data.dvps import DvpsFolder, write_sample
from dps_perception.evaluation.pictures import SKY_COLOR, UNKNOWN_COLOR, color_depth
from dps_perception.labelling import cli, contact_sheet, labeller
from dps_perception.labelling.contact_sheet import write_sheets
from dps_perception.labelling.depth_scale import Scale, robust
from dps_perception.labelling.depth_teacher import TeacherDepth
from dps_perception.labelling.frames import Parting, Thinning, open_frames
from dps_perception.labelling.label_mapping import mapping_for
from dps_perception.labelling.labeller import Labeller
from dps_perception.labelling.panoptic_teacher import TeacherSegments
from dps_perception.labels import CITYSCAPES, COCO_PANOPTIC, pack
from dps_perception.models.weights import load_weights
from dps_perception.training import cli as train_cli
from dps_perception.types import Sample


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    write_eomt(folder / "panoptic")
    write_depth_anything(folder / "depth")
    return [f"--panoptic={folder / 'panoptic'}", f"--depth={folder / 'depth'}", "--device=cpu"]


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_lidar_bag(tmp_path_factory.mktemp("bag") / "drive", frames=12)


def label(*argv):
    """Status of `dps_label`."""
    try:
        return commands.run(cli.command, [str(arg) for arg in argv])
    except SystemExit as stop:
        return stop.code


def frame(depth_m=None, fx=100.0):
    image = np.zeros((2, 3, 3), np.uint8)
    return Sample(image, None, depth_m, Intrinsics(fx, fx, 1, 0.5, 2, 3), "x")


def fake(depth, focal_px=None, classes=None, **settings):
    """A labeller whose teachers always give these answers."""
    segments = TeacherSegments(np.array(classes), np.ones((2, 3), np.int64)) if classes is not None else None
    mapping = mapping_for(CITYSCAPES.names, CITYSCAPES) if classes is not None else None
    values = {"max_depth_m": 255.0, "sensor_scale": "bag", **settings}
    found = TeacherDepth(np.array(depth, np.float32), focal_px)
    return Labeller((lambda rgb: segments) if mapping else None, mapping, lambda rgb: found, **values)


DEPTH = [[10.0, 20.0, np.nan], [30.0, 60.0, 5.0]]


def test_depth_goes_with_the_focal_length():
    twice = fake(DEPTH, focal_px=50.0).label(frame(fx=100.0), None).depth_m
    np.testing.assert_allclose(twice, 2 * np.array(DEPTH))
    as_it_is = fake(DEPTH, focal_px=None).label(frame(fx=100.0), None).depth_m
    np.testing.assert_allclose(as_it_is, DEPTH)


def test_sky_is_infinite_and_the_far_unknown():
    sky, road = CITYSCAPES.names.index("sky"), 0
    found = fake(DEPTH, 50.0, [[sky, road, sky], [-1, road, road]], max_depth_m=100.0).label(frame(), None)
    np.testing.assert_allclose(found.depth_m, [[np.inf, 40, np.inf], [60, np.nan, 10]])
    assert found.panoptic.tolist() == [[pack(10, 0), 0, pack(10, 0)], [65535, 0, 0]]


def test_the_sensors_scale_by_bag_and_by_frame(monkeypatch):
    monkeypatch.setattr("dps_perception.labelling.depth_scale.MIN_POINTS", 3)
    measured = np.array([[15.0, 30.0, 7.0], [np.nan, 90.0, np.inf]], np.float32)  # 1.5 times the teacher's
    whole_bag = Scale(2.0, 1.9, 2.1, 9)
    np.testing.assert_allclose(fake(DEPTH).label(frame(measured), whole_bag).depth_m, 2 * np.array(DEPTH))
    by_frame = fake(DEPTH, sensor_scale="frame")
    np.testing.assert_allclose(by_frame.label(frame(measured), whole_bag).depth_m, 1.5 * np.array(DEPTH))
    few = np.where(measured == 15, measured, np.nan).astype(np.float32)
    np.testing.assert_allclose(by_frame.label(frame(few), whole_bag).depth_m, 2 * np.array(DEPTH))


def test_a_bags_scale_forgives_a_few_frames():
    assert robust([1.5, None, 1.5, 1.5, 40.0, 1.5]).factor == 1.5
    assert robust([1.0, 2.0, 3.0]).frames == 3
    with pytest.raises(labeller.DatasetError, match="--sensor-scale off"):
        robust([None, None])


def test_lidar_of_a_bag_finds_the_scale(bag):
    """A teacher that sees everything at 0.4 of its distance, with noise: the LiDAR puts it right within 1 %."""
    (frames,) = open_frames(bag, None, None, False, cli._topics(cli.make_parser().parse_args(["a", "b", "--depth=x"])))
    random = np.random.default_rng(0)
    stamps = iter(frames.stamps_ns * 2)

    def teacher(rgb):
        noise = np.exp(random.normal(0, 0.1, rgb.shape[:2]))
        return TeacherDepth((0.4 * true_depth(next(stamps)) * noise).astype(np.float32), CAMERA.fx)

    whole = Labeller(None, None, teacher, 255.0, "bag")
    scale = whole.scale_of(frames, frames.frames(Thinning(), Parting(0.0)))
    assert scale.factor == pytest.approx(2.5, rel=0.01)
    assert scale.frames == 12
    sample = whole.label(next(frames.read([0])), scale)
    assert np.nanmedian(sample.depth_m / true_depth(frames.stamps_ns[0])) == pytest.approx(1, rel=0.03)


def test_from_a_bag_to_a_trained_network(bag, teachers, tmp_path, capsys):
    out = tmp_path / "robot"
    assert label(bag, out, *teachers, "--gap-s=0.2", "--teacher-focal-px=56") == 0
    said = capsys.readouterr()
    assert "12 samples" not in said.out  # two of the twelve are in the gap
    assert re.search(
        r"10 samples written, 0 were there already, 0 images unreadable; [\d.]+ % of pixels void", said.out
    )
    assert "/points says depth times" in said.err
    record = json.loads((out / "labels.json").read_text())
    assert record["settings"]["panoptic"]["classes"]["road"] == "road"
    assert record["settings"]["depth"]["teacher_focal_px"] == 56
    assert record["sources"][0]["scale"]["frames"] == 10
    sample = DvpsFolder(out, "train")[0]
    assert sample.intrinsics == CAMERA
    assert len(np.unique(sample.panoptic)) > 1
    assert np.isfinite(sample.depth_m).any()
    sheet = cv2.imread(str(out / "sheets" / "sheet_000.png"))
    assert sheet.shape[1] > 1400
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 50

    config = ["--config", str(CONFIGS / "robot_labels.yaml"), f"--data.root={out}", "--check-data"]
    train_cli.command(config)  # a fault would raise SystemExit(1)
    assert "0 faults" in capsys.readouterr().out
    weights = one_step("robot_labels", out, tmp_path / "run", "--model.changes.channels=128")
    assert "tensors taken over" in capsys.readouterr().out
    _, info = load_weights(weights)
    assert info.training["steps"] == 1
    assert {"val_pq", "val_dpq"} <= info.scores.keys()


def test_going_on_and_adding_sources(teachers, tmp_path, capsys):
    out, images = tmp_path / "out", write_images(tmp_path / "images", 6)
    video = write_video(tmp_path / "a.avi")
    options = [*teachers, "--fov-deg=70", "--sheet-images=2"]
    assert label(images, out, *options) == 0
    assert "depth is not scaled to this camera's; give --teacher-focal-px" in capsys.readouterr().err
    first = {p: p.stat().st_mtime_ns for p in out.rglob("*.png") if p.parent.name != "sheets"}
    (out / "train" / "000000_000001_labelled_camera.json").unlink()  # as if it had been stopped there
    assert label(images, out, *options) == 0
    assert "1 samples written, 4 were there already" in capsys.readouterr().out
    again = {p for p in first if p.stat().st_mtime_ns != first[p]}
    assert {p.name[:13] for p in again} == {"000000_000001"}

    assert label(video, out, *options, "--fps=5", "--gap-s=0") == 0
    assert {p.name[:6] for p in (out / "train").iterdir()} == {"000000", "000001"}
    record = json.loads((out / "labels.json").read_text())
    assert [(s["name"], s["frames"], s["chosen"]) for s in record["sources"]] == [(".", 6, 5), ("a", 6, 3)]
    assert len(record["runs"]) == 3

    capsys.readouterr()
    assert label(video, out, *options, "--gap-s=0", "--min-confidence=0.7") == 2
    assert "panoptic.min_confidence was 0.5, now 0.7" in capsys.readouterr().err
    assert label(video, out, *options, "--gap-s=0", "--every=2") == 2
    assert "every was 1, now 2" in capsys.readouterr().err
    write_images(images, 7)
    assert label(images, out, *options) == 2
    assert "frames was 6, now 7" in capsys.readouterr().err


def test_indoor_classes_of_coco(tmp_path, capsys):
    write_eomt(tmp_path / "coco", COCO_PANOPTIC.names)
    images = write_images(tmp_path / "images", 3)
    teacher = f"--panoptic={tmp_path / 'coco'}"
    out = tmp_path / "out"
    assert label(images, out, teacher, "--device=cpu", "--fov-deg=70", "--label-space=coco_panoptic", "--gap-s=0") == 0
    sample = DvpsFolder(out, "train", COCO_PANOPTIC)[0]
    assert sample.panoptic is not None
    assert sample.depth_m is None
    config = ["--config", str(CONFIGS / "robot_labels.yaml"), "--model.label_space=coco_panoptic"]
    train_cli.command([*config, f"--data.root={out}", "--check-data"])
    assert "3 with labels" not in capsys.readouterr().out


def test_what_cannot_be_read_is_reported_at_the_end(teachers, tmp_path, capsys):
    images = write_images(tmp_path / "images", 4)
    (images / "001.png").write_bytes(b"half")
    out = tmp_path / "out"
    assert label(images, out, *teachers, "--fov-deg=70", "--gap-s=0") == 1
    said = capsys.readouterr()
    assert "3 samples written, 0 were there already, 1 images unreadable" in said.out
    assert "001.png is not a readable image" in said.err
    assert len(DvpsFolder(out, "train")) == 2


def test_depth_teacher_without_known_camera_can_be_left_alone(teachers, tmp_path, capsys):
    images = write_images(tmp_path / "images", 2)
    assert label(images, tmp_path / "o", *teachers, "--fov-deg=70", "--val-share=0", "--teacher-focal-px=0") == 0
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "give --camera FILE"),
        (["--fov-deg=70", "--min-confidence=1.5"], "--min-confidence 1.5"),
        (["--fov-deg=70", "--max-depth=300"], "--max-depth 300.0"),
        (["--fov-deg=70", "--label-space=citiscapes"], "did you mean 'cityscapes'"),
        (["--fov-deg=70", "--topic=img=/a"], "give ROLE=NAME"),
        (["--fov-deg=70", "--fps=2"], "use --every"),
        (["--fov-deg=70", "--gap-s=100"], "none is left for training"),
        (["--fov-deg=70", "--panoptic="], None),
    ],
)
def test_wrong_options_are_told_before_anything_is_written(teachers, tmp_path, capsys, more, told):
    images = write_images(tmp_path / "images", 3)
    given = [*teachers, *more] if told else ["--fov-deg=70"]
    assert label(images, tmp_path / "out", *given) == 2
    err = capsys.readouterr().err
    assert (told or "give at least one teacher") in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_dataset_stays_out_of_its_source(teachers, tmp_path, capsys):
    images = write_images(tmp_path / "images", 3)
    assert label(images, images / "labels", *teachers, "--fov-deg=70") == 2
    assert "lies in the source" in capsys.readouterr().err


def test_a_page_shows_what_the_files_hold(tmp_path):
    sky, road = CITYSCAPES.names.index("sky"), 0
    size = (240, 480)
    panoptic = np.full(size, pack(sky, 0), np.uint16)
    panoptic[80:160] = pack(road, 0)
    panoptic[160:] = 65535
    depth = np.full(size, np.nan, np.float32)
    depth[80:160] = 10
    image = np.full((*size, 3), 128, np.uint8)
    camera = Intrinsics(250, 250, 239.5, 119.5, *size)
    write_sample(tmp_path, "train", 0, 0, Sample(image, panoptic, depth, camera, ""))
    (page,) = write_sheets(tmp_path, ["train"], CITYSCAPES, 5)
    drawn = cv2.cvtColor(cv2.imread(str(page)), cv2.COLOR_BGR2RGB)
    cell = contact_sheet.CELL_WIDTH
    rows = [contact_sheet._LINE + r for r in (40, 120, 200)]  # sky, road, void
    picture, labels, depths = (drawn[rows, place * (cell + contact_sheet._GAP) + 440] for place in range(3))
    assert (picture == 128).all()
    expected = 0.45 * 128 + 0.55 * np.array([CITYSCAPES.classes[sky].color, CITYSCAPES.classes[road].color, (0, 0, 0)])
    np.testing.assert_allclose(labels, expected, atol=1)
    assert tuple(depths[0]) == SKY_COLOR  # the class says so; the file has no infinity
    assert tuple(depths[2]) == UNKNOWN_COLOR
    np.testing.assert_array_equal(depths[1], color_depth(np.full((1, 1), 10, np.float32), 20.0, 10.0)[0, 0])
    assert contact_sheet._range(np.repeat([0.57, 43.0], 50)) == (0.5, 50.0)


def test_other_peoples_folder_is_left_alone(teachers, tmp_path, capsys):
    images = write_images(tmp_path / "images", 3)
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / "000000_000000_street_camera.json").write_text("{}")
    assert label(images, tmp_path / "out", *teachers, "--fov-deg=70") == 2
    assert "did not write; label into a folder of its own" in capsys.readouterr().err
