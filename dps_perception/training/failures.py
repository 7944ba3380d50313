"""What can stop a training run, each said in one line with the cure."""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DpsError, TrainingError
from ..files import replacing
from .config import TrainConfig
from .data import Batch

_NO_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
LAST = "last.ckpt"


def require_finite(
    what: str, total: Tensor, terms: Mapping[str, Tensor], batch: Batch, step: int, rank: int, folder: Path
) -> None:
    """Stop where the objective (or its gradient: `what`) is NaN or infinite; the batch is kept beside the logs.

    Raises:
        TrainingError: naming the terms, the images and the file.
    """
    if math.isfinite(total.item()):
        return
    bad = [name for name, value in terms.items() if not math.isfinite(value.item())]
    path = folder / f"bad_batch_step{step}_rank{rank}.pt"
    try:
        with replacing(path) as beside:
            torch.save(
                {
                    "step": step,
                    "sample_ids": batch.sample_ids,
                    "terms": {name: value.item() for name, value in terms.items()},
                    "images": batch.images.cpu(),
                    "targets": [vars(t.to("cpu")) for t in batch.targets],
                },
                beside,
            )
        kept = f"the batch is kept in {path} (torch.load)"
    except (OSError, RuntimeError) as error:
        kept = f"the batch could not be kept in {path} ({error})"
    raise TrainingError(
        f"the {what} is {total.item()} in step {step} ({', '.join(bad) or 'each loss term is finite'}); images: "
        f"{', '.join(batch.sample_ids)}; {kept}. Look at their labels and depth, or lower optimizer.learning_rate "
        f"or set optimizer.clip_norm"
    )


@contextlib.contextmanager
def explained(config: TrainConfig, folder: Path) -> Iterator[None]:
    """Turn what PyTorch raises for memory, disk and loaders into one line.

    Raises:
        TrainingError: with the settings to change.
    """
    try:
        yield
    except DpsError as error:
        raise _from_worker(error) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(_out_of_memory(config)) from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise TrainingError(f"no room left on the disk ({error}); {last_good(folder)}") from error
    except RuntimeError as error:
        text = str(error)
        if any(sign in text for sign in _NO_MEMORY):
            raise TrainingError(_out_of_memory(config)) from error
        if "DataLoader worker" in text:
            raise TrainingError(
                f"a process that loads images died ({text.splitlines()[0]}); if the machine ran out of memory, lower "
                f"data.workers ({config.data.workers}) or enlarge /dev/shm; {last_good(folder)}"
            ) from error
        raise


def last_good(folder: Path) -> str:
    """Where to go on from."""
    path = folder / LAST
    if not path.is_file():
        return "there is no checkpoint yet"
    return f"the last good checkpoint {path} stays: make room and go on with --run.resume last"


def _from_worker(error: DpsError) -> DpsError:
    """The error itself where a loading process sent it with its whole traceback."""
    text = str(error)
    if "\n" not in text:
        return error
    last = text.strip().splitlines()[-1]
    return type(error)(last.split(f"{type(error).__name__}: ", 1)[-1])


def _out_of_memory(config: TrainConfig) -> str:
    height, width = config.data.input_size
    groups, points = config.model.changes.get("num_groups", "the preset's"), config.loss.points or "0, which is all"
    return (
        f"out of memory; lower optimizer.batch_size ({config.optimizer.batch_size}; raise optimizer.accumulate "
        f"({config.optimizer.accumulate}) to keep the step as large), data.input_size ({height}x{width}), channels in "
        f"model.changes, or (of EfficientDPS) num_groups in model.changes ({groups}) or loss.points ({points})"
    )
