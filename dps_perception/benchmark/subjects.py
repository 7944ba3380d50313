"""What is measured: weights on disk, or a preset with random ones, opened by a backend."""

from __future__ import annotations

from pathlib import Path

import torch

from ..inference.backends.engine_cache import cache_folder
from ..inference.comparison import Candidate
from ..inference.predictor import Predictor
from ..labels import CITYSCAPES
from ..models.config import NetworkConfig
from ..models.families import build, preset
from ..models.weights import ModelInfo, save_weights

RANDOM = "random weights"
_SIZE = (512, 1024)
_FOCAL_PX = 512.0


def random_weights(name: str, config: NetworkConfig | None = None, folder: Path | None = None) -> Path:
    """A weights file of a preset (or of `config`) that nobody has trained, for timing; the same every time.

    Raises:
        ConfigError: no such preset, or the cache can't be written to.
    """
    config = config or preset(name)
    path = (folder or cache_folder() / "random") / f"{name}.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(config)
    model_id = f"{name} ({RANDOM})"
    info = ModelInfo(model_id, name, config, CITYSCAPES, _SIZE, _FOCAL_PX, 0.5, config.max_depth_m)
    save_weights(path, network, info)
    return path


def is_random(predictor: Predictor) -> bool:
    """Whether it keeps no query because nobody trained it."""
    return predictor.model.model_id.endswith(f"({RANDOM})")


def load(candidate: Candidate, device: str, size_hw: tuple[int, int] | None) -> Predictor:
    """Open a candidate; slow builds print what they do. Raises as `Predictor.load` does."""
    return Predictor.load(
        candidate.weights, backend=candidate.backend, device=device, precision=candidate.precision,
        input_size=size_hw, mode=candidate.mode, progress=print,
    )  # fmt: skip


def name_of(predictor: Predictor) -> str:
    """Model, size, backend and precision, as tables and `--compare` know it."""
    height, width = predictor.input_size
    mode = predictor.backend.describe().get("mode", "")
    plain = mode in ("", "eager", "latency", "CPUExecutionProvider", "CUDAExecutionProvider")
    backend = predictor.backend_name if plain else f"{predictor.backend_name} {mode}"
    return f"{predictor.model.model_id} {height}x{width} {backend} {predictor.precision}"
