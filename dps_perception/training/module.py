"""The Lightning module: network, objective, optimiser and validation by PQ and DPQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..evaluation import Evaluator, Scores
from ..labels import VOID_PANOPTIC_ID
from ..models.families import family_of
from ..models.layers import full_precision
from ..models.network import Network
from ..types import OutputGrid
from .config import OptimizerSettings, TrainConfig
from .data import Batch, ValidationItem, ValidationViews
from .failures import require_finite
from .lineage import Lineage
from .objectives import losses_of, objective_of
from .pictures import Gallery
from .speed import StepClock

OPTIMIZERS: dict[str, Callable[[Any, float], Optimizer]] = {
    "adamw": lambda groups, rate: AdamW(groups, lr=rate),
    "adam": lambda groups, rate: Adam(groups, lr=rate),
    "sgd": lambda groups, rate: SGD(groups, lr=rate, momentum=0.9),
}


class TrainingModule(LightningModule):
    """Trains `network` by `config`; logs each loss term and, after validation, PQ, DPQ and abs rel.

    Args:
        network: what learns.
        lineage: label space of the data, and the stages that go into checkpoints.
        config: the whole run.
    """

    def __init__(self, network: Network, lineage: Lineage, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.lineage, self.settings = network, lineage, config
        self.label_space = lineage.label_space
        self.clock = StepClock()
        self.criterion = objective_of(network.config).criterion(network.config, losses_of(config, network.config))
        self.criterion.lap = self.clock.lap
        self.evaluator = self._new_evaluator()
        self.gallery: Gallery | None = None
        self.last_scores: Scores | None = None
        self.scored_step = -1
        self._last: tuple[Batch, dict[str, Tensor]]

    def on_train_start(self) -> None:
        """The clock starts with the first batch."""
        self.clock.start()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Everything random in a step depends on the seed, the batch and the process alone, so a run can be resumed."""
        self.clock.lap("data")
        state = np.random.SeedSequence([self.settings.run.seed, batch_idx, self.global_rank]).generate_state(1)
        torch.manual_seed(int(state[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One objective value; the terms go to the log."""
        outputs = self.network(batch.images)
        self.clock.lap("forward")
        terms = self.criterion(outputs, batch.targets)
        total = torch.stack(list(terms.values())).sum()
        self._require_finite("loss", total, terms, batch)
        self._last = (batch, {name: value.detach() for name, value in terms.items()})
        self.clock.lap("losses")
        self.log_dict({f"loss/{name}": value.detach() for name, value in terms.items()})
        self.log("loss", total.detach(), prog_bar=True)
        return total

    def on_after_backward(self) -> None:
        """The gradients are there."""
        self.clock.lap("backward")

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """A step along a gradient that is not finite would spoil the weights, and with them the next checkpoint."""
        batch, terms = self._last
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        self._require_finite("norm of the gradient", get_total_norm(gradients), terms, batch)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """As Lightning does it (forward and backward happen inside, and take their own time)."""
        super().optimizer_step(*args, **kwargs)
        self.clock.lap("optimiser")

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Log the speed since the last log."""
        self.clock.images += len(batch.images)
        if (batch_idx + 1) % (log_every(self.settings.optimizer) * self.settings.optimizer.accumulate) == 0:
            shares = {f"speed/{name}": value for name, value in self.clock.window().items()}
            self.log_dict(shares, rank_zero_only=True)
        self.clock.lap("other")

    def on_validation_epoch_start(self) -> None:
        """Start the sums anew."""
        self.evaluator = self._new_evaluator()
        views = self.trainer.datamodule.validation_views  # type: ignore[attr-defined]
        assert isinstance(views, ValidationViews)
        board = next((x for x in self.trainer.loggers if isinstance(x, TensorBoardLogger)), None)
        self.gallery = Gallery(
            self.label_space,
            self.settings.output,
            len(views),
            self.settings.run.pictures,
            board if self.trainer.is_global_zero else None,
        )

    def validation_step(self, item: ValidationItem, _: int) -> None:
        """Fuse one sample at the input size and add it to the sums."""
        sample = item.sample
        outputs = self.network(torch.from_numpy(sample.image)[None].to(self.device))
        if not item.counts:
            return
        height, width = sample.image.shape[:2]
        grid = OutputGrid(height, width, 1.0, 1.0)
        config = self.network.config
        with full_precision(self.device):
            prediction = family_of(config).fuse(outputs, config, self.label_space, self.settings.thresholds, grid)
        truth = sample.panoptic
        if truth is None:  # only its depth is scored
            truth = np.full((height, width), VOID_PANOPTIC_ID, np.uint16)
        self.evaluator.update(prediction.panoptic, prediction.depth_m, truth, sample.depth_m)
        if self.gallery is not None:
            self.gallery.add(item.index, sample, prediction, self.global_step)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the images seen (every process's sums are added first)."""
        if self.trainer.world_size > 1:
            gathered: list[Evaluator | None] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, self.evaluator)
            self.evaluator = self._new_evaluator()
            for part in gathered:
                if part is not None:
                    self.evaluator.merge(part)
        scores = self.evaluator.compute()
        self.last_scores, self.scored_step = scores, self.global_step
        values = {"pq": scores.pq, "pq_things": scores.pq_things, "pq_stuff": scores.pq_stuff}
        if self.network.config.has_depth:
            values |= {"dpq": scores.dpq, "abs_rel": scores.abs_rel}
        self.log_dict({f"val/{k}": float(v) for k, v in values.items()}, prog_bar=True, rank_zero_only=True)

    def on_validation_end(self) -> None:
        """Validation is no part of a step."""
        self.clock.start()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimiser, without decay on biases and norms; its schedule is stepped every batch."""
        settings = self.settings.optimizer
        learning = [p for p in self.network.parameters() if p.requires_grad]
        decayed, plain = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = OPTIMIZERS[settings.name](groups, settings.learning_rate)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint says what its classes are and which stages led to it."""
        checkpoint["dps_perception"] = self.lineage.to_dict(self.global_step)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A resumed run keeps the stages before it."""
        self.lineage.resume(checkpoint)

    def _require_finite(self, what: str, total: Tensor, terms: dict[str, Tensor], batch: Batch) -> None:
        require_finite(what, total, terms, batch, self.global_step, self.global_rank, self.settings.output)

    def _new_evaluator(self) -> Evaluator:
        return Evaluator(self.label_space, max_depth_m=self.network.config.max_depth_m)


def log_every(settings: OptimizerSettings) -> int:
    """Steps between two rows of the logs."""
    return min(10, settings.steps)


def learning_rate_factor(step: int, settings: OptimizerSettings) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then "step" or "poly"."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    span = settings.schedule_steps or settings.steps
    if settings.schedule == "poly":
        return max(0.0, 1 - step / span) ** 0.9
    return 0.1 ** sum(step >= share * span for share in settings.milestones)
