"""`dps_train`: one YAML (and command-line overrides) in, checkpoints, logs and a weights file out."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import yaml
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger

from .. import cli
from ..errors import ConfigError, nearest
from ..files import replacing
from ..labels import LABEL_SPACES, LabelSpace
from ..models.config import preset
from ..models.efficientdps import SIZE_MULTIPLE, EfficientDPS
from .checkpoint import initialise, newest_checkpoint, write_weights
from .config import TrainConfig
from .data import FolderData
from .module import TrainingModule


def build_parser() -> ArgumentParser:
    """Every field of `TrainConfig` as an option, its docstring as help."""
    parser = ArgumentParser(
        prog="dps_train",
        description="Train a depth-aware panoptic network; the last line names the weights file that dps_node loads.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file; later options override it")
    for name, settings in vars(TrainConfig()).items():
        parser.add_class_arguments(type(settings), name)
    return parser


def parse(argv: Sequence[str] | None) -> TrainConfig:
    """The run's config.

    Raises:
        ConfigError: an unknown or ill-typed setting, named with the nearest valid one.
    """
    parser = build_parser()
    try:
        namespace = parser.parse_args(None if argv is None else list(argv))
        del namespace.config
        config = TrainConfig(**parser.instantiate(namespace))
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(_explain(str(error), parser)) from error
    _check(config)
    return config


def train(config: TrainConfig) -> Path:
    """Run the training; return the weights file."""
    seed_everything(config.run.seed, workers=True)
    label_space = _label_space(config.model.label_space)
    network = EfficientDPS(preset(config.model.preset, num_classes=len(label_space), **config.model.changes))
    if config.model.init_from:
        print(initialise(network, config.model.init_from))
    network.freeze(config.model.freeze)
    checkpoint = newest_checkpoint(config.run.resume, config.output)
    data = FolderData(config.data, label_space, network.config, config.optimizer.batch_size, config.run.seed)
    if len(data.train_views) < config.optimizer.batch_size:
        raise ConfigError(
            f"batch_size {config.optimizer.batch_size} is more than the {len(data.train_views)} images in "
            f"{data.train_views.folder.folder}"
        )
    module = TrainingModule(network, label_space, config)
    config.output.mkdir(parents=True, exist_ok=True)
    with replacing(config.output / "config.yaml") as path:
        path.write_text(yaml.safe_dump(_plain(config), sort_keys=False))

    trainer = Trainer(
        accelerator=config.run.accelerator,
        devices=config.run.devices,
        num_nodes=config.run.num_nodes,
        precision=config.run.precision,  # type: ignore[arg-type]
        max_steps=config.optimizer.steps,
        max_epochs=-1,
        gradient_clip_val=config.optimizer.clip_norm or None,
        reload_dataloaders_every_n_epochs=1,
        val_check_interval=config.run.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(10, config.optimizer.steps),
        logger=CSVLogger(config.output, name="log", version=""),
        callbacks=[
            ModelCheckpoint(dirpath=config.output, filename="last", every_n_train_steps=config.run.validate_every,
                            enable_version_counter=False, save_on_train_epoch_end=False),
            LearningRateMonitor("step"),
            TQDMProgressBar(refresh_rate=20),
        ],
    )  # fmt: skip
    trainer.fit(module.to(memory_format=torch.channels_last), data, ckpt_path=checkpoint, weights_only=True)
    trainer.validate(module, data, verbose=False)
    weights = config.output / f"{config.run.model_id or config.model.preset}.safetensors"
    if trainer.is_global_zero:
        write_weights(weights, network, label_space, config, trainer.global_step, module.last_scores)
        if module.last_scores is not None:
            print(module.last_scores.table())
    return weights


def _explain(message: str, parser: ArgumentParser) -> str:
    """One line of jsonargparse's message, with the nearest valid name for an unknown key."""
    text = " ".join(message.split())
    in_group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", text)
    unknown = in_group or re.search(r"[Kk]ey '([\w.]+)' is not expected|[Uu]nrecognized arguments: --([\w.]+)", text)
    if unknown:
        name = ".".join(part for part in unknown.groups() if part)
        valid = [a.dest for a in parser._actions if a.dest != "help"]
        return f"unknown setting '{name}'{nearest(name, valid)} See dps_train --help"
    return text


def _check(config: TrainConfig) -> None:
    """Values whose combination only makes sense within limits."""
    if any(n <= 0 or n % SIZE_MULTIPLE for n in config.data.input_size):
        raise ConfigError(f"data.input_size {config.data.input_size}: both must be multiples of {SIZE_MULTIPLE}")
    if config.optimizer.schedule not in ("step", "poly"):
        raise ConfigError(f"optimizer.schedule '{config.optimizer.schedule}' is not one of step, poly")
    if config.data.depth_stride not in (1, 4):
        raise ConfigError(f"data.depth_stride {config.data.depth_stride} is not one of 1, 4")
    for name in ("steps", "batch_size", "learning_rate"):
        if getattr(config.optimizer, name) <= 0:
            raise ConfigError(f"optimizer.{name} is {getattr(config.optimizer, name)}; it must be positive")


def _label_space(name: str) -> LabelSpace:
    if name not in LABEL_SPACES:
        raise ConfigError(f"label space '{name}' is not one of {', '.join(LABEL_SPACES)}{nearest(name, LABEL_SPACES)}")
    return LABEL_SPACES[name]


def _plain(config: TrainConfig) -> dict:
    """The config as YAML can write it (tuples as lists)."""
    plain = json.loads(json.dumps(asdict(config)))
    assert isinstance(plain, dict)
    return plain


def command(argv: Sequence[str] | None) -> None:
    """Parse, train, name the result."""
    print(f"weights: {train(parse(argv))}")


def main() -> int:
    """Console entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())
