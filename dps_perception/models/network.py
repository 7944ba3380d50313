"""What the networks of all families have in common: freezing parts, and what of them is kept for inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, nn

from ..errors import ConfigError, nearest
from .backbones import build_backbone
from .config import NetworkConfig
from .image import Normalise

Self = TypeVar("Self", bound="Network")


class Network(nn.Module):
    """A network: (B, H, W, 3) uint8 RGB as a camera gives it -> named tensors; H and W are multiples of 32.

    Attributes hold no state beyond parameters.

    Args:
        config: says how it is built.
        first: number of the finest level that is read from the backbone, 2 or 3.
    """

    config: NetworkConfig

    def __init__(self, config: NetworkConfig, first: int = 3) -> None:
        super().__init__()
        self.config = config
        self._frozen: list[str] = []
        self.normalise = Normalise()
        self.backbone = build_backbone(config.backbone, first)

    def freeze(self, names: Sequence[str]) -> None:
        """Keep parts as they are: no gradients, and their batch norms keep their statistics in training.

        Args:
            names: of sub-modules, e.g. "backbone", "neck", "queries.semantic_map".

        Raises:
            ConfigError: no such part.
        """
        parts = dict(self.named_modules())
        for name in names:
            if not name or name not in parts:
                valid = [n for n in parts if n and n.count(".") < 2]
                raise ConfigError(f"freeze: the network has no part '{name}'{nearest(name, valid)}")
            parts[name].requires_grad_(False)
            self._frozen.append(name)
        self.train(self.training)

    def freeze_batch_norms(self) -> None:
        """Keep the backbone's batch norms as they are, while its convolutions learn."""
        parts = self.backbone.named_modules(prefix="backbone")
        self.freeze([name for name, part in parts if isinstance(part, nn.BatchNorm2d)])

    def train(self: Self, mode: bool = True) -> Self:
        """As `nn.Module.train`, but frozen parts stay in evaluation mode, also where others took their place since (as
        PyTorch's conversion to SyncBatchNorm does)."""
        super().train(mode)
        for name in self._frozen:
            self.get_submodule(name).eval()
        return self

    def reset_constants(self) -> None:
        """Set what is no weight again, after a network built on the meta device was given memory."""
        self.normalise.reset_constants()

    def inference_state(self) -> dict[str, Tensor]:
        """The tensors of the same network built by `config.for_inference()`."""
        return self.state_dict()
