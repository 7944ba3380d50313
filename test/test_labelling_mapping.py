"""Teachers' classes as ours: the shipped tables, the user's own, and the pixels that come out."""

import json

import numpy as np
import pytest

from dps_perception.errors import ConfigError
from dps_perception.labelling.label_mapping import TABLES, fold, mapping_for
from dps_perception.labelling.panoptic_teacher import TeacherSegments
from dps_perception.labels import CITYSCAPES, COCO_PANOPTIC, LABEL_SPACES, MAPILLARY_VISTAS, pack

SHIPPED = sorted(TABLES.glob("*.json"))


def becomes(mapping, names):
    """What the teacher's classes of these names become, by name."""
    place = [*mapping.label_space.names, *["void"] * (256 - len(mapping.label_space))]
    return {name: place[i] for name, i in zip(names, mapping.class_id.tolist(), strict=True)}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_table_names_every_class_once(path):
    table = json.loads(path.read_text())
    named = [name for group in [*table["classes"].values(), table["void"]] for name in group]
    assert len({fold(name) for name in named}) == len(named)
    assert set(table["classes"]) <= set(LABEL_SPACES[table["to"]].names)
    assert path.stem == f"{table['from']}_to_{table['to']}"
    if table["from"] in LABEL_SPACES:
        assert {fold(name) for name in named} == {fold(name) for name in LABEL_SPACES[table["from"]].names}


@pytest.mark.parametrize("endings", [True, False], ids=["names of COCO", "names without endings"])
def test_coco_to_cityscapes(endings):
    names = [name if endings else fold(name).title() for name in COCO_PANOPTIC.names]
    mapping = mapping_for(names, CITYSCAPES)
    assert mapping.table == "coco_panoptic_to_cityscapes"
    assert not mapping.unnamed
    found = {fold(name): target for name, target in becomes(mapping, names).items()}
    assert {n: found[n] for n in ("person", "pavement", "tree", "stop sign", "building", "wall", "chair", "sky")} == {
        "person": "person",
        "pavement": "sidewalk",
        "tree": "vegetation",
        "stop sign": "traffic sign",
        "building": "building",
        "wall": "void",
        "chair": "void",
        "sky": "sky",
    }


def test_mapillary_to_cityscapes_and_its_crowd():
    names = [name.title() for name in MAPILLARY_VISTAS.names]
    mapping = mapping_for(names, CITYSCAPES)
    found = becomes(mapping, names)
    assert (found["Bicyclist"], found["Curb"], found["Lane Marking - General"]) == ("rider", "sidewalk", "road")
    assert [name for name, crowd in zip(names, mapping.crowd, strict=True) if crowd] == ["On Rails"]
    rails = names.index("On Rails")
    car = names.index("Car")
    segments = TeacherSegments(np.array([[rails, car, -1]]), np.array([[3, 4, 0]]))
    assert mapping.panoptic(segments).tolist() == [[pack(16, 0), pack(13, 4), 65535]]


def test_ade20k_in_both_spellings():
    table = json.loads((TABLES / "ade20k_to_cityscapes.json").read_text())
    names = [name for group in [*table["classes"].values(), table["void"]] for name in group][:150]
    written = [{"road": "road, route", "grass": "grass ", "sidewalk": "sidewalk, pavement"}.get(n, n) for n in names]
    mapping = mapping_for(written, CITYSCAPES)
    assert becomes(mapping, written)["road, route"] == "road"
    assert becomes(mapping, written)["sidewalk, pavement"] == "sidewalk"
    assert not mapping.unnamed


@pytest.mark.parametrize("space", [CITYSCAPES, COCO_PANOPTIC, MAPILLARY_VISTAS], ids=lambda s: s.name)
def test_a_label_space_maps_to_itself(space):
    mapping = mapping_for(space.names[::-1], space)
    assert mapping.class_id.tolist() == list(range(len(space)))[::-1]


def test_a_class_too_many_is_void_and_named():
    mapping = mapping_for([*CITYSCAPES.names, "drone"], CITYSCAPES)
    assert mapping.class_id[-1] == 255
    assert mapping.unnamed == ("drone",)


def test_no_table_fits():
    with pytest.raises(
        ConfigError, match=r"no table leads from the teacher's 2 classes \(gripper, pallet.*--label-table"
    ):
        mapping_for(["gripper", "pallet"], CITYSCAPES)


def own(tmp_path, **table):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table))
    return path


def test_stuff_loses_its_instances_and_a_table_of_ones_own_counts(tmp_path):
    path = own(tmp_path, to="cityscapes", classes={"car": ["cup", "mug"], "road": ["tray"]}, void=["plate"])
    mapping = mapping_for(["tray", "cup", "plate", "mug", "fork"], CITYSCAPES, path)
    assert mapping.class_id.tolist() == [0, 13, 255, 13, 255]
    assert mapping.unnamed == ("fork",)
    segments = TeacherSegments(np.array([[0, 0, 1, 3, 2, 4, -1]]), np.array([[1, 2, 3, 4, 5, 6, 0]]))
    assert mapping.panoptic(segments).tolist() == [[0, 0, pack(13, 3), pack(13, 4), 65535, 65535, 65535]]


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"to": "cityscapes", "classes": {"car": ["cupp"]}}, "no class 'cupp', did you mean 'cup'"),
        ({"to": "cityscapes", "classes": {"carr": ["cup"]}}, "no class 'carr', did you mean 'car'"),
        ({"to": "cityscapes", "classes": {"car": ["cup"], "bus": ["Cup"]}}, "'Cup' twice"),
        ({"to": "cityscapes", "classes": {"car": ["cup"]}, "void": ["cup"]}, "under a class and under void"),
        ({"to": "coco_panoptic", "classes": {}}, "leads to 'coco_panoptic', wanted is 'cityscapes'"),
        ({"to": "cityscapes", "clases": {}}, "unknown key 'clases', did you mean 'classes'"),
        ({"to": "cityscapes", "classes": {"car": "cup"}}, "its form is"),
        ({"classes": {}}, "its form is"),
    ],
)
def test_a_wrong_table_is_told(tmp_path, table, told):
    with pytest.raises(ConfigError, match=told):
        mapping_for(["cup", "spoon"], CITYSCAPES, own(tmp_path, **table))
