"""Checkpoints that a full disk can't spoil, and turning a trained network into a weights file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..errors import TrainingError
from ..evaluation import Scores
from ..files import replacing
from ..models.network import Network
from ..models.weights import ModelInfo, save_weights
from .failures import LAST, last_good
from .lineage import Lineage


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the old one and renames it, so that the last good one stays whatever happens."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write it.

        Raises:
            TrainingError: it could not be written; the old one is still there.
        """
        try:
            with replacing(path) as beside:
                torch.save(checkpoint, beside)
        except (OSError, RuntimeError) as error:  # torch.save gives a full disk as a RuntimeError
            reason = str(error).splitlines()[0]
            raise TrainingError(f"can't write {path} ({reason}); {last_good(Path(path).parent)}") from error


class CheckpointEvery(Checkpoint):
    """Writes `last.ckpt` every so many steps and after the last one."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.path, self.steps, self._written = folder / LAST, steps, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What a resumed run starts with is written already."""
        self._written = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write where this batch was the last of a step that is due."""
        step = trainer.global_step
        if step != self._written and (step % self.steps == 0 or step == trainer.max_steps):
            trainer.save_checkpoint(self.path, weights_only=False)  # with optimiser and schedule
            self._written = step


def write_weights(path: Path, network: Network, lineage: Lineage, steps: int, scores: Scores | None) -> str:
    """Write the inference weights of a run; return their SHA-256."""
    config, data = lineage.config, lineage.config.data
    measured = {}
    if scores is not None:
        measured = {"val_pq": float(scores.pq)}
        if network.config.has_depth:
            measured |= {"val_dpq": float(scores.dpq), "val_abs_rel": float(scores.abs_rel)}
    info = ModelInfo(
        model_id=config.run.model_id or config.model.preset,
        preset=config.model.preset,
        config=network.config,
        label_space=lineage.label_space,
        input_size=(data.input_size[0], data.input_size[1]),
        focal_px=data.focal_px,
        min_depth_m=data.min_depth_m,
        max_depth_m=network.config.max_depth_m,
        training=lineage.training(steps),
        scores={name: value for name, value in measured.items() if math.isfinite(value)},  # NaN: nothing to score
    )
    return save_weights(path, network, info)


def write_scores(path: Path, scores: Scores, steps: int) -> None:
    """All validation scores of the written weights, as JSON."""
    with replacing(path) as beside:
        beside.write_text(json.dumps({"steps": steps, "scores": scores.to_dict()}, indent=1, allow_nan=False))
