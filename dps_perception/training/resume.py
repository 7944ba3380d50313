"""Going on from a checkpoint: which one, and whether this run's settings are those it was written with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError
from ..labels import LabelSpace
from ..models.families import preset
from .config import TrainConfig
from .failures import LAST
from .lineage import KEY, plain

_IN_CHECKPOINT = (
    "optimizer.name",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "model.freeze",
    "model.frozen_batch_norms",
)
"""Settings that the optimiser's state holds, so that a change would go unheeded, or the state would not fit."""
_BEFORE: dict[str, Any] = {"optimizer.name": "adamw", "model.frozen_batch_norms": False}
"""What runs did before there was a setting for it."""
_FREE = ("model", "run.output", "run.resume", "run.pictures", "run.accelerator", "data.workers")
"""Settings that change nothing of what is learnt, or (the model) are compared by themselves."""


def newest_checkpoint(resume: str, folder: Path) -> Path | None:
    """The checkpoint that `resume` asks for; None to start anew.

    Raises:
        ConfigError: it does not exist.
    """
    if not resume:
        return None
    path = folder / LAST if resume == "last" else Path(resume)
    if path.is_dir():
        path = path / LAST
    if not path.is_file():
        raise ConfigError(f"resume '{resume}': no checkpoint {path}; leave resume empty to start anew")
    return path


def require_same_run(path: Path, config: TrainConfig, label_space: LabelSpace) -> str:
    """Compare a run's settings with those of the checkpoint that it goes on from.

    Returns:
        What differs without harm to the checkpoint (a longer run, other data), for the terminal; "" for nothing.

    Raises:
        ConfigError: it is no checkpoint of dps_train or damaged, or a setting differs that it can't go on with.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        steps, stage = int(checkpoint["global_step"]), checkpoint[KEY]["stages"][-1]
        then, space = stage["config"], LabelSpace.from_dict(checkpoint[KEY]["label_space"])
    except Exception as error:  # torch.load has many ways to fail, by the damage
        raise ConfigError(
            f"resume: {path} is not a whole checkpoint of dps_train ({type(error).__name__}); give another, or start "
            f"anew with --run.resume '' (--init-from takes weights alone)"
        ) from error
    now = plain(config)
    wrong = _of_network(then, space, now, label_space)
    wrong += _changes(then, now, lambda name: name in _IN_CHECKPOINT)
    if bool(then["run"].get("ema_decay")) != bool(config.run.ema_decay):
        wrong += [_change("run.ema_decay", config.run.ema_decay, then["run"].get("ema_decay"))]
    if config.optimizer.steps < steps:
        wrong += [f"optimizer.steps is {config.optimizer.steps}, of which {steps} are done"]
    if wrong:
        raise ConfigError(
            f"resume: {path} can't go on with other settings: {'; '.join(wrong)}. Set them as they were, or begin "
            f"another stage with --init-from {path} and an output of its own"
        )
    free = _changes(then, now, lambda name: name not in _IN_CHECKPOINT and not name.startswith(_FREE))
    return f"resume {path} after {steps} steps" + (f", changed: {'; '.join(free)}" if free else "")


def _of_network(
    then: dict[str, Any], then_space: LabelSpace, now: dict[str, Any], label_space: LabelSpace
) -> list[str]:
    """Differences of the networks, whatever way they were asked for, and of the classes."""
    old, new = (
        preset(c["model"]["preset"], **c["model"]["changes"]).for_classes(space).to_dict()
        for c, space in ((then, then_space), (now, label_space))
    )
    wrong = [f"the network's {_change(name, new[name], old[name])}" for name in new if new[name] != old[name]]
    if then_space != label_space:
        wrong += [_change("label space", label_space.name, then_space.name)]
    return wrong


def _changes(then: dict[str, Any], now: dict[str, Any], wanted: Callable[[str], bool]) -> list[str]:
    """Differences of the settings whose dotted names are wanted."""
    old, new = _BEFORE | _flat(then), _flat(now)
    return [
        _change(name, new[name], old[name]) for name in new if wanted(name) and name in old and new[name] != old[name]
    ]


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _change(name: str, now: Any, then: Any) -> str:
    return f"{name} is {now}, was {then}"
