"""Starting from earlier weights, and turning a trained network into a weights file."""

from __future__ import annotations

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import __version__
from ..errors import ConfigError, ModelLoadError
from ..evaluation import Scores
from ..labels import LabelSpace
from ..models.efficientdps import EfficientDPS
from ..models.weights import ModelInfo, load_weights, save_weights
from .config import TrainConfig

_PREFIX = "network."


def initialise(network: EfficientDPS, source: str) -> str:
    """Copy every tensor of `source` that fits into `network`; return a report of what was and wasn't taken.

    Raises:
        ModelLoadError: the file is missing or unreadable, or not one tensor fits.
    """
    path = Path(source)
    if not path.is_file():
        raise ModelLoadError(f"init_from: no file '{path}'; give a .ckpt of dps_train or a .safetensors weights file")
    tensors = _tensors(path)
    own = network.state_dict()
    fitting = {k: v for k, v in tensors.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise ModelLoadError(f"init_from: nothing in {path} fits this network ({len(tensors)} tensors seen)")
    network.load_state_dict(fitting, strict=False)
    fresh = [k for k in own if k not in fitting]
    unused = [k for k in tensors if k not in fitting]
    lines = [f"init_from {path}: {len(fitting)} of {len(own)} tensors taken over"]
    lines += [f"  fresh: {_short(fresh)}"] if fresh else []
    lines += [f"  not used: {_short(unused)}"] if unused else []
    return "\n".join(lines)


def write_weights(
    path: Path, network: EfficientDPS, label_space: LabelSpace, config: TrainConfig, steps: int, scores: Scores | None
) -> str:
    """Write the inference weights of a run; return their SHA-256."""
    data = config.data
    training: dict[str, Any] = {
        "config": asdict(config),
        "steps": steps,
        "images_seen": steps * config.optimizer.batch_size * config.run.devices * config.run.num_nodes,
        "software": {"dps_perception": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }
    measured = {}
    if scores is not None:
        measured = {"val_pq": float(scores.pq)}
        if network.config.depth:
            measured |= {"val_dpq": float(scores.dpq), "val_abs_rel": float(scores.abs_rel)}
    info = ModelInfo(
        model_id=config.run.model_id or config.model.preset,
        family="efficientdps",
        preset=config.model.preset,
        config=network.config,
        label_space=label_space,
        input_size=(data.input_size[0], data.input_size[1]),
        focal_px=data.focal_ratio * data.input_size[1],
        min_depth_m=data.min_depth_m,
        max_depth_m=network.config.max_depth_m,
        training=training,
        scores=measured,
    )
    return save_weights(path, network, info)


def newest_checkpoint(resume: str, folder: Path) -> Path | None:
    """The checkpoint that `resume` asks for; None to start anew.

    Raises:
        ConfigError: it does not exist.
    """
    if not resume:
        return None
    path = folder / "last.ckpt" if resume == "last" else Path(resume)
    if not path.is_file():
        raise ConfigError(f"resume '{resume}': no checkpoint {path}; leave resume empty to start anew")
    return path


def _tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_weights(path)[0].state_dict()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, KeyError, EOFError, ValueError) as error:
        raise ModelLoadError(f"init_from: {path} is not a checkpoint of dps_train ({error})") from error
    return {k.removeprefix(_PREFIX): v for k, v in state.items() if k.startswith(_PREFIX)}


def _short(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
