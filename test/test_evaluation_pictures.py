"""Pictures and the HTML page: colours at places worked out by hand, and what a reader of the page finds in it."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from dps_perception.errors import ImageError
from dps_perception.evaluation import Evaluator
from dps_perception.evaluation.pictures import (
    SKY_COLOR,
    UNKNOWN_COLOR,
    color_depth,
    color_error,
    depth_scale,
    error_scale,
    overlay,
)
from dps_perception.evaluation.report import (
    Number,
    Numbers,
    Picture,
    Pictures,
    Report,
    Section,
    Table,
    Text,
    write_report,
)
from dps_perception.evaluation.score_report import (
    class_legend,
    latency_summary,
    latency_table,
    sample_pictures,
    score_numbers,
    score_tables,
)
from dps_perception.labels import CITYSCAPES, pack

CAR = CITYSCAPES.names.index("car")


def two_cars() -> tuple[np.ndarray, np.ndarray]:
    """A grey image; a road with two touching cars, and a corner of void."""
    panoptic = np.zeros((60, 120), np.uint16)
    panoptic[20:40, 20:50], panoptic[20:40, 50:80] = pack(CAR, 1), pack(CAR, 2)
    panoptic[:10, :10] = 65535
    return np.full((60, 120, 3), 100, np.uint8), panoptic


def test_overlay_blends_class_colours_and_borders_instances():
    rgb, panoptic = two_cars()
    picture = overlay(rgb, panoptic, CITYSCAPES, alpha=0.5)
    assert picture.shape == rgb.shape
    assert picture.dtype == np.uint8
    assert rgb.max() == 100, "the input is not drawn on"
    np.testing.assert_allclose(picture[55, 100], (100 + np.array([128, 64, 128])) / 2, atol=1)
    np.testing.assert_allclose(picture[22, 22], (100 + np.array([0, 0, 142])) / 2, atol=1)
    np.testing.assert_allclose(picture[2, 2], [50, 50, 50], atol=1)
    assert (picture[37:40, 49:51] == 255).all(), "a border on both sides where two cars touch"
    assert (picture[20:40, 19] < 255).all(), "none on the stuff outside"


def test_overlay_writes_names_on_big_segments_only():
    rgb = np.zeros((512, 1024, 3), np.uint8)
    panoptic = np.zeros((512, 1024), np.uint16)
    panoptic[:250] = pack(CITYSCAPES.names.index("sky"), 0)
    panoptic[300:304, 100:104] = pack(CITYSCAPES.names.index("pole"), 0)
    is_text = (overlay(rgb, panoptic, CITYSCAPES) > 200).all(axis=2)
    assert 20 < is_text[:250].sum() < 2000
    assert 20 < is_text[250:].sum() < 2000
    assert not is_text[290:315, 60:150].any()


def test_overlay_needs_one_grid():
    rgb, panoptic = two_cars()
    with pytest.raises(ImageError, match=r"\(60, 120\).*\(59, 120\)"):
        overlay(rgb, panoptic[1:], CITYSCAPES)


def test_depth_colours_are_logarithmic_with_sky_and_unknown_apart():
    depth = np.array([[2, 12.649111, 80, 1, 500, np.inf, np.nan, 0, -1]], np.float32)
    picture = color_depth(depth, max_m=80, min_m=2)[0]
    near, middle, far = picture[:3]
    assert near[0] > 120 > near[2], "near is red"
    assert far[2] > far[1], "far is dark blue"
    half = np.array(depth_scale(80, 2).colors)[7:9].mean(axis=0)
    np.testing.assert_allclose(middle, half, atol=12, err_msg="the geometric mean of 2 and 80 is the middle colour")
    np.testing.assert_array_equal(picture[3], near)
    np.testing.assert_array_equal(picture[4], far)
    assert tuple(picture[5]) == SKY_COLOR
    assert {tuple(color) for color in picture[6:]} == {UNKNOWN_COLOR}


def test_depth_scale_marks_stand_at_their_logarithm():
    marks = {text: place for place, text in depth_scale(max_m=80, min_m=2).marks}
    assert marks["2 m"] == 0
    assert marks["80 m"] == 1
    assert marks["20 m"] == pytest.approx(np.log(10) / np.log(40))


def test_error_colours_say_too_near_right_and_too_far():
    truth = np.array([[10, 10, 10, 10, np.inf, np.nan]], np.float32)
    picture = color_error(np.array([[4, 10, 16, np.nan, 10, 10]], np.float32), truth, max_relative=0.5)[0].astype(int)
    assert picture[0, 2] > picture[0, 0], "blue"
    assert picture[1].min() > 240, "white"
    assert picture[2, 0] > picture[2, 2], "red"
    assert {tuple(color) for color in picture[3:]} == {UNKNOWN_COLOR}
    assert error_scale(0.5).marks[0][1].startswith("-50 %")


def test_pictures_refuse_impossible_ranges_and_sizes():
    depth = np.ones((2, 3), np.float32)
    with pytest.raises(ImageError, match=r"2\.0 m to 1 m"):
        color_depth(depth, max_m=1)
    with pytest.raises(ImageError, match=r"\(2, 3\).*\(2, 2\)"):
        color_error(depth, depth[:, :2])
    with pytest.raises(ImageError, match="relative error above 0"):
        color_error(depth, depth, max_relative=0)


class Page(HTMLParser):
    """Collects what a reader sees: headings, cells, picture sources; and checks that tags are closed in order."""

    VOID_TAGS = frozenset({"meta", "img", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.found: dict[str, list[str]] = {}
        self.sources: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open_tags

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID_TAGS:
            self.open_tags.append(tag)
            self.found.setdefault(tag, []).append("")
        if tag == "img" and dict(attrs).get("src"):
            self.sources.append(dict(attrs)["src"])

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open_tags):
            self.found[tag][-1] += data


def test_report_holds_everything_and_needs_nothing_from_outside(tmp_path):
    rgb, panoptic = two_cars()
    depth = np.full(panoptic.shape, 10, np.float32)
    evaluator = Evaluator(CITYSCAPES)
    evaluator.update(panoptic, depth, panoptic, depth)
    scores = evaluator.compute()
    rows = sample_pictures("scene <1>", rgb, CITYSCAPES, panoptic, 1.1 * depth, panoptic, depth, note="fine")
    latency = latency_summary({"inference": [10.0, 20.0, 30.0], "fusion": [1.0], "unused": []})
    sections = [
        Section("Scores", [score_numbers(scores), *score_tables(scores)], text="two cars"),
        Section("Pictures", [class_legend(CITYSCAPES), rows]),
        Section("Latency", [Text("one core"), latency_table(latency)]),
    ]
    path = tmp_path / "new" / "report.html"
    write_report(path, Report("A & B", sections, "sub", {"weights sha256": "c0ffee", "command": "dps_evaluate x"}))
    text = path.read_text()
    page = Page(text)
    assert page.found["h1"] == ["A & B"]
    assert page.found["h2"] == ["Scores", "Pictures", "Latency", "How this was made"]
    assert "scene <1>" in page.found["h3"], "names are escaped, not markup"
    assert {"c0ffee", "dps_evaluate x"} <= set(page.found["dd"])
    cells = page.found["td"]
    assert cells[cells.index("car") :][:4] == ["car", "thing", "100.00", "100.00"]
    assert cells[cells.index("inference") :][:6] == ["inference", "20.0", "20.0", "29.0", "30.0", "3"]
    assert "unused" not in cells
    assert len(page.sources) == 6
    for source in page.sources:
        encoded = re.fullmatch(r"data:image/jpeg;base64,(.+)", source)
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(encoded[1]), np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (60, 120, 3)
    first = cv2.imdecode(np.frombuffer(base64.b64decode(page.sources[0].split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert abs(first.astype(int) - 100).max() < 4, "the first picture is the input"
    assert not re.search(r"(src|href)=\"?http", text)
    assert list(path.parent.iterdir()) == [path]


def test_big_pictures_are_reduced_and_lossless_ones_exact():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (10, 40, 3), dtype=np.uint8)
    uri = Picture(image, lossless=True).data_uri()
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], image)
    uri = Picture(image, max_width_px=20).data_uri()
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(uri.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (5, 20, 3)


def test_a_wrong_picture_leaves_no_half_page(tmp_path):
    path = tmp_path / "report.html"
    wrong = Pictures([Picture(np.zeros((4, 4), np.uint8), "grey")])
    with pytest.raises(ImageError, match=r"'grey' is uint8 \(4, 4\)"):
        write_report(path, Report("t", [Section("s", [Numbers([Number("PQ", "1")]), wrong])]))
    assert list(tmp_path.iterdir()) == []


def test_bars_are_as_long_as_their_numbers():
    table = Table(["name", "PQ"], [["a", "25.00"], ["b", "-"]], bars={1: 50.0})
    assert table.bar_percent(1, "25.00") == 50
    assert table.bar_percent(1, "-") is None
    assert table.bar_percent(0, "25.00") is None
