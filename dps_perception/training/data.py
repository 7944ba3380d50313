"""Batches for training and validation from a DVPS folder."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.dvps import DvpsFolder
from ..data.transforms import NO_AUGMENTATION, Augmentation, augment
from ..labels import LabelSpace
from ..models.config import EfficientDPSConfig
from ..types import Sample
from .config import DataSettings
from .targets import Targets, make_targets


@dataclass
class Batch:
    """`images` (B, H, W, 3) uint8 and one `Targets` each."""

    images: Tensor
    targets: list[Targets]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device (Lightning calls this)."""
        return Batch(self.images.to(device, non_blocking=True), [t.to(device) for t in self.targets])


class TrainingViews(Dataset):
    """Augmented views with targets; view i of epoch e is the same in every run with the same seed."""

    def __init__(
        self,
        folder: DvpsFolder,
        settings: DataSettings,
        label_space: LabelSpace,
        model: EfficientDPSConfig,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.folder, self.settings, self.label_space, self.model = folder, settings, label_space, model
        self.augmentation, self.seed, self.epoch = augmentation, seed, 0

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: int) -> tuple[Tensor, Targets]:
        random = np.random.default_rng([self.seed, self.epoch, index])
        size, ratio = self.settings.input_size, self.settings.focal_ratio
        view = augment(self.folder[index], size, ratio, self.augmentation, random)
        targets = make_targets(
            view,
            self.label_space,
            self.settings.min_area_px,
            self.model.num_queries,
            self.model.max_depth_m,
            self.settings.depth_stride,
        )
        return torch.from_numpy(view.image), targets


class ValidationViews(Dataset):
    """Samples fitted to the input size, depth as the training camera would see it."""

    def __init__(self, folder: DvpsFolder, settings: DataSettings) -> None:
        self.folder, self.settings = folder, settings

    def __len__(self) -> int:
        return min(len(self.folder), self.settings.val_limit or len(self.folder))

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng(0)
        sample = self.folder[index]
        return augment(sample, self.settings.input_size, self.settings.focal_ratio, NO_AUGMENTATION, random)


class FolderData(LightningDataModule):
    """Training and validation splits of one DVPS folder.

    Raises:
        DatasetError: a split is missing or empty (at once, not after the first epoch).
    """

    def __init__(
        self, settings: DataSettings, label_space: LabelSpace, model: EfficientDPSConfig, batch_size: int, seed: int
    ) -> None:
        super().__init__()
        self.settings, self.batch_size, self.seed = settings, batch_size, seed
        train, validation = (DvpsFolder(settings.root, s) for s in (settings.train_split, settings.val_split))
        self.train_views = TrainingViews(train, settings, label_space, model, settings.augmentation, seed)
        self.validation_views = ValidationViews(validation, settings)

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches; reloaded each epoch so that augmentation and order follow the epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        self.train_views.epoch = epoch
        return DataLoader(
            self.train_views,
            batch_size=self.batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=self.settings.workers,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(self.seed + epoch),
        )

    def val_dataloader(self) -> DataLoader:
        """One sample at a time."""
        return DataLoader(self.validation_views, batch_size=None, num_workers=min(1, self.settings.workers))

    def transfer_batch_to_device(
        self, batch: Batch | Sample, device: torch.device, dataloader_idx: int
    ) -> Batch | Sample:
        """Training batches move to the device; validation samples stay NumPy."""
        return batch.to(device) if isinstance(batch, Batch) else batch


def collate(views: list[tuple[Tensor, Targets]]) -> Batch:
    """Stack views; targets keep their own lengths."""
    return Batch(torch.stack([image for image, _ in views]), [targets for _, targets in views])
