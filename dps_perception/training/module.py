"""The Lightning module: network, objective, optimiser and validation by PQ and DPQ."""

from __future__ import annotations

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from ..evaluation import Evaluator, Scores
from ..labels import LabelSpace
from ..models.efficientdps import STRIDE, EfficientDPS
from ..models.fusion import OutputGrid, fuse
from ..types import Sample
from .config import OptimizerSettings, TrainConfig
from .criterion import Criterion
from .data import Batch


class TrainingModule(LightningModule):
    """Trains `network` by `config`; logs each loss term and, after validation, PQ, DPQ and abs rel."""

    def __init__(self, network: EfficientDPS, label_space: LabelSpace, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.label_space, self.settings = network, label_space, config
        self.criterion = Criterion(network.config, config.loss)
        self.evaluator = self._new_evaluator()
        self.last_scores: Scores | None = None

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """One objective value; the terms go to the log."""
        terms = self.criterion(self.network(batch.images), batch.targets)
        total = torch.stack(list(terms.values())).sum()
        self.log_dict({f"loss/{name}": value.detach() for name, value in terms.items()})
        self.log("loss", total.detach(), prog_bar=True)
        return total

    def on_validation_epoch_start(self) -> None:
        """Start the sums anew."""
        self.evaluator = self._new_evaluator()

    def validation_step(self, sample: Sample, _: int) -> None:
        """Fuse one sample at the input size and add it to the sums."""
        outputs = self.network(torch.from_numpy(sample.image)[None].to(self.device))
        height, width = sample.image.shape[:2]
        prediction = fuse(
            outputs,
            self.label_space,
            self.settings.thresholds,
            OutputGrid(height, width, 1.0, 1.0),
            STRIDE,
            self.network.config.max_depth_m,
        )
        assert sample.panoptic is not None, "augment() refuses samples without labels"
        self.evaluator.update(prediction.panoptic, prediction.depth_m, sample.panoptic, sample.depth_m)

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
        self.last_scores = scores
        values = {"pq": scores.pq, "pq_things": scores.pq_things, "pq_stuff": scores.pq_stuff}
        if self.network.config.depth:
            values |= {"dpq": scores.dpq, "abs_rel": scores.abs_rel}
        self.log_dict({f"val/{k}": float(v) for k, v in values.items()}, prog_bar=True, rank_zero_only=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW without decay on biases and norms, stepped every batch."""
        settings = self.settings.optimizer
        learning = [p for p in self.network.parameters() if p.requires_grad]
        decayed, plain = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        optimizer = AdamW(groups, lr=settings.learning_rate)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _new_evaluator(self) -> Evaluator:
        return Evaluator(self.label_space, max_depth_m=self.network.config.max_depth_m)


def learning_rate_factor(step: int, settings: OptimizerSettings) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then "step" or "poly"."""
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule == "poly":
        return max(0.0, 1 - step / settings.steps) ** 0.9
    return 0.1 ** sum(step >= share * settings.steps for share in settings.milestones)
