"""The stages that led to a network: each one's config, data and length."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from .. import __version__
from ..labels import LabelSpace
from .config import TrainConfig

KEY = "dps_perception"
_OWN_NAME = ("dvps", "bag")  # formats whose folder names the data; the others are datasets with a name
_PATHS = ("model.init_from", "model.backbone_weights", "data.root", "run.output", "run.resume")


@dataclass
class Lineage:
    """What a checkpoint or weights file says about its making.

    Attributes:
        config: of this run.
        label_space: of its data.
        earlier: the stages before it, first one first.
        processes: that train together.
    """

    config: TrainConfig
    label_space: LabelSpace
    earlier: list[dict[str, Any]] = field(default_factory=list)
    processes: int = 1

    def stage(self, steps: int) -> dict[str, Any]:
        """This run after so many steps."""
        optimizer, data = self.config.optimizer, self.config.data
        return {
            "dataset": Path(data.root).name if data.format in _OWN_NAME else data.format,
            "steps": steps,
            "images_seen": steps * optimizer.batch_size * optimizer.accumulate * self.processes,
            "config": plain(self.config),
            "software": {
                "dps_perception": __version__,
                "torch": str(torch.__version__),
                "python": platform.python_version(),
            },
        }

    def to_dict(self, steps: int) -> dict[str, Any]:
        """For a checkpoint."""
        return {"label_space": self.label_space.to_dict(), "stages": [*self.earlier, self.stage(steps)]}

    def training(self, steps: int) -> dict[str, Any]:
        """For a weights file, which is handed on: this stage and those before it, of folders only the names."""
        earlier = [without_folders(stage) for stage in self.earlier]
        return {**without_folders(self.stage(steps)), "earlier_stages": earlier}

    def resume(self, checkpoint: Mapping[str, Any]) -> None:
        """Take over the earlier stages of the run that goes on."""
        if KEY in checkpoint:
            self.earlier = list(checkpoint[KEY]["stages"][:-1])


def stages_of_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """All stages of a checkpoint; of one that doesn't know them, the config beside it."""
    if KEY in checkpoint:
        return list(checkpoint[KEY]["stages"])
    stage: dict[str, Any] = {"steps": int(checkpoint.get("global_step", 0))}
    beside = path.with_name("config.yaml")
    if beside.is_file():
        stage["config"] = yaml.safe_load(beside.read_text())
    return [stage]


def stages_of_weights(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All stages of a weights file's `training`."""
    this = {key: value for key, value in training.items() if key != "earlier_stages"}
    return [*training.get("earlier_stages", []), this]


def without_folders(stage: Mapping[str, Any]) -> dict[str, Any]:
    """A stage with the last part alone of the absolute paths in its config."""
    config = {
        room: {
            name: Path(value).name if f"{room}.{name}" in _PATHS and Path(value).is_absolute() else value
            for name, value in settings.items()
        }
        if isinstance(settings, Mapping)
        else settings
        for room, settings in stage.get("config", {}).items()
    }
    return {**stage, "config": config} if config else dict(stage)


def plain(config: TrainConfig) -> dict[str, Any]:
    """The config as YAML and JSON can write it (tuples as lists)."""
    result = json.loads(json.dumps(asdict(config)))
    assert isinstance(result, dict)
    return result
