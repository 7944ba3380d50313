"""Tiny random teachers, built from their configs and saved as a hub repository would hold them."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from dps_perception.labels import CITYSCAPES

SIDE = 64
_SMALL = dict(encoder_feedforward_dim=32, encoder_layers=1, num_attention_heads=2, dim_feedforward=32, hidden_dim=32)


def write_mask2former(path: Path, names=CITYSCAPES.names) -> Path:
    config = transformers.Mask2FormerConfig(
        backbone_config=_swin(), feature_size=32, mask_feature_size=32, decoder_layers=2, num_queries=8,
        **_SMALL, **_ids(names),
    )  # fmt: skip
    _save(transformers.Mask2FormerForUniversalSegmentation, config, path)
    transformers.Mask2FormerImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


def write_eomt(path: Path, names=CITYSCAPES.names, *, splits: bool = False) -> Path:
    config = transformers.EomtConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=SIDE, patch_size=8, num_blocks=1,
        num_queries=8, num_upscale_blocks=1, num_register_tokens=1, **_ids(names),
    )  # fmt: skip
    _save(transformers.EomtForUniversalSegmentation, config, path)
    size = {"shortest_edge": SIDE, "longest_edge": SIDE}
    transformers.EomtImageProcessor(size=size, do_pad=not splits, do_split_image=splits).save_pretrained(path)
    return path


def write_oneformer(path: Path, names=CITYSCAPES.names) -> Path:
    """As published ones are: the processor names a file of classes that lies in another repository."""
    config = transformers.OneFormerConfig(
        backbone_config=_swin(), num_queries=8, task_seq_len=16, text_encoder_width=16, text_encoder_vocab_size=600,
        text_encoder_context_length=16, text_encoder_num_layers=1, conv_dim=32, mask_dim=32, decoder_layers=3,
        query_dec_layers=1, **_SMALL, **_ids(names),
    )  # fmt: skip
    _save(transformers.OneFormerForUniversalSegmentation, config, path)
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    images = transformers.OneFormerImageProcessor(size={"height": SIDE, "width": SIDE}, num_text=2)
    images.class_info_file = "cityscapes_panoptic.json"
    tokenizer.save_pretrained(path)
    images.save_pretrained(path)
    return path


def write_depth_anything(path: Path, *, kind: str = "metric", max_depth: int = 80) -> Path:
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        head_hidden_size=8, depth_estimation_type=kind, max_depth=max_depth,
    )  # fmt: skip
    _save(transformers.DepthAnythingForDepthEstimation, config, path)
    size = {"height": 56, "width": 56}
    transformers.DPTImageProcessor(size=size, keep_aspect_ratio=True, ensure_multiple_of=14).save_pretrained(path)
    return path


def _swin():
    return transformers.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, image_size=SIDE,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip


def _ids(names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def _save(kind, config, path):
    torch.manual_seed(0)
    network = kind(config)
    last_of_masks = ("mask_embedder.2.0.weight", "mask_head.fc3.weight", "mask_embed.layers.2.0.weight")
    for name, tensor in network.state_dict().items():
        if name.endswith(("class_predictor.weight", "class_embed.weight", *last_of_masks)):
            tensor *= 1000  # random, but sure of itself
        if name.endswith(("class_predictor.bias", "class_embed.bias")):
            tensor[-1] = -1e6  # always an object
    network.save_pretrained(path)
