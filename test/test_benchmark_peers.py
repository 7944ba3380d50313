"""The pair that others would run, built from its published sizes, and times and ratios beside ours."""

import copy

import numpy as np
import pytest
import torch
from test_benchmark_stages import TINY

from dps_perception.benchmark import peer_run, peers, run
from dps_perception.benchmark.cli import _parser
from dps_perception.benchmark.peer_run import PAIR, Pair
from dps_perception.benchmark.result import Ratio, Result, ratio
from dps_perception.benchmark.stages import Frames
from dps_perception.benchmark.subjects import random_weights
from dps_perception.benchmark.synthetic import Look
from dps_perception.benchmark.timing import Effort, Timing
from dps_perception.errors import ConfigError
from dps_perception.inference.backends.engine_cache import FOLDER_VARIABLE
from dps_perception.inference.export import quiet
from dps_perception.types import Sample

CPU = torch.device("cpu")
SMALL = peers.Sizes(
    {**peers.SWIN_T, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4},
    {
        **peers.MASK2FORMER, "feature_size": 32, "mask_feature_size": 32, "hidden_dim": 32, "encoder_layers": 1,
        "encoder_feedforward_dim": 32, "decoder_layers": 2, "dim_feedforward": 32, "num_attention_heads": 2,
    },
    {
        **peers.DINOV2_S, "hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2,
        "out_features": peers.STAGES,
    },
    {
        **peers.DEPTH_ANYTHING, "reassemble_hidden_size": 16, "neck_hidden_sizes": [8, 8, 8, 8],
        "fusion_hidden_size": 8, "head_hidden_size": 8,
    },
)  # fmt: skip
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 96, 3), np.uint8)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    return Pair((64, 128), IMAGE, Look(5, 20), CPU, SMALL)


def test_parameters_are_the_published_ones(monkeypatch):
    def meta(kind, config):
        with torch.device("meta"):
            return kind(config).eval()

    monkeypatch.setattr(peers, "_untrained", meta)
    for build in (peers.mask2former, peers.depth_anything):
        peer = build((512, 1024))
        count = sum(p.numel() for p in peer.network.parameters())
        assert count == pytest.approx(peers.PUBLISHED[peer.name], rel=0.005)
    assert peer.size_hw == (518, 1022), "37 x 73 patches: 512 / 14 = 36.6, 1024 / 14 = 73.1"


def test_outputs_are_those_that_post_processing_reads(pair):
    panoptic, depth = pair.peers
    with torch.no_grad():
        classes, masks = panoptic.network(panoptic.prepare(IMAGE))
        (metres,) = depth.network(depth.prepare(IMAGE))
    assert (classes.shape, masks.shape) == ((1, 100, 20), (1, 100, 16, 32))
    assert metres.shape == (1, 70, 126)
    assert ((metres >= 0) & (metres <= 80)).all()


def test_post_processing_finds_the_synthetic_segments(pair):
    found, depth = pair._post()
    assert found["segmentation"].shape == depth.shape == (48, 96)
    assert len(found["segments_info"]) == 5


def test_rows_in_pytorch_and_what_is_refused(pair):
    rows = pair.measure("torch", "bf16", Effort(2, 1))
    stages = ["resize", "Mask2Former Swin-T", "Depth Anything V2 Small", "post-processing", "together"]
    assert [row.stage for row in rows] == stages
    assert {row.subject for row in rows} == {f"{PAIR} 64x128 and 70x126 torch bf16"}
    assert all(row.median_ms > 0 and row.runs == 2 for row in rows)
    with pytest.raises(ConfigError, match="not run in onnxruntime bf16 on cpu"):
        pair.measure("onnxruntime", "bf16", Effort(2, 1))


def test_an_exported_peer_gives_the_same_answer(pair):
    """Depth Anything only: the exporter takes a minute for Mask2Former, whatever its size."""
    import onnxruntime

    peer = pair.peers[1]
    said = []
    path = pair._onnx(peer, said.append)
    assert path == pair._onnx(peer, said.append)
    assert len(said) == 1, "exported once"
    pixels = peer.prepare(IMAGE)
    with torch.no_grad(), quiet():
        (expected,) = peer.network(pixels)
    (seen,) = peer_run._onnxruntime_call(path)(pixels)
    assert np.abs(seen - expected.numpy()).max() < 1e-3
    result = peer_run._openvino_call(pair._converted(peer, said.append), "fp32")(pixels)
    assert np.abs(result[0] - expected.numpy()).max() < 1e-3
    assert onnxruntime.InferenceSession(str(path)).get_inputs()[0].shape == [1, 3, 70, 126]


def rows(subject, **stages):
    return [Timing(subject, stage.replace("_", " "), ms, ms, ms, 3) for stage, ms in stages.items()]


def test_ratios_by_hand():
    ours = rows("ours", decode=50, resize=1, network=10, fusion=4)
    pair = rows("pair", a=60, b=30, post=10, together=105)
    assert ratio(ours, pair, ["a", "b"]) == Ratio("ours", "pair", 9.0, 7.0)
    assert Ratio("ours", "pair", 9.04, 7.0).cells() == ["ours", "pair", "9.0x", "7.0x"]


def test_the_pair_is_measured_once_beside_ours(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(run, "Pair", lambda size, image, look, device: Pair(size, image, look, device, SMALL))
    files = [str(random_weights(name, TINY, tmp_path)) for name in ("one", "two")]
    parser = _parser()
    args = parser.parse_args(["--precision", "fp32,fp16", "--peers", "--device", "cpu", "--segments", "5"])
    frames = Frames(Sample(IMAGE, None, None, None, ""), outputs=(), look=Look(5, 20))
    result = Result({}, {})
    monkeypatch.setattr(peer_run, "RUNTIMES", {"torch": ("fp32",)})
    run._networks(args, files, (64, 128), frames, Effort(1, 1), result)
    assert [(r.ours.split(" (")[0], r.pair) for r in result.ratios] == [
        ("one", f"{PAIR} 64x128 and 70x126 torch fp32"), ("two", f"{PAIR} 64x128 and 70x126 torch fp32"),
    ]  # fmt: skip
    assert sum(row.subject.startswith(PAIR) and row.stage == "together" for row in result.timings) == 1
    assert "Depth Anything runs at 70x126, the nearest multiples of 14" in result.notes
    assert any(line.startswith("No peers in torch fp16") for line in result.notes)
    assert copy.copy(result.ratios[0]).network > 0
