"""Starting from what was learnt before: an earlier run, a weights file, or torchvision's backbones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import get_model_weights

from ..errors import ModelLoadError
from ..labels import LabelSpace
from ..models.efficientdps import GROUPED
from ..models.families import family_of
from ..models.network import Network
from ..models.weights import find_weights, load_weights, shipped_weights
from .failures import LAST
from .lineage import KEY, stages_of_checkpoint, stages_of_weights

IMAGENET = "imagenet"
_PREFIX = "network."
_CLASSIFIER = ("fc.", "head.", "norm.")  # what torchvision has behind the backbone
# Counters that old files lack, the norm behind each stage of ours, and what depends on the window (12 here, 7 there).
_MAY_DIFFER = (".num_batches_tracked", "norms.", ".relative_position_")
_RESNET_STEM = {"conv1.": "stem.0.", "bn1.": "stem.1."}


@dataclass(frozen=True)
class Start:
    """What `init_from` names.

    Attributes:
        path: the file.
        tensors: of the network, by name.
        label_space: its classes; None where an old checkpoint does not say.
        stages: that led to it.
    """

    path: Path
    tensors: dict[str, Tensor]
    label_space: LabelSpace | None
    stages: list[dict[str, Any]]


def read_start(source: str) -> Start:
    """Read the folder of a run (its last.ckpt), a checkpoint, a weights file, or shipped weights by their name.

    Raises:
        ModelLoadError: it is missing or unreadable.
    """
    path = find_weights(source) if source in shipped_weights() else Path(source)
    if path.is_dir():
        path = path / LAST
    if not path.is_file():
        raise ModelLoadError(
            f"init_from: no file '{path}'; give a .ckpt or the folder of a run of dps_train, or a .safetensors file"
        )
    if path.suffix == ".safetensors":
        network, info = load_weights(path)
        return Start(path, network.state_dict(), info.label_space, stages_of_weights(info.training))
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint["state_dict"]
    except Exception as error:  # torch.load has many ways to fail, by the damage
        raise ModelLoadError(f"init_from: {path} is not a checkpoint of dps_train ({_first_line(error)})") from error
    tensors = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    space = LabelSpace.from_dict(checkpoint[KEY]["label_space"]) if KEY in checkpoint else None
    return Start(path, tensors, space, stages_of_checkpoint(checkpoint, path))


def initialise(network: Network, start: Start, label_space: LabelSpace) -> str:
    """Copy every tensor of `start` that fits into `network`; return a report of what was and wasn't taken.

    The layers that tell classes apart stay fresh where the classes are others, even if there are as many.

    Raises:
        ModelLoadError: not one tensor fits.
    """
    foreign = start.label_space is not None and _kinds(start.label_space) != _kinds(label_space)
    skipped = {name for name in start.tensors if foreign and name.startswith(family_of(network.config).class_parts)}
    lines = _copy(network.state_dict(), {k: v for k, v in start.tensors.items() if k not in skipped})
    if lines is None:
        raise ModelLoadError(
            f"init_from: nothing in {start.path} fits this network ({len(start.tensors)} tensors seen)"
        )
    if skipped:
        assert start.label_space is not None
        lines.append(
            f"other classes ('{start.label_space.name}' there, '{label_space.name}' here), so fresh: "
            f"{_short(sorted(skipped))}"
        )
    return "\n  ".join([f"init_from {start.path}: {lines[0]}", *lines[1:]])


def load_backbone(network: Network, source: str) -> str:
    """Give the backbone torchvision's weights; return a report.

    Args:
        network: of any backbone.
        source: "imagenet" downloads torchvision's default weights; anything else is a file with the state dict of
            torchvision's model.

    Raises:
        ModelLoadError: the download failed, the file is missing, unreadable or of another backbone.
    """
    name = network.config.backbone
    if source == IMAGENET:
        weights = get_model_weights(name).DEFAULT
        try:
            state = weights.get_state_dict(progress=False, check_hash=True)
        except (URLError, OSError, RuntimeError) as error:
            raise ModelLoadError(
                f"backbone_weights: can't download {weights.url} ({_first_line(error)}); fetch it where there is a "
                f"network and give the file: --model.backbone_weights {Path(weights.url).name}"
            ) from error
    else:
        if not Path(source).is_file():
            raise ModelLoadError(
                f"backbone_weights: no file '{source}'; give a .pth of torchvision's {name}, or {IMAGENET}"
            )
        try:
            state = torch.load(source, map_location="cpu", weights_only=True)
            tensors = isinstance(state, Mapping) and all(isinstance(value, Tensor) for value in state.values())
        except Exception as error:  # torch.load has many ways to fail, by the damage
            raise ModelLoadError(f"backbone_weights: {source} can't be read ({_first_line(error)})") from error
        if not tensors:
            raise ModelLoadError(f"backbone_weights: {source} is not a state dict (names to tensors)")
    own = network.backbone.state_dict()
    theirs = {_backbone_name(k): v for k, v in state.items()}
    wrong = foreign_tensors(own, theirs)
    lines = None if wrong else _copy(own, theirs)
    if lines is None:
        raise ModelLoadError(
            f"backbone_weights: {source} is not of a {name} ({len(wrong)} tensors are missing, of another shape or too "
            f"many: {_short(wrong)}); give torchvision's weights of it"
        )
    return "\n  ".join([f"backbone_weights {source} ({name}): {lines[0]}", *lines[1:]])


def foreign_tensors(own: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> list[str]:
    """Names of a backbone's tensors that weights of the same torchvision model would not lack, change or add."""
    needed = {k: v for k, v in own.items() if not any(part in k for part in _MAY_DIFFER)}
    wrong = [k for k, v in needed.items() if k not in theirs or theirs[k].shape != v.shape]
    return wrong + [k for k in theirs if k not in own and not k.startswith(_CLASSIFIER)]


def _copy(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str] | None:
    """Copy what fits into `own` in place; lines of what happened, None where nothing fits."""
    grown = {name: len(value) for name, value in tensors.items() if name.startswith(GROUPED)}
    tensors = {name: _first_groups(name, value, own) for name, value in tensors.items()}
    shared = [name for name in own if name in tensors]
    fitting = [name for name in shared if own[name].shape == tensors[name].shape]
    if not fitting:
        return None
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(tensors[name])
    taken = set(fitting)
    others = [
        f"{name} ({_shape(own[name])} here, {_shape(tensors[name])} there)" for name in shared if name not in taken
    ]
    fresh, unused = [name for name in own if name not in tensors], [name for name in tensors if name not in own]
    lines = [f"{len(fitting)} of {len(own)} tensors taken over"]
    lines += [
        f"{name}: {min(rows, len(own[name]))} of {len(own[name])} queries taken over, {rows} were there"
        for name, rows in grown.items()
        if name in taken and rows != len(own[name])
    ]
    for title, names in (("other shape, so fresh", others), ("not in it, so fresh", fresh), ("not used", unused)):
        lines += [f"{title}: {_short(names)}"] if names else []
    return lines


def _first_groups(name: str, value: Tensor, own: Mapping[str, Tensor]) -> Tensor:
    """Query groups that both have; those that only `own` has keep what they are."""
    if not name.startswith(GROUPED) or name not in own or own[name].shape[1:] != value.shape[1:]:
        return value
    merged = own[name].clone()
    common = min(len(merged), len(value))
    merged[:common] = value[:common]
    return merged


def _backbone_name(name: str) -> str:
    for theirs, ours in _RESNET_STEM.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _kinds(space: LabelSpace) -> list[tuple[str, bool]]:
    return [(c.name, c.is_thing) for c in space.classes]


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _short(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
