"""What the configs of all families have in common: sizes, checks, and their way into a file and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

from ..errors import ConfigError, nearest
from ..labels import LabelSpace
from .layers import GROUP_CHANNELS, NORMS

BACKBONES = ("resnet18", "resnet50", "swin_t", "swin_b")
SIZE_MULTIPLE = 32
"""Height and width of every network's input are multiples of this."""

Config = TypeVar("Config", bound="NetworkConfig")


@dataclass(frozen=True)
class NetworkConfig(ABC):
    """What every family's config has.

    Attributes:
        backbone: one of resnet18, resnet50, swin_t, swin_b.
        channels: width of neck and heads.
        num_classes: size of the label space.
        norm: normalisation in neck and heads: "none", "batch" (folds into the convolutions) or "group".
        max_depth_m: farthest depth, metres.
    """

    family: ClassVar[str]
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"backbone": BACKBONES, "norm": NORMS}
    """Settings that are one of some words."""
    LIMITS: ClassVar[Mapping[str, int]] = {"channels": 4096, "num_classes": 255, "max_depth_m": 10_000}
    """Largest values of the numbers: a damaged or hostile file must not ask for all memory; panoptic ids hold 255
    classes."""
    WIDTHS: ClassVar[tuple[str, ...]] = ("channels",)
    """Widths of what is normalised by `norm`."""

    backbone: str = "resnet50"
    channels: int = 256
    num_classes: int = 19
    norm: str = "group"
    max_depth_m: float = 88.0

    def __post_init__(self) -> None:
        for name, allowed in self.CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                valid = ", ".join(choice or "''" for choice in allowed)
                raise ConfigError(f"{name} '{value}' is not one of {valid}{nearest(str(value), allowed)}")
        for name, most in self.LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ConfigError(f"{name} is {value!r}; it must be a number")
            if not 0 < value <= most:
                raise ConfigError(f"{name} is {value}; it must be positive, and at most {most}")
            if isinstance(self.__dataclass_fields__[name].default, int) and not isinstance(value, int):
                raise ConfigError(f"{name} is {value!r}; it must be a whole number")
        for name in self.WIDTHS if self.norm == "group" else ():
            if getattr(self, name) % GROUP_CHANNELS:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; with norm 'group' it must be a multiple of {GROUP_CHANNELS}"
                )
        for name in (f.name for f in fields(self) if isinstance(f.default, bool)):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be true or false")

    @property
    @abstractmethod
    def has_depth(self) -> bool:
        """Whether the network estimates depth."""

    def for_classes(self: Config, space: LabelSpace) -> Config:
        """The same for another label space."""
        return replace(self, num_classes=len(space))

    def for_inference(self: Config) -> Config:
        """The same without what only training needs."""
        return self

    @abstractmethod
    def without_depth(self: Config) -> Config:
        """The same for panoptic segmentation alone."""

    def fits(self, space: LabelSpace) -> bool:
        """Whether it predicts the classes of that label space."""
        return self == self.for_classes(space)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls: type[Config], data: Mapping[str, Any]) -> Config:
        """Of `to_dict`.

        Raises:
            ConfigError: an unknown setting, or a value that is not allowed.
        """
        valid = [f.name for f in fields(cls)]
        for key in data:
            if key not in valid:
                raise ConfigError(f"unknown model setting '{key}'{nearest(key, valid)} Valid: {', '.join(valid)}")
        return cls(**data)


@dataclass(frozen=True)
class ThingsConfig(NetworkConfig):
    """Of networks with outputs for things alone.

    Attributes:
        thing_classes: class ids of the things, ascending.
    """

    thing_classes: tuple[int, ...] = (11, 12, 13, 14, 15, 16, 17, 18)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "thing_classes", tuple(self.thing_classes))  # JSON gives a list
        things = self.thing_classes
        known = all(type(c) is int and 0 <= c < self.num_classes for c in things)
        if not things or not known or list(things) != sorted(set(things)):
            raise ConfigError(
                f"thing_classes {list(things)}: they must be ascending class ids below {self.num_classes}, at least "
                f"one; a label space without things is for family efficientdps"
            )

    def for_classes(self: Config, space: LabelSpace) -> Config:
        """The same for another label space."""
        things = tuple(int(c) for c in space.is_thing.nonzero()[0])
        return replace(self, num_classes=len(space), thing_classes=things)  # type: ignore[call-arg]
