"""Batches for training and validation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..data.datasets import Dataset, open_dataset
from ..data.transforms import NO_AUGMENTATION, Augmentation, augment
from ..errors import ConfigError, nearest
from ..labels import LABEL_SPACES
from ..models.config import NetworkConfig
from ..types import Sample
from .config import DataSettings, TrainConfig
from .objectives import objective_of
from .order import BatchOrder, Key, ValidationShare
from .targets import Targets, make_targets, require_known_classes


@dataclass
class Batch:
    """`images` (B, H, W, 3) uint8, and for each its `Targets` and sample id."""

    images: Tensor
    targets: list[Targets]
    sample_ids: list[str]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device (Lightning calls this)."""
        images = self.images.to(device, non_blocking=True)
        return Batch(images, [t.to(device) for t in self.targets], self.sample_ids)


@dataclass
class ValidationItem:
    """A sample fitted to the input size, its place in the split, and whether this process' scores count it."""

    sample: Sample
    index: int
    counts: bool


class TrainingViews(TorchDataset):
    """Augmented views with targets; view i of epoch e is the same in every run with the same seed."""

    def __init__(
        self,
        dataset: Dataset,
        settings: DataSettings,
        model: NetworkConfig,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.dataset, self.settings, self.model = dataset, settings, model
        self.augmentation, self.seed = augmentation, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> tuple[Tensor, Targets, str]:
        epoch, index = key
        random = np.random.default_rng([self.seed, epoch, index])
        size, focal_px = self.settings.input_size, self.settings.focal_px
        view = augment(self.dataset[index], size, focal_px, self.augmentation, random)
        targets = make_targets(
            view,
            self.dataset.label_space,
            self.settings.min_area_px,
            objective_of(self.model).most_segments(self.model),
            self.model.max_depth_m,
            self.settings.depth_stride,
        )
        return torch.from_numpy(view.image), targets, view.sample_id


class ValidationViews(TorchDataset):
    """Samples fitted to the input size, depth as the training camera would see it."""

    def __init__(self, dataset: Dataset, settings: DataSettings) -> None:
        self.dataset, self.settings = dataset, settings

    def __len__(self) -> int:
        return min(len(self.dataset), self.settings.val_limit or len(self.dataset))

    def __getitem__(self, index: int) -> ValidationItem:
        counts, index = index < len(self), index % len(self)
        size, focal_px = self.settings.input_size, self.settings.focal_px
        view = augment(self.dataset[index], size, focal_px, NO_AUGMENTATION, np.random.default_rng(0))
        require_known_classes(view, self.dataset.label_space)
        return ValidationItem(view, index, counts)


class TrainingData(LightningDataModule):
    """The training and validation splits of a run."""

    def __init__(
        self,
        splits: tuple[Dataset, Dataset],
        settings: DataSettings,
        model: NetworkConfig,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.settings, self.batch_size, self.seed = settings, batch_size, seed
        self.train_views = TrainingViews(splits[0], settings, model, settings.augmentation, seed)
        self.validation_views = ValidationViews(splits[1], settings)

    def train_dataloader(self) -> DataLoader:
        """Endless batches, from the one on that follows the last optimiser step (a resumed run goes on there)."""
        trainer = self.trainer
        assert trainer is not None
        order = BatchOrder(
            len(self.train_views),
            self.batch_size,
            self.seed,
            trainer.global_rank,
            trainer.world_size,
            start=trainer.global_step * trainer.accumulate_grad_batches,
        )
        workers = self.settings.workers
        return DataLoader(self.train_views, batch_sampler=order, num_workers=workers, collate_fn=collate)

    def val_dataloader(self) -> DataLoader:
        """One sample at a time, each process its share."""
        assert self.trainer is not None
        share = ValidationShare(len(self.validation_views), self.trainer.global_rank, self.trainer.world_size)
        workers = min(1, self.settings.workers)
        return DataLoader(self.validation_views, batch_size=None, sampler=share, num_workers=workers)

    def transfer_batch_to_device(
        self, batch: Batch | ValidationItem, device: torch.device, dataloader_idx: int
    ) -> Batch | ValidationItem:
        """Training batches move to the device; validation samples stay NumPy."""
        return batch.to(device) if isinstance(batch, Batch) else batch


def open_splits(config: TrainConfig) -> tuple[Dataset, Dataset]:
    """The training and the validation split.

    Raises:
        DatasetError: a split is missing or empty (at once, not after the first epoch).
        ConfigError: no such format or label space, or the format has another label space.
    """
    name, data = config.model.label_space, config.data
    if name and name not in LABEL_SPACES:
        raise ConfigError(f"label space '{name}' is not one of {', '.join(LABEL_SPACES)}{nearest(name, LABEL_SPACES)}")
    train, validation = (
        open_dataset(data.format, data.root, split, LABEL_SPACES.get(name), data.topics, data.bag)
        for split in (data.train_split, data.val_split)
    )
    return train, validation


def collate(views: list[tuple[Tensor, Targets, str]]) -> Batch:
    """Stack views; targets keep their own lengths."""
    images, targets, sample_ids = zip(*views, strict=True)
    return Batch(torch.stack(images), list(targets), list(sample_ids))
