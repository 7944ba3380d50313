"""The camera of images that come without a CameraInfo: a calibration file, or an assumed field of view."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from ..camera import Intrinsics
from ..errors import CameraInfoError
from .calibration import Rectifier, intrinsics_of, is_distorted
from .dvps import read_camera


def assumed_intrinsics(height: int, width: int, fov_deg: float) -> Intrinsics:
    """Of an ideal camera whose longer side covers `fov_deg`.

    Raises:
        CameraInfoError: the angle is not between 5 and 150 degrees.
    """
    if not 5 <= fov_deg <= 150:
        raise CameraInfoError(
            f"field of view {fov_deg} degrees: give 5 to 150, measured along the longer side of the image"
        )
    focal_px = max(height, width) / 2 / math.tan(math.radians(fov_deg) / 2)
    return Intrinsics(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, height, width)


class CameraFile:
    """A calibration file: Cityscapes' camera JSON, or the YAML that ROS' camera_calibration writes.

    Args:
        path: `.json`, `.yaml` or `.yml`.
        rectified: the images are undistorted already: P of the YAML counts and its distortion does not.

    Raises:
        CameraInfoError: missing, unreadable, or of another form.
    """

    def __init__(self, path: Path | str, *, rectified: bool = False) -> None:
        self.path, self._rectified = Path(path), rectified
        if not self.path.is_file():
            raise CameraInfoError(
                f"no camera file '{self.path}'; give a Cityscapes camera .json or the .yaml of camera_calibration"
            )
        if self.path.suffix not in (".json", ".yaml", ".yml"):
            raise CameraInfoError(f"camera file '{self.path}' is no .json, .yaml or .yml")
        self._info = None if self.path.suffix == ".json" else camera_info(self.path)

    def of(self, size_hw: tuple[int, int]) -> tuple[Intrinsics, Rectifier | None]:
        """Intrinsics of an image of this size, and what takes its distortion out (None where there is none).

        Raises:
            CameraInfoError, DatasetError: the calibration is unusable or for another size.
        """
        if self._info is None:
            found = read_camera(self.path, size_hw)
            if found.size_hw != size_hw:
                raise CameraInfoError(
                    f"camera file '{self.path}' is for {found.width}x{found.height} pixels, the image is "
                    f"{size_hw[1]}x{size_hw[0]}; give the calibration of images of this size"
                )
            return found, None
        if is_distorted(self._info) and not self._rectified:
            rectifier = Rectifier(self._info, size_hw)
            return rectifier.intrinsics, rectifier
        return intrinsics_of(self._info, size_hw), None


def camera_info(path: Path) -> SimpleNamespace:
    """The YAML that camera_calibration writes as an object with the fields of a CameraInfo.

    Raises:
        CameraInfoError: not YAML, or a field is missing.
    """
    try:
        data: Mapping[str, Any] = yaml.safe_load(path.read_text())
        zero = SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0)
        return SimpleNamespace(
            height=int(data["image_height"]),
            width=int(data["image_width"]),
            distortion_model=str(data.get("distortion_model", "plumb_bob")),
            d=[float(x) for x in (data.get("distortion_coefficients") or {"data": []})["data"]],
            k=_numbers(data["camera_matrix"], 9),
            p=_numbers(data.get("projection_matrix") or {"data": [0.0] * 12}, 12),
            roi=zero,
            binning_x=0,
            binning_y=0,
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CameraInfoError(
            f"camera file '{path}' is not what ROS' camera_calibration writes (image_width, image_height, "
            f"camera_matrix, distortion_model, distortion_coefficients, projection_matrix): {error!r}"
        ) from error


def _numbers(matrix: Mapping[str, Any], count: int) -> list[float]:
    values = [float(x) for x in matrix["data"]]
    if len(values) != count:
        raise ValueError(f"a matrix has {len(values)} numbers instead of {count}")
    return values
