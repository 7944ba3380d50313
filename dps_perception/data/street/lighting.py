"""Light: sun with a shadow map, sky dome, bounce, contact shade, reflections, and the sky itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cast import HitMap, cast
from .noise import noise, smooth_noise, smooth_step
from .pose import Posed
from .rotations import along
from .sky import varied_sky_color
from .view import View
from .weather import Weather

F = np.float32
Floats = NDArray[np.float32]
AHEAD_M = 34.0
"""Shadows and contact shade are computed around a point this far ahead of the camera."""
SHADOW_SPAN_M = 84.0
CONTACT_PIXELS, CONTACT_PIXEL_M, CONTACT_BELOW_M = 256, 0.3, 0.6
LARGE_FOOTPRINT_PX = 1200
LAMP_LEVEL = 6
"""Noise level at which the pools of lamps are some 12 m wide."""
SHADOW_TAPS = ((-0.5, -0.3), (0.5, -0.5), (-0.4, 0.5), (0.5, 0.4))


@dataclass(frozen=True)
class ShadowMap:
    """Depth from the sun, (n, n) float32, in a parallel view."""

    view: View
    depth: Floats


@dataclass(frozen=True)
class ContactShade:
    """How much stands on the ground, 0..1, seen from above (x to the right, y down the rows)."""

    centre: NDArray[np.float64]
    cover: Floats


def _ahead(camera: View) -> NDArray[np.float64]:
    flat = np.array([1.0, 1.0, 0.0])
    return camera.centre * flat + camera.rotation[:, 2] * flat * AHEAD_M


def shadow_map(posed: Posed, camera: View, weather: Weather, size: int) -> ShadowMap | None:
    """The sun's shadow map of `size` pixels; None where the sun is too weak to cast shadows."""
    if weather.sun.max() <= 0.2:
        return None
    view = View.parallel(along(-weather.to_sun), _ahead(camera), SHADOW_SPAN_M / size, size)
    hits = HitMap.empty(size, size)
    cast(posed, view, hits, far_m=1e9)
    return ShadowMap(view, hits.depth)


def contact_shade(posed: Posed, camera: View) -> ContactShade:
    """Blurred footprints of everything that stands near the ground."""
    centre = _ahead(camera)
    low = posed.centre[:, 2] - np.abs(posed.matrix[:, 2]).sum(1) < CONTACT_BELOW_M
    low &= ((posed.centre[:, :2] - centre[:2]) ** 2).sum(1) < 60**2
    view = View.parallel(np.eye(3), centre, CONTACT_PIXEL_M, CONTACT_PIXELS)
    u0, u1, v0, v1, _ = view.boxes(posed.matrix[low], posed.centre[low], 1e9)
    cover = np.zeros((CONTACT_PIXELS, CONTACT_PIXELS), F)
    is_small = (u1 - u0) * (v1 - v0) < LARGE_FOOTPRINT_PX
    for a, b, c, d, small in zip(u0, u1, v0, v1, is_small, strict=True):
        np.maximum(cover[c:d, a:b], F(1.0 if small else 0.5), out=cover[c:d, a:b])
    return ContactShade(centre, _box_blur(_box_blur(cover, 1), 2))


def _box_blur(image: Floats, radius: int) -> Floats:
    width = 2 * radius + 1
    for axis in (0, 1):
        padding = [(radius + 1, radius) if k == axis else (0, 0) for k in (0, 1)]
        sums = np.cumsum(np.pad(image, padding, mode="edge"), axis, dtype=F)
        n = image.shape[axis]
        image = (sums.take(range(width, width + n), axis) - sums.take(range(n), axis)) / F(width)
    return image


@dataclass(frozen=True)
class Light:
    """Everything that lights the pixels of one image."""

    weather: Weather
    shadow: ShadowMap | None
    contact: ContactShade

    def illuminate(
        self, point: Floats, ray: Floats, normal: Floats, is_ground: NDArray[np.bool_], color: Floats, glow: Floats
    ) -> tuple[Floats, Floats]:
        """Linear RGB (n, 3) of lit surfaces without reflections, and how much direct sun each gets (n,)."""
        weather = self.weather
        sun = np.clip(normal @ weather.to_sun.astype(F), 0, 1)
        if self.shadow is not None:
            sun = sun * self._sunlit(self.shadow, point, normal, sun)
        open_sky = self._openness(point, is_ground)
        dome = (weather.sky * 0.9 + weather.horizon * 0.25).astype(F)
        light = sun[:, None] * weather.sun.astype(F)
        light += ((F(0.5) + F(0.5) * normal[:, 2]) * open_sky)[:, None] * dome
        if weather.lamplight.any():
            light += self._lamplight(point, normal)
        light += ((F(1) - normal[:, 2]) * F(0.1) * open_sky)[:, None] * weather.horizon.astype(F)
        return color * (light + glow[:, None]), sun

    def _lamplight(self, point: Floats, normal: Floats) -> Floats:
        """Pools of light under the street lamps, (n, 3)."""
        pool = np.clip((smooth_noise(point[:, 0], point[:, 1], 96.0, LAMP_LEVEL) - F(0.3)) * 3, F(0.25), F(1.8))
        pool *= (F(0.6) + F(0.4) * normal[:, 2]) / (1 + (np.maximum(point[:, 2], 0) / F(7)) ** 2)
        return pool[:, None] * self.weather.lamplight.astype(F)

    @staticmethod
    def _sunlit(shadow: ShadowMap, point: Floats, normal: Floats, sun: Floats) -> Floats:
        view = shadow.view
        local = (point + normal * F(0.1) - view.centre.astype(F)) @ view.rotation.astype(F)
        depth = local[:, 2] - (F(0.03) + F(0.1) * (1 - sun))
        u = local[:, 0] / F(view.pixel_m) + F(view.width / 2)
        v = local[:, 1] / F(view.pixel_m) + F(view.height / 2)
        inside = (u > 2) & (u < view.width - 3) & (v > 2) & (v < view.height - 3)
        u, v = np.clip(u, 2, view.width - 3), np.clip(v, 2, view.height - 3)
        texels, lit = shadow.depth.ravel(), np.zeros(len(u), F)
        for du, dv in SHADOW_TAPS:
            lit += texels.take((v + F(dv)).astype(np.int32) * view.width + (u + F(du)).astype(np.int32)) > depth
        return np.where(inside, lit * F(1 / len(SHADOW_TAPS)), F(1))

    def _openness(self, point: Floats, is_ground: NDArray[np.bool_]) -> Floats:
        cover = self.contact.cover
        last = cover.shape[0] - 1
        offset = (point[:, :2] - self.contact.centre[:2].astype(F)) / F(CONTACT_PIXEL_M) + F(cover.shape[0] / 2)
        pixel = np.clip(offset, 0, last).astype(np.int32)
        strength = F(0.75) * np.where(is_ground, F(1), F(0.55))
        near = cover.ravel().take(pixel[:, 1] * cover.shape[1] + pixel[:, 0]) * np.exp(
            -np.maximum(point[:, 2], 0) * F(1.1)
        )
        height = np.clip(point[:, 2] * F(0.4) + is_ground, 0, 1)
        return (1 - strength * near) * (F(0.72) + F(0.28) * height)

    def reflect(
        self, color: Floats, ray: Floats, normal: Floats, sun: Floats, highlight: Floats, mirror: Floats
    ) -> None:
        """Add highlights and mirror the surroundings, in place."""
        weather = self.weather
        i = np.flatnonzero((highlight > 0) | (mirror > 0))
        if not len(i):
            return
        ray, normal, mirror = ray.take(i, 0), normal.take(i, 0), mirror.take(i)
        facing = -(ray * normal).sum(1)
        bounced = ray + 2 * facing[:, None] * normal
        shine = np.clip(bounced @ weather.to_sun.astype(F), 0, 1) ** 40 * highlight.take(i) * (sun.take(i) > 0)
        lit = color.take(i, 0) + shine[:, None] * weather.sun.astype(F)
        upwards = np.clip(bounced[:, 2] * F(2.5) + F(0.35), 0, 1)[:, None]
        ripple = noise(
            bounced[:, 0] * F(0.9) + bounced[:, 1] * F(0.7),
            bounced[:, 2] * F(1.3) + F(0.1) * (bounced[:, 0] - bounced[:, 1]),
            2.0,
            np.zeros(len(i), np.int32),
        )[:, None]
        street = (weather.horizon * 0.25).astype(F)
        sky = (weather.sky * 0.8 + weather.horizon * 0.3).astype(F) * (F(0.5) + ripple)
        share = (mirror * (F(0.4) + F(1.2) * (1 - np.clip(facing, 0, 1)) ** 3))[:, None]
        color[i] = lit * (1 - share) + (street * (1 - upwards) + upwards * sky) * share


def sky_color(weather: Weather, ray: Floats) -> Floats:
    """Linear RGB (n, 3) of the sky along unit rays (n, 3)."""
    if weather.is_varied:
        return varied_sky_color(weather, ray)
    dx, dy, dz = ray.T
    fade = np.exp(-np.clip(dz, 0, 1) * 5)[:, None]
    horizon = weather.horizon.astype(F)
    color = horizon * fade + weather.sky.astype(F) * (1 - fade)
    if weather.cloud > 0:
        spread = 1 / np.maximum(dz + F(0.12), F(0.03))
        level = np.zeros(len(dz), np.int32)
        large = noise(dx * spread + 31, dy * spread + 17, 5.0, level)
        density = large * F(0.6) + noise(dx * spread, dy * spread, 1.7, level) * F(0.4)
        cover = smooth_step(0.75 - 0.5 * weather.cloud, 1.0 - 0.5 * weather.cloud, density)[:, None].astype(F)
        color = color * (1 - cover) + cover * horizon * (F(0.75) + F(0.35) * density[:, None])
    return color.astype(F)


def fog(weather: Weather, distance_m: Floats) -> tuple[Floats, Floats]:
    """Share of light that comes through (n, 1), and the fog's own colour (3,)."""
    through = np.exp(-F(weather.fog_per_m) * distance_m)[:, None]
    return through, (weather.horizon * 0.95).astype(F)
