"""`dps_train`: one YAML (and command-line overrides) in, checkpoints, logs and a weights file out."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields

from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser

from .. import cli
from ..data.check import check_dataset
from ..errors import ConfigError, nearest
from ..models.config import SIZE_MULTIPLE
from .config import PRECISIONS, TrainConfig
from .data import open_splits
from .fit import say, train
from .module import OPTIMIZERS
from .objectives import OBJECTIVES

__all__ = ["build_parser", "command", "main", "parse", "train"]

_LOSSES = [
    f"{objective.losses}.{field.name}"
    for objective in OBJECTIVES.values()
    for field in fields(getattr(TrainConfig(), objective.losses))
]
_LIMITS: tuple[tuple[tuple[str, ...], str, Callable[[float], bool]], ...] = (
    (
        (
            "optimizer.steps",
            "optimizer.batch_size",
            "optimizer.accumulate",
            "optimizer.learning_rate",
            "run.validate_every",
            "data.focal_px",
        ),
        "positive",
        lambda x: 0 < x < math.inf,
    ),
    (
        (
            "data.val_limit",
            "data.min_area_px",
            "data.min_depth_m",
            "data.workers",
            "optimizer.weight_decay",
            "optimizer.warmup_steps",
            "optimizer.schedule_steps",
            "optimizer.clip_norm",
            "run.pictures",
            *_LOSSES,
        ),
        "0 or more",
        lambda x: 0 <= x < math.inf,
    ),
    (("loss.balance", "optimizer.milestones"), "within 0..1", lambda x: 0 <= x <= 1),
    (("run.ema_decay",), "in 0..1, 1 excluded", lambda x: 0 <= x < 1),
    (("run.seed",), "within 0..4294967295", lambda x: 0 <= x < 2**32),
)
"""Settings, what they may be, and whether a number is that."""


def build_parser() -> ArgumentParser:
    """Every field of `TrainConfig` as an option, its docstring as help."""
    parser = ArgumentParser(
        prog="dps_train",
        description="Train a depth-aware panoptic network; the last line names the weights file that dps_node loads.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="YAML file; later options override it")
    parser.add_argument(
        "--check-data",
        action="store_true",
        help="train nothing: open every file of both splits and print what is in them; status 1 where files are bad",
    )
    parser.add_argument("--init-from", metavar="WHAT", help="short for --model.init_from")
    for name, settings in vars(TrainConfig()).items():
        parser.add_class_arguments(type(settings), name)
    return parser


def parse(argv: Sequence[str] | None) -> TrainConfig:
    """The run's config.

    Raises:
        ConfigError: an unknown or ill-typed setting, named with the nearest valid one.
    """
    return _parse(argv)[0]


def check_data(config: TrainConfig) -> bool:
    """Open every file of both splits and print what is in them; whether all of them are good."""
    good = True
    for dataset, split in zip(open_splits(config), (config.data.train_split, config.data.val_split), strict=True):
        summary = check_dataset(dataset)
        print(f"{config.data.root}, {split}\n{summary.table()}\n", flush=True)
        good = good and not summary.faults
    return good


def _parse(argv: Sequence[str] | None) -> tuple[TrainConfig, bool]:
    """The config, and whether the data is only to be checked."""
    parser = build_parser()
    try:
        namespace = parser.parse_args(None if argv is None else list(argv))
        only_check = bool(namespace.check_data)
        init_from = namespace.init_from
        del namespace.config, namespace.check_data, namespace.init_from
        config = TrainConfig(**parser.instantiate(namespace))
    except (ArgumentError, TypeError, ValueError) as error:
        raise ConfigError(_explain(str(error), parser)) from error
    if init_from is not None:
        config.model.init_from = init_from
    _check(config)
    return config, only_check


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
    if config.optimizer.name not in OPTIMIZERS:
        name, valid = config.optimizer.name, ", ".join(OPTIMIZERS)
        raise ConfigError(f"optimizer.name '{name}' is not one of {valid}{nearest(name, OPTIMIZERS)}")
    if config.run.precision not in PRECISIONS:
        raise ConfigError(f"run.precision '{config.run.precision}' is not one of {', '.join(PRECISIONS)}")
    if config.data.depth_stride not in (1, 4):
        raise ConfigError(f"data.depth_stride {config.data.depth_stride} is not one of 1, 4")
    if 0 < config.optimizer.schedule_steps < config.optimizer.steps:
        raise ConfigError(
            f"optimizer.schedule_steps {config.optimizer.schedule_steps} is less than steps {config.optimizer.steps}; "
            "give at least as many, or 0"
        )
    for names, allowed, fits in _LIMITS:
        for name in names:
            group, _, key = name.partition(".")
            value = getattr(getattr(config, group), key)
            if not all(map(fits, value if isinstance(value, tuple) else [value])):
                raise ConfigError(f"{name} is {value}; it must be {allowed}")


def command(argv: Sequence[str] | None) -> None:
    """Parse, train, name the result; or check the data."""
    config, only_check = _parse(argv)
    if not only_check:
        say(f"weights: {train(config)}")
    elif not check_data(config):
        raise SystemExit(1)


def main() -> int:
    """Console entry point."""
    return cli.run(command)


if __name__ == "__main__":
    sys.exit(main())
