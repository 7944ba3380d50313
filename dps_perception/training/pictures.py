"""Example pictures of a validation: image, truth and prediction on one sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from ..errors import TrainingError
from ..evaluation.score_report import sample_pictures
from ..files import replacing
from ..labels import LabelSpace
from ..types import Prediction, Sample

FOLDER = "pictures"
_GAP, _PAPER = 4, 255


class Gallery:
    """Draws sheets of some images, as PNG files and for TensorBoard.

    Args:
        label_space: colours and names.
        folder: of the run.
        images: in the validation split.
        number: how many of them, evenly spaced.
        board: gets the sheets too; of the first process.
    """

    def __init__(
        self, label_space: LabelSpace, folder: Path, images: int, number: int, board: TensorBoardLogger | None
    ) -> None:
        self.label_space, self.folder, self.board = label_space, folder / FOLDER, board
        self._shown = set(np.linspace(0, images - 1, min(number, images)).round().astype(int).tolist())

    def add(self, index: int, sample: Sample, prediction: Prediction, step: int) -> None:
        """Draw the image if it is one of those that are shown.

        Raises:
            TrainingError: the file can't be written.
        """
        if index not in self._shown:
            return
        drawn = sheet(sample, prediction, self.label_space)
        path = self.folder / f"step_{step:07d}" / f"{sample.sample_id}.png"
        with replacing(path) as beside:
            if not cv2.imwrite(str(beside), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)):
                raise TrainingError(f"can't write {path}: is the disk full? run.pictures 0 draws none")
        if self.board is not None:
            self.board.experiment.add_image(f"val/{sample.sample_id}", drawn, step, dataformats="HWC")


def sheet(sample: Sample, prediction: Prediction, label_space: LabelSpace) -> NDArray[np.uint8]:
    """Up to two columns by three rows of pictures of one size, (H, W, 3) uint8 RGB."""
    depth = prediction.depth_m if np.isfinite(prediction.depth_m).any() else None
    pictures = sample_pictures(
        sample.sample_id, sample.image, label_space, prediction.panoptic, depth, sample.panoptic, sample.depth_m
    )
    images = [picture.image for picture in pictures.items]
    height, width = images[0].shape[:2]
    rows = -(-len(images) // 2)
    paper = np.full((rows * (height + _GAP) - _GAP, 2 * width + _GAP, 3), _PAPER, np.uint8)
    for i, image in enumerate(images):
        top, left = (i // 2) * (height + _GAP), (i % 2) * (width + _GAP)
        paper[top : top + height, left : left + width] = image
    return paper
