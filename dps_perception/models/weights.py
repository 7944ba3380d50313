"""Weights files: one `.safetensors` with everything needed to run it in its metadata. Nothing is ever unpickled."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import ConfigError, ModelLoadError, nearest
from ..files import replacing, sha256_of
from ..labels import LabelSpace
from .config import NetworkConfig
from .families import FAMILIES, build
from .model_files import check_model_file, check_tensor_list, metadata_from_json
from .network import Network

FORMAT = 1
METADATA_KEY = "dps_perception"
DEFAULT_FAMILY = "efficientdps"
MAX_INPUT_SIDE_PX = 8192


@dataclass(frozen=True)
class ModelInfo:
    """What a weights file says about itself.

    Attributes:
        model_id: preset and training data, for people.
        preset, config: how the network is built.
        label_space: the classes it predicts.
        input_size: (height, width) it was trained for.
        focal_px: focal length of the canonical camera, pixels of the network's input; see `depth_scale`.
        min_depth_m, max_depth_m: depth range it was trained for, metres.
        training: data, schedule and software that made it.
        scores: measured after training.
        weights_sha256: hash of the file ("" before it is written).
    """

    model_id: str
    preset: str
    config: NetworkConfig
    label_space: LabelSpace
    input_size: tuple[int, int]
    focal_px: float
    min_depth_m: float
    max_depth_m: float
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    weights_sha256: str = ""

    @property
    def family(self) -> str:
        """Name of the family of networks."""
        return self.config.family

    def depth_scale(self, focal_px: float) -> float:
        """Factor from the network's depth to metres for a camera with `focal_px` at the network's input.

        A network learns depth as one canonical camera would see it (the paper's rule: an image scaled by s shows
        depth / s), so depth grows with the ratio of the focal lengths in pixels, whatever the input size.
        """
        return focal_px / self.focal_px


def default_weights(family: str = DEFAULT_FAMILY) -> Path:
    """The weights of a family that are shipped with the package."""
    return Path(str(resources.files("dps_perception"))) / "weights" / f"{family}_r18_street.safetensors"


def shipped_weights() -> list[str]:
    """Names of the weights files shipped with the package."""
    return sorted(path.stem for path in default_weights().parent.glob("*.safetensors"))


def find_weights(name: str | Path) -> Path:
    """A path, the name of shipped weights or of a family, or "" for the default ones -> an existing file.

    Raises:
        ModelLoadError: there is no such file (shipped names are listed), or it is none that may be read.
    """
    if str(name) == "":
        path = default_weights()
    else:
        try:
            path = Path(name).expanduser()
            if path.name == str(name) and not path.suffix and not path.is_file():
                shipped = (
                    default_weights(path.name) if path.name in FAMILIES else default_weights().with_name(path.name)
                )
                path = shipped.with_suffix(".safetensors")
        except (OSError, RuntimeError) as error:  # a name too long, no such user
            raise ModelLoadError(f"weights '{str(name)[:100]}' can't be looked for: {str(error)[:100]}") from error
    if not path.exists():
        names = shipped_weights()
        raise ModelLoadError(
            f"no weights file '{path}'{nearest(str(name), names)} Give a .safetensors file that dps_train wrote, "
            f"one of the shipped ({', '.join(names) or 'none'}), or a family ({', '.join(FAMILIES)})"
        )
    check_model_file(path)
    return path


def save_weights(path: Path | str, network: Network, info: ModelInfo, dtype: torch.dtype = torch.float16) -> str:
    """Write what inference needs of a network that `info.config` builds; return the file's SHA-256.

    Raises:
        ConfigError: label space and network disagree about the classes.
    """
    config = info.config.for_inference()
    if not config.fits(info.label_space):
        raise ConfigError(_misfit(info))
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in network.inference_state().items()
    }
    metadata = metadata_of(replace(info, config=config))
    with replacing(path) as beside:
        beside.write_bytes(save(tensors, {METADATA_KEY: json.dumps(metadata)}))  # save_file would make it private
        return sha256_of(beside)


def metadata_of(info: ModelInfo) -> dict[str, Any]:
    """What a file made of these weights says about them, ready for JSON; `info_of` reads it back."""
    return {
        "format": FORMAT,
        "model_id": info.model_id,
        "family": info.family,
        "preset": info.preset,
        "config": info.config.to_dict(),
        "label_space": info.label_space.to_dict(),
        "input_size": list(info.input_size),
        "focal_px": info.focal_px,
        "min_depth_m": info.min_depth_m,
        "max_depth_m": info.max_depth_m,
        "training": info.training,
        "scores": info.scores,
    }


def read_info(path: Path | str) -> ModelInfo:
    """What a weights file says about itself, without reading its tensors.

    Raises:
        ModelLoadError: missing, truncated, not ours, another family, or tensors that don't fit its own config.
    """
    path = Path(path)
    with _opened(path) as file:
        info, _ = _checked(path, file)
    return replace(info, weights_sha256=sha256_of(path))


def load_weights(path: Path | str) -> tuple[Network, ModelInfo]:
    """Read a weights file into a float32 network in evaluation mode.

    Raises:
        ModelLoadError: missing, truncated, not ours, another family, or tensors that don't fit its own config.
    """
    path = Path(path)
    with _opened(path) as file:
        info, network = _checked(path, file)
        expected = network.state_dict()
        tensors = {name: file.get_tensor(name) for name in expected}
    network.to_empty(device="cpu")
    network.load_state_dict({k: v.to(expected[k].dtype) for k, v in tensors.items()})
    network.reset_constants()
    return network.eval(), replace(info, weights_sha256=sha256_of(path))


def _checked(path: Path, file: Any) -> tuple[ModelInfo, Network]:
    """What an open file says, and its network without memory, compared with the tensors that the file lists."""
    info = _info(path, file.metadata() or {})
    with torch.device("meta"):
        network = build(info.config)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    problems = [f"lacks {k}" for k in expected if k not in shapes]
    problems += [f"has unknown {k[:60]}" for k in shapes if k not in expected]
    problems += [
        f"{k} is {shapes[k]}, expected {shape}" for k, shape in expected.items() if k in shapes and shapes[k] != shape
    ]
    if problems:
        raise ModelLoadError(
            f"{path} does not fit its own config: {'; '.join(problems[:3])} ({len(problems)} in all). Train it again"
        )
    return info, network


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file, open for reading; nothing of its tensors is read by that."""
    check_model_file(path, (".safetensors",))
    check_tensor_list(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(
            f"{path} is not a whole safetensors file ({error}); it may be truncated: copy or download it again"
        ) from error


def _info(path: Path, metadata: Mapping[str, str]) -> ModelInfo:
    if METADATA_KEY not in metadata:
        raise ModelLoadError(f"{path} has no '{METADATA_KEY}' metadata: it was not written by dps_train")
    return info_of(path, metadata_from_json(path, metadata[METADATA_KEY]))


def info_of(path: Path, data: Mapping[str, Any]) -> ModelInfo:
    """The `ModelInfo` that `metadata_of` wrote into a file; `path` is for messages.

    Raises:
        ModelLoadError: damaged, of another family, or of a newer format.
    """
    try:
        if data["format"] != FORMAT:
            raise ModelLoadError(
                f"{path} has format {data['format']}, this version reads {FORMAT}: update dps_perception"
            )
        if data["family"] not in FAMILIES:
            raise ModelLoadError(f"{path} is of family '{data['family']}'; this version knows {', '.join(FAMILIES)}")
        info = ModelInfo(
            model_id=str(data["model_id"]),
            preset=str(data["preset"]),
            config=FAMILIES[data["family"]].config.from_dict(data["config"]),
            label_space=LabelSpace.from_dict(data["label_space"]),
            input_size=(int(data["input_size"][0]), int(data["input_size"][1])),
            focal_px=float(data["focal_px"]),
            min_depth_m=float(data["min_depth_m"]),
            max_depth_m=float(data["max_depth_m"]),
            training=dict(data["training"]),
            scores=dict(data["scores"]),
        )
        _check_numbers(info)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, ConfigError) as error:
        raise ModelLoadError(f"{path} has damaged metadata: {error}") from error
    if not info.config.fits(info.label_space):
        raise ModelLoadError(f"{path}: {_misfit(info)}")
    return info


def _misfit(info: ModelInfo) -> str:
    space, config = info.label_space, info.config
    return (
        f"label space '{space.name}' has {len(space)} classes, {sum(space.is_thing)} of them things, and the network "
        f"is built for others ({config.num_classes} classes)"
    )


def _check_numbers(info: ModelInfo) -> None:
    """Refuse sizes and distances that would take all memory, or put all points at nothing."""
    if not all(0 < side <= MAX_INPUT_SIDE_PX for side in info.input_size):
        raise ValueError(f"input_size {info.input_size}, each side must be 1 to {MAX_INPUT_SIDE_PX}")
    distances = info.focal_px, info.min_depth_m, info.max_depth_m
    if not (all(map(math.isfinite, distances)) and info.focal_px > 0 and 0 <= info.min_depth_m < info.max_depth_m):
        raise ValueError(
            f"focal_px {info.focal_px}, depth {info.min_depth_m} to {info.max_depth_m} m; all must be finite, the "
            "focal length positive, the depths in order"
        )
