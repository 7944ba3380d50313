"""House fronts: windows, frames, sills, curtains, shop fronts, brick, string courses and streaks."""

from __future__ import annotations

import numpy as np

from .noise import fraction, noise, scramble, smooth_step
from .surface import X_FACE, Z_FACE, Hits, Index, Surface
from .weather import Weather

F = np.float32
DETAIL_M = F(0.12)
"""Frames and sills are drawn where a pixel covers less."""
SHOP_SHARE = 0.6
BRICK, COURSED = 1, 2


def shade_facade(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Params: floor height (m), window pitch (m), window share, style, window height 0..1, shop 0..1."""
    face, half, params = hits.face.take(i, 0), hits.half.take(i, 0), hits.params.take(i, 0)
    footprint, level, grain = hits.footprint_m.take(i, 0), hits.level.take(i, 0), hits.grain.take(i, 0)
    height = hits.v.take(i, 0) + half[:, 2]
    along = hits.u.take(i, 0) + np.where(face == X_FACE, half[:, 1], half[:, 0])
    floor_m, pitch_m, share, style, tall, shop = (params[:, k] for k in range(4, 10))
    offset = params[:, 3]

    column, story = np.floor(along / pitch_m), np.floor(height / floor_m)
    x, y = along / pitch_m - column, height / floor_m - story
    ground = story < 1
    is_shop = ground & (shop < SHOP_SHARE)
    half_width = np.where(is_shop, F(0.44), share * F(0.5))
    bottom = np.where(is_shop, F(0.1), F(0.28))
    top = np.minimum(np.where(is_shop, F(0.82), F(0.28) + F(0.5) * (F(0.7) + F(0.5) * tall)), F(0.93))
    inside_x = (half_width - np.abs(x - F(0.5))) * pitch_m
    inside_y = np.minimum(y - bottom, top - y) * floor_m
    window = (inside_x > 0) & (inside_y > 0) & (face != Z_FACE) & (half[:, 2] * 2 - height > 0.4)
    near = footprint < DETAIL_M
    frame = window & near & ((inside_x < 0.07) | (inside_y < 0.07) | (np.abs(x - F(0.5)) * pitch_m < 0.03))
    sill = ~window & near & (inside_x > -0.12) & (inside_y > -0.12) & (inside_y < 0)
    chance = scramble(column * F(12.98) + story * F(78.23) + offset)

    wall = surface.color.take(i, 0) * np.where(ground, F(0.85), F(1.0))[:, None]
    mortar = (style == BRICK) & (fraction(hits.v.take(i, 0) * F(8)) < 0.14) & (footprint < 0.05)
    wall = np.where(mortar[:, None], wall * F(1.25), wall)
    wall = np.where(((style == COURSED) & (y < 0.06))[:, None], wall * F(1.2), wall)
    streaks = noise(hits.u.take(i, 0) * F(0.5), hits.v.take(i, 0) * F(0.12) + offset, 8.0, level - 2)
    wall = wall * (F(1) - F(0.28) * smooth_step(0.55, 0.75, streaks))[:, None]

    glass = (F(0.02) + F(0.09) * chance * grain)[:, None] * np.array([0.9, 1.0, 1.1], F)
    curtain = (chance > 0.55) & (y > bottom + (top - bottom) * fraction(chance * 7))
    cloth = (F(0.2) + F(0.25) * fraction(chance * 13))[:, None] * np.array([1, 0.97, 0.9], F)
    glass = np.where(curtain[:, None], cloth, glass)
    shop_color = np.stack([scramble(column * F(k) + offset) for k in (3.1, 5.7, 9.2)], 1) ** 2
    goods = F(0.28) * smooth_step(0.45, 0.65, noise(hits.u.take(i, 0) * 2, hits.v.take(i, 0) * 2, 4.0, level + 1))
    glass = np.where((is_shop & ~curtain)[:, None], glass + shop_color * goods[:, None], glass)
    wall = np.where((is_shop & (y > 0.84))[:, None], shop_color * F(0.7) + F(0.03), wall)

    color = np.where(window[:, None], glass, wall)
    color = np.where(frame[:, None], np.where(tall[:, None] < 0.5, F(0.6), F(0.08)), color)
    color = np.where(sill[:, None], wall * F(1.25), color)
    recess = window & (inside_y < 0.18) & (y > 0.5)
    color = np.where(recess[:, None], color * F(0.5), color)
    surface.mirror[i] = np.where(window & ~frame & ~curtain, F(0.35), F(0))
    if weather.is_dark:
        glow = np.where(window & ~frame & (chance > 0.6), F(0.9) * fraction(chance * 31), F(0))
        lamplight = np.array([0.9, 0.65, 0.35], F) * (F(0.5) + grain[:, None])
        color = np.where((glow > 0)[:, None], lamplight, color)
        surface.glow[i] = glow
    surface.color[i] = color
