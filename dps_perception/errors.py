"""Exceptions for what a user can get wrong; each message names the thing, the value seen and the cure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DpsError(Exception):
    """Base of all errors caused by input, files or configuration; commands print it without a traceback."""


class ConfigError(DpsError):
    """A configuration key or value is not valid."""


class ModelLoadError(DpsError):
    """A weights file is missing, damaged, or belongs to another family or label space."""


class BackendError(DpsError):
    """A runtime is missing, too old or out of memory, or could not build what it runs."""


class CameraInfoError(DpsError):
    """A camera calibration is unusable (zero focal length, wrong size, ...)."""


class ImageError(DpsError):
    """An image or image message can't be decoded."""


class DatasetError(DpsError):
    """A dataset folder or bag lacks something or holds something unexpected."""


class TrainingError(DpsError):
    """Training can't go on: a loss that is not finite, memory or disk used up, a loader that died."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ", did you mean 'x'?" for the closest valid name, or "" where nothing is close."""
    close = difflib.get_close_matches(name, list(valid), n=1)
    return f", did you mean '{close[0]}'?" if close else ""
