"""The primitive table: a scene is a list of analytic solids, each part of an object that moves as one.

A primitive is an affine image of a unit solid (a box that may taper towards +z and shear along x, a ball, a
cylinder along z). An object has a placement in road coordinates and a constant speed, so a drive is the same table
with new object poses, and ids stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...labels import CITYSCAPES, MAX_INSTANCE_ID
from .style import STANDARD_STYLE, Style

PARAMETERS = 10
"""Floats per primitive: RGB, texture offset, then what the material wants."""
Vector = Sequence[float] | NDArray[Any]


class Shape(IntEnum):
    """Unit solids."""

    BOX = 0
    BALL = 1
    CYLINDER = 2


class Material(IntEnum):
    """Surfaces; `materials.SHADERS` has one function for each that is more than its colour."""

    PLAIN = 0
    FACADE = 1
    PAINT = 2
    CABIN = 3
    TYRE = 4
    LEAF = 5
    BARK = 6
    METAL = 7
    SIGN = 8
    TRAFFIC_LIGHT = 9
    FENCE = 10
    BRICK = 11
    CLOTH = 12
    SPOKES = 13
    COACHWORK = 14
    LAMP = 15


@dataclass(frozen=True)
class Placement:
    """Where an object stands at time 0 and how it moves.

    Attributes:
        s, d: road coordinates, metres.
        yaw: relative to the road's heading at s, radians.
        z: height of the object's origin, metres.
        speed_s, speed_d: metres per second along and across the road.
        moves_for_s: seconds after which the object stands still.
        gait: phase of the walk, radians; 0 for what does not walk.
    """

    s: float
    d: float
    yaw: float = 0.0
    z: float = 0.0
    speed_s: float = 0.0
    speed_d: float = 0.0
    moves_for_s: float = np.inf
    gait: float = 0.0


@dataclass(frozen=True)
class Primitives:
    """The finished table; arrays share their first axis (N). `object_index` points into `placements`."""

    object_index: NDArray[np.int64]
    shape: NDArray[np.int32]
    material: NDArray[np.int32]
    class_id: NDArray[np.int32]
    instance_id: NDArray[np.int32]
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    rotation: NDArray[np.float64]
    shear: NDArray[np.float64]
    taper: NDArray[np.float64]
    swing: NDArray[np.float64]
    params: NDArray[np.float64]
    placements: tuple[Placement, ...]

    def __len__(self) -> int:
        return len(self.shape)


@dataclass
class Builder:
    """Collects primitives and hands out instance ids (1..255 per class; later ones are crowd, 0).

    `style` says how the things that are added look.
    """

    style: Style = STANDARD_STYLE
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    instances: Counter[int] = field(default_factory=Counter)

    def body(self, placement: Placement, class_id: int, rng: np.random.Generator) -> Body:
        """Start a new object."""
        self.placements.append(placement)
        instance_id = self.next_instance(class_id)
        return Body(self, len(self.placements) - 1, class_id, instance_id, 50 * rng.random(), len(self.rows))

    def next_instance(self, class_id: int) -> int:
        if not CITYSCAPES.is_thing[class_id]:
            return 0
        self.instances[class_id] += 1
        count = self.instances[class_id]
        return count if count <= MAX_INSTANCE_ID else 0

    def finish(self) -> Primitives:
        columns = list(zip(*self.rows, strict=True))
        index, shape, material, class_id, instance_id = (np.array(column, np.int32) for column in columns[:5])
        centre, half, rotation, shear, taper, swing, params = (np.array(c, np.float64) for c in columns[5:])
        return Primitives(
            index.astype(np.int64),
            shape,
            material,
            class_id,
            instance_id,
            centre,
            half,
            rotation,
            shear,
            taper,
            swing,
            params,
            tuple(self.placements),
        )


@dataclass(frozen=True)
class Body:
    """One class of one object under construction; lengths in metres in the object's frame (x forward, z up)."""

    builder: Builder
    object_index: int
    class_id: int
    instance_id: int
    texture: float
    first_row: int

    @property
    def style(self) -> Style:
        return self.builder.style

    def as_class(self, class_id: int) -> Body:
        """The same moving object, but another class (a sign on its pole, a rider on a bicycle)."""
        instance_id = self.builder.next_instance(class_id)
        return Body(self.builder, self.object_index, class_id, instance_id, self.texture + 3.1, self.first_row)

    def solid(
        self,
        shape: Shape,
        material: Material,
        centre: Vector,
        half: Vector,
        color: Vector,
        params: Vector = (),
        *,
        rotation: NDArray[np.float64] | None = None,
        shear: float = 0.0,
        taper: tuple[float, float] = (1.0, 1.0),
        swing: float = 0.0,
    ) -> None:
        """Add a primitive.

        Args:
            shape: the unit solid.
            material: how it looks.
            centre, half: middle and half sizes.
            color: linear RGB.
            params: up to six numbers for the material.
            rotation: of the primitive in the object's frame.
            shear: metres that the top moves along x.
            taper: size of the top (x, y) relative to the bottom (boxes).
            swing: amplitude of a limb, radians.
        """
        rows = self.builder.rows
        full = np.zeros(PARAMETERS)
        full[:3], full[3] = color, self.texture + 0.37 * (len(rows) - self.first_row)
        full[4 : 4 + len(params)] = params
        matrix = np.eye(3) if rotation is None else rotation
        rows.append(
            (
                self.object_index,
                int(shape),
                int(material),
                self.class_id,
                self.instance_id,
                np.asarray(centre, np.float64),
                np.asarray(half, np.float64),
                matrix,
                shear,
                taper,
                swing,
                full,
            )
        )

    def box(
        self, material: Material, centre: Vector, half: Vector, color: Vector, params: Vector = (), **more: Any
    ) -> None:
        """Add a box; see `solid`."""
        self.solid(Shape.BOX, material, centre, half, color, params, **more)

    def ball(
        self, material: Material, centre: Vector, half: Vector, color: Vector, params: Vector = (), **more: Any
    ) -> None:
        """Add an ellipsoid; see `solid`."""
        self.solid(Shape.BALL, material, centre, half, color, params, **more)

    def cylinder(
        self, material: Material, centre: Vector, half: Vector, color: Vector, params: Vector = (), **more: Any
    ) -> None:
        """Add a cylinder along z; see `solid`."""
        self.solid(Shape.CYLINDER, material, centre, half, color, params, **more)

    def tube(
        self,
        material: Material,
        start: Vector,
        end: Vector,
        radius: float,
        color: Vector,
        params: Vector = (),
        *,
        is_ball: bool = False,
    ) -> None:
        """Add a cylinder (or a long ball) from `start` to `end`."""
        a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
        length = float(np.linalg.norm(b - a))
        z = (b - a) / length
        x = np.cross([1.0, 0, 0] if abs(z[0]) < 0.9 else [0, 1.0, 0], z)
        x /= np.linalg.norm(x)
        half = (radius, radius, length / 2 * (1.15 if is_ball else 1))
        shape = Shape.BALL if is_ball else Shape.CYLINDER
        rotation = np.stack([x, np.cross(z, x), z], 1)
        self.solid(shape, material, (a + b) / 2, half, color, params, rotation=rotation)
