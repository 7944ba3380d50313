"""A training run from its config to the weights file."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
import yaml
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ..errors import ConfigError
from ..files import replacing
from ..models.families import build, preset
from ..models.network import Network
from .checkpoint import CheckpointEvery, WholeCheckpoints, write_scores, write_weights
from .config import TrainConfig
from .data import TrainingData, open_splits
from .failures import LAST, explained
from .initialise import initialise, load_backbone, read_start
from .lineage import Lineage, plain
from .memory import available_bytes, estimate
from .module import TrainingModule, log_every
from .objectives import losses_of
from .processes import plan
from .resume import newest_checkpoint, require_same_run


def train(config: TrainConfig) -> Path:
    """Run the training; return the weights file.

    Raises:
        DpsError: data, weights or settings that don't work, or a run that can't go on.
    """
    seed_everything(config.run.seed, workers=True)
    splits = open_splits(config)
    lineage = Lineage(config, splits[0].label_space)
    checkpoint = newest_checkpoint(config.run.resume, config.output)
    if checkpoint is not None:
        say(require_same_run(checkpoint, config, lineage.label_space))
    elif (config.output / LAST).exists():
        raise ConfigError(
            f"run.output '{config.output}' holds an earlier run, which would be lost; go on with it "
            "(--run.resume last), name another folder, or delete this one"
        )
    network = _build(config, lineage, fresh=checkpoint is None)
    data = TrainingData(splits, config.data, network.config, config.optimizer.batch_size, config.run.seed)
    module = TrainingModule(network, lineage, config)
    trainer = _trainer(config, network, resumed=checkpoint is not None)
    lineage.processes = trainer.world_size
    at_once = config.optimizer.batch_size * trainer.world_size
    if at_once > len(splits[0]):
        raise ConfigError(
            f"batch_size {config.optimizer.batch_size} on {trainer.world_size} processes is more than the "
            f"{len(splits[0])} images in {config.data.root}, split {config.data.train_split}"
        )
    _begin_output(config, trainer.is_global_zero)
    _say_memory(config, network, trainer)
    with explained(config, config.output), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # the scores are of all processes already
        trainer.fit(module.to(memory_format=torch.channels_last), data, ckpt_path=checkpoint, weights_only=True)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EMAWeightAveraging):
                callback.on_train_end(trainer, module)  # Lightning leaves it out where no step was left to do
        if module.scored_step != trainer.global_step:
            trainer.validate(module, data, verbose=False)
        weights = config.output / f"{config.run.model_id or config.model.preset}.safetensors"
        if trainer.is_global_zero:
            write_weights(weights, network, lineage, trainer.global_step, module.last_scores)
            if module.last_scores is not None:
                write_scores(config.output / "scores.json", module.last_scores, trainer.global_step)
                say(module.last_scores.table())
    say(module.clock.table(trainer.world_size))
    return weights


@rank_zero_only
def say(text: str) -> None:
    """Print once, however many processes there are; nothing for ""."""
    if text:
        print(text, flush=True)


def _build(config: TrainConfig, lineage: Lineage, fresh: bool) -> Network:
    """The network with what it starts from; a resumed run has all of that in its checkpoint."""
    settings = config.model
    for name in ("num_classes", "thing_classes"):
        if name in settings.changes:
            raise ConfigError(
                f"model.changes: {name} comes from label space '{lineage.label_space.name}' ("
                f"{len(lineage.label_space)} classes) and can't be changed; leave it out, or set model.label_space"
            )
    network = build(preset(settings.preset, **settings.changes).for_classes(lineage.label_space))
    if fresh and settings.backbone_weights:
        say(load_backbone(network, settings.backbone_weights))
    if fresh and settings.init_from:
        start = read_start(settings.init_from)
        say(initialise(network, start, lineage.label_space))
        lineage.earlier = start.stages
    network.freeze(settings.freeze)
    if settings.frozen_batch_norms:
        network.freeze_batch_norms()
    return network


def _begin_output(config: TrainConfig, first: bool) -> None:
    """The run's folder, with its config written by the first process."""
    try:
        config.output.mkdir(parents=True, exist_ok=True)
        if first:
            with replacing(config.output / "config.yaml") as path:
                path.write_text(yaml.safe_dump(plain(config), sort_keys=False))
    except OSError as error:
        raise ConfigError(
            f"run.output '{config.output}' can't be written ({error.strerror}); make room or name another folder"
        ) from error


def _trainer(config: TrainConfig, network: Network, resumed: bool) -> Trainer:
    run, optimizer = config.run, config.optimizer
    processes = plan(run, network)
    say(processes.remark)
    callbacks: list[Callback] = [
        CheckpointEvery(config.output, run.validate_every),
        LearningRateMonitor("step"),
        StepBar(refresh_rate=20),
    ]
    if run.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=run.ema_decay))
    try:
        return Trainer(
            accelerator=run.accelerator,
            devices=processes.devices,
            num_nodes=processes.num_nodes,
            strategy=processes.strategy,
            sync_batchnorm=processes.sync_batchnorm,
            use_distributed_sampler=False,  # `order` shares the images out
            plugins=[WholeCheckpoints()],
            precision=run.precision,  # type: ignore[arg-type]
            max_steps=optimizer.steps,
            max_epochs=-1,
            accumulate_grad_batches=optimizer.accumulate,
            gradient_clip_val=optimizer.clip_norm or None,
            val_check_interval=run.validate_every * optimizer.accumulate,  # Lightning counts batches here
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            log_every_n_steps=log_every(optimizer),
            logger=[
                CSVLogger(config.output, name="log", version=_log_name(config.output / "log", resumed)),
                TensorBoardLogger(config.output, name="tensorboard", version=""),
            ],
            callbacks=callbacks,
        )
    except (MisconfigurationException, ValueError) as error:
        asked = f"accelerator '{run.accelerator}', strategy '{run.strategy}', devices {processes.devices}"
        raise ConfigError(f"run: {asked}: {' '.join(str(error).split())}") from error


def _log_name(folder: Path, resumed: bool) -> str:
    """The CSV log's subfolder: Lightning clears a log that it opens, so a resumed run has one of its own."""
    if not resumed:
        return ""
    return f"resumed_{len(list(folder.glob('resumed_*'))) + 1}"


def _say_memory(config: TrainConfig, network: Network, trainer: Trainer) -> None:
    guess = estimate(
        network.config,
        losses_of(config, network.config),
        config.optimizer.batch_size,
        config.data.input_size,
        half="16" in config.run.precision,
        averaged=config.run.ema_decay > 0,
    )
    say(guess.table(available_bytes(trainer.strategy.root_device)))


class StepBar(TQDMProgressBar):
    """A progress bar of steps: the data has no end that it could count up to."""

    @property
    def total_train_batches(self) -> int:
        """Batches of the whole run."""
        return self.trainer.max_steps * self.trainer.accumulate_grad_batches
