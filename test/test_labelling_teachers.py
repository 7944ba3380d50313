"""Each family of teachers loads from a folder, offline, and answers on the image's pixel grid; what can't is told."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from teacher_fixtures import write_depth_anything, write_eomt, write_mask2former, write_oneformer

from dps_perception.errors import ConfigError, ModelLoadError
from dps_perception.labelling import panoptic_teacher
from dps_perception.labelling.depth_teacher import DepthTeacher, known_focal_px
from dps_perception.labelling.panoptic_teacher import PanopticTeacher, merge
from dps_perception.labels import CITYSCAPES

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 100, 3), np.uint8)
SURE = 20.0


@pytest.mark.parametrize("write", [write_mask2former, write_oneformer, write_eomt])
def test_a_panoptic_teacher_answers_on_the_images_grid(write, tmp_path):
    teacher = PanopticTeacher(str(write(tmp_path / "teacher")), CPU, 0.5)
    assert teacher.names == CITYSCAPES.names
    segments = teacher(IMAGE)
    assert segments.class_id.shape == segments.number.shape == IMAGE.shape[:2]
    assert (segments.class_id >= 0).any()
    assert segments.class_id.max() < len(CITYSCAPES)
    assert ((segments.class_id >= 0) == (segments.number > 0)).all()
    assert len(teacher.identity.config_sha256) == 64
    again = PanopticTeacher(str(tmp_path / "teacher"), CPU, 0.5)(IMAGE)
    np.testing.assert_array_equal(again.number, segments.number)


def test_the_panoptic_teacher_agrees_with_its_own_post_processing(tmp_path):
    """Where transformers' merging, with its threshold of 0.5 a mask, says the same thing in another way."""
    path = write_eomt(tmp_path / "teacher")
    teacher = PanopticTeacher(str(path), CPU, 0.5)
    network = transformers.EomtForUniversalSegmentation.from_pretrained(path).eval()
    processor = transformers.EomtImageProcessor.from_pretrained(path)
    with torch.inference_mode():
        outputs = network(processor(images=IMAGE, return_tensors="pt")["pixel_values"])
        (theirs,) = processor.post_process_panoptic_segmentation(outputs, target_sizes=[IMAGE.shape[:2]], threshold=0.5)
    class_of = {segment["id"]: segment["label_id"] for segment in theirs["segments_info"]}
    expected = np.vectorize(lambda i: class_of.get(int(i), -1))(theirs["segmentation"].numpy())
    assert (teacher(IMAGE).class_id == expected).mean() > 0.98


def queries(*rows):
    """Class logits (Q, 3 + 1) that are sure of these classes."""
    return torch.stack([torch.nn.functional.one_hot(torch.tensor(c), 4) * SURE for c in rows]).float()


def test_merge_by_hand():
    # Two cars and the sky on 4 x 4 pixels; the last query is "no object".
    masks = torch.full((4, 4, 4), -SURE)
    masks[0, :2] = SURE
    masks[1, 2:, :2] = SURE
    masks[2, 2:, 2:] = SURE
    masks[3] = SURE
    found = merge(queries(2, 1, 1, 3), masks, (4, 4), 0.5)
    assert found.class_id.tolist() == [[2] * 4] * 2 + [[1] * 4] * 2
    assert len(np.unique(found.number)) == 3
    assert found.number[3, 0] != found.number[3, 3]


def test_a_pixel_is_as_sure_as_class_times_mask():
    class_logits = torch.log(torch.tensor([[0.8, 0.1, 0.05, 0.05]]))
    masks = torch.logit(torch.tensor([[[0.9, 0.7, 0.6, 0.2]]]))  # confidence 0.72, 0.56, 0.48, 0.16
    assert merge(class_logits, masks, (1, 4), 0.5).class_id.tolist() == [[0, 0, -1, -1]]
    assert merge(class_logits, masks, (1, 4), 0.6).class_id.tolist() == [[0, -1, -1, -1]]
    assert merge(class_logits, masks, (1, 4), 0.81).class_id.tolist() == [[-1] * 4]


def test_what_others_own_most_of_is_no_segment():
    masks = torch.full((2, 1, 10), -SURE)
    masks[0, :, :7] = SURE
    masks[1] = SURE / 2  # a weaker mask of all ten pixels, of which seven are another's
    found = merge(queries(0, 1), masks, (1, 10), 0.5)
    assert found.class_id.tolist() == [[0] * 7 + [-1] * 3]


def test_padding_is_cut_off():
    masks = torch.full((1, 4, 4), -SURE)
    masks[0, :, :2] = SURE  # the left half of the network's input, which is all of the image
    assert (merge(queries(1), masks, (4, 4), 0.5, padded=((4, 4), (4, 2))).class_id == 1).all()


def test_a_metric_depth_teacher(tmp_path):
    teacher = DepthTeacher(str(write_depth_anything(tmp_path / "teacher")), CPU, 100.0)
    depth = teacher(IMAGE)
    assert depth.depth_m.shape == IMAGE.shape[:2]
    assert (depth.depth_m[np.isfinite(depth.depth_m)] > 0).all()
    assert np.nanmax(depth.depth_m) < 0.99 * 80
    # 48 x 100 is brought to 56 x 112 (multiples of 14), so 100 px there are 100 * 100 / 112 px here.
    assert depth.focal_px == pytest.approx(100 * 100 / 112)
    assert teacher.max_depth_m == 80


def test_depth_at_the_teachers_end_is_unknown(tmp_path):
    path = write_depth_anything(tmp_path / "teacher")
    weights = load_file(path / "model.safetensors")
    weights["head.conv3.bias"] += 1000  # its sigmoid is 1 everywhere
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    assert np.isnan(DepthTeacher(str(path), CPU)(IMAGE).depth_m).all()


@pytest.mark.parametrize("fov", [True, False])
def test_depth_pro_tells_its_focal_length(tmp_path, fov):
    vit = dict(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=32, patch_size=16)
    vit["model_type"] = "dinov2"
    config = transformers.DepthProConfig(
        image_model_config={**vit}, patch_model_config={**vit}, fov_model_config={**vit}, fusion_hidden_size=16,
        patch_size=32,
        scaled_images_ratios=[0.5, 1], scaled_images_overlap_ratios=[0.0, 0.25], scaled_images_feature_dims=[16, 16],
        intermediate_hook_ids=[3, 1], intermediate_feature_dims=[16, 16], use_fov_model=fov,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.DepthProForDepthEstimation(config).save_pretrained(tmp_path)
    transformers.DepthProImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path)
    teacher = DepthTeacher(str(tmp_path), CPU, 300.0)
    depth = teacher(IMAGE)
    assert teacher.estimates_focal
    assert depth.depth_m.shape == IMAGE.shape[:2]
    assert depth.focal_px is not None
    assert (depth.focal_px == 100.0) == (not fov)  # without its head depth is that of a focal length of one width


def test_glpn_is_cut_to_multiples_of_32(tmp_path):
    config = transformers.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8,
        max_depth=80,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GLPNForDepthEstimation(config).save_pretrained(tmp_path)
    transformers.GLPNImageProcessor().save_pretrained(tmp_path)
    teacher = DepthTeacher(str(tmp_path), CPU, 100.0)
    depth = teacher(IMAGE)
    assert (depth.depth_m.shape, teacher.max_depth_m) == (IMAGE.shape[:2], 80)
    assert depth.focal_px == pytest.approx(100 * 100 / 96)


def test_zoedepth_looks_at_a_padded_image(tmp_path):
    backbone = transformers.BeitConfig(
        image_size=64, num_hidden_layers=4, hidden_size=16, intermediate_size=16, num_attention_heads=2, patch_size=16,
        use_relative_position_bias=True, reshape_hidden_states=False,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8, bottleneck_features=8,
        num_relative_features=8, bin_embedding_dim=8, num_attractors=[4, 2, 2, 1],
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.ZoeDepthForDepthEstimation(config).save_pretrained(tmp_path)
    processor = transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 64})
    processor.save_pretrained(tmp_path)
    teacher = DepthTeacher(str(tmp_path), CPU, 100.0)
    depth = teacher(IMAGE)
    assert (depth.depth_m.shape, teacher.max_depth_m) == (IMAGE.shape[:2], 10)
    # 100 columns and int(sqrt(100 / 2) * 3) = 21 on either side become the network's width.
    width = processor(images=IMAGE, return_tensors="pt")["pixel_values"].shape[-1]
    assert depth.focal_px == pytest.approx(100 * 142 / width)


def test_focal_lengths_of_well_known_teachers():
    # Virtual KITTI 2: 725.0087 px at 1242x375, Hypersim: 886.81 px at 1024x768; the shorter side becomes 518.
    assert known_focal_px("depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf") == pytest.approx(
        1001.48, abs=0.01
    )
    assert known_focal_px("/models/depth-anything-v2-metric-indoor-small-hf/") == pytest.approx(598.13, abs=0.01)
    assert known_focal_px("Intel/zoedepth-nyu") is None


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    return write_depth_anything(tmp_path_factory.mktemp("depth") / "teacher")


def test_relative_depth_is_refused(tmp_path):
    path = write_depth_anything(tmp_path / "teacher", kind="relative", max_depth=1)
    with pytest.raises(ModelLoadError, match="not metres; give a metric one"):
        DepthTeacher(str(path), CPU)


def test_a_teacher_of_another_kind_is_named(depth_folder, tmp_path):
    with pytest.raises(ModelLoadError, match="'depth_anything'; a panoptic teacher is one of eomt"):
        PanopticTeacher(str(depth_folder), CPU, 0.5)
    with pytest.raises(ModelLoadError, match=r"semantic segmentation .* give a panoptic one"):
        PanopticTeacher(str(write_eomt(tmp_path / "semantic", splits=True)), CPU, 0.5)


def damaged(folder, target, change):
    shutil.copytree(folder, target)
    change(target)
    return str(target)


def drop_head(path: Path):
    weights = {k: v for k, v in load_file(path / "model.safetensors").items() if not k.startswith("head.")}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop_head, r"lack 6 tensors of DepthAnythingForDepthEstimation \(first: head.conv1.bias\)"),
        (lambda path: (path / "model.safetensors").write_bytes(b"half"), "can't be loaded"),
        (lambda path: (path / "model.safetensors").unlink(), "is the folder whole"),
        (lambda path: (path / "preprocessor_config.json").unlink(), "network and processor"),
        (lambda path: (path / "config.json").unlink(), "no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "can't be loaded"),
        (lambda path: (path / "config.json").write_text(json.dumps({"model_type": "new"})), "can't be loaded"),
    ],
)
def test_a_damaged_folder_is_told_in_one_line(depth_folder, tmp_path, change, told):
    with pytest.raises(ModelLoadError, match=told) as caught:
        DepthTeacher(damaged(depth_folder, tmp_path / "bad", change), CPU)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_and_a_hub_out_of_reach(tmp_path, monkeypatch):
    with pytest.raises(ModelLoadError, match="no such folder"):
        PanopticTeacher(str(tmp_path / "gone"), CPU, 0.5)

    def unreachable(*_, **__):
        raise OSError("We couldn't connect to the hub\nto load this file")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(
        ModelLoadError, match=re.escape("check the name and the network; without network: `hf download")
    ):
        PanopticTeacher("someone/teacher", CPU, 0.5)


def test_without_transformers_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install transformers .*dps_perception\[teachers\]"):
        panoptic_teacher.library()
