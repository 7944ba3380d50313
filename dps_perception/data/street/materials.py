"""Materials: one function each, filling in the surface where its solids are seen. Table at the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .builder import Material
from .cutout import flatten
from .facade import shade_facade
from .furniture import DISC, PANEL, RING, WARNING
from .noise import fraction, noise, scramble
from .surface import X_FACE, Y_FACE, Z_FACE, Floats, Hits, Index, Surface
from .weather import Weather

F = np.float32
GLASS = F(0.022)
Shader = Callable[[Hits, Surface, Index, Weather], None]


def shade_materials(hits: Hits, surface: Surface, weather: Weather) -> None:
    """Run each material's function on the pixels that show it."""
    for material in np.unique(hits.material):
        shader = SHADERS.get(Material(material))
        if shader is not None:
            shader(hits, surface, np.flatnonzero(hits.material == material), weather)


def shade_leaf(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Mottled, darker below, with normals that scatter."""
    params = hits.params.take(i, 0)
    u, v = flatten(*hits.unit.take(i, 0).T, *hits.metric.take(i, 0).T)
    leaf = noise(u * F(2.3) + params[:, 3], v * F(2.1), 4.0, hits.level.take(i, 0) + 1)
    tone = F(0.25) + F(1.3) * leaf ** F(1.5) + F(0.5) * (hits.grain.take(i, 0) - F(0.5))
    surface.color[i] = params[:, :3] * (tone * (F(0.75) + F(0.35) * hits.unit[i, 2]))[:, None]
    scatter = np.stack([leaf - F(0.5), hits.grain.take(i, 0) - F(0.5), np.full(len(i), 0.45, F)], 1)
    normal = surface.normal[i] * F(0.7) + scatter
    surface.normal[i] = normal / np.sqrt((normal**2).sum(1, keepdims=True))


def shade_paint(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Car bodies: lamps, plates, grille, seams and wheel arches by their place on the hull (params: half length,
    half width, slab: 1 lower hull, 2 shoulders, 0 anything else)."""
    surface.highlight[i], surface.mirror[i] = F(0.5), F(0.1)
    slab = hits.params[i, 6]
    hull = np.flatnonzero(slab > 0.5)
    if not len(hull):
        return
    i, slab = i[hull], slab[hull]
    lower = slab < 1.5
    face, unit, metric, half = hits.face.take(i, 0), hits.unit.take(i, 0), hits.metric.take(i, 0), hits.half.take(i, 0)
    footprint, color = hits.footprint_m.take(i, 0), surface.color.take(i, 0)
    x, y, z = unit[:, 0], metric[:, 1], unit[:, 2]
    end, flank = face == X_FACE, face == Y_FACE
    lamp = ~lower & end & (np.abs(y) > half[:, 1] * F(0.6)) & (z < 0.7) & (z > -0.9)
    lamp |= lower & end & (np.abs(y) > half[:, 1] * F(0.72)) & (z > 0.72)
    head, tail = lamp & (x > 0), lamp & (x < 0)
    color[head], color[tail] = np.array([0.8, 0.8, 0.78], F), np.array([0.55, 0.02, 0.02], F)
    plate = lower & end & (np.abs(y) < 0.26) & (np.abs(z - F(0.35)) < 0.3)
    color[plate] = np.array([0.65, 0.65, 0.62], F)
    grille = ~lower & end & (x > 0) & (np.abs(y) < half[:, 1] * F(0.5))
    color[grille] *= F(0.3)
    along = metric[:, 0] + F(0.1)
    thickness = F(0.012) + footprint * F(0.3)
    seam = flank & ((np.abs(np.abs(along) - F(0.62)) < thickness) | (np.abs(along) < thickness))
    color[seam] *= F(0.45)
    color[lower & (z < -0.72)] *= F(0.35)
    arch_x, arch_z = np.abs(metric[:, 0]) - half[:, 0] * F(0.62), metric[:, 2] + half[:, 2] - F(0.12)
    color[lower & flank & (arch_x**2 + arch_z**2 < 0.155)] = F(0.015)
    surface.color[i] = color
    surface.glow[i] = np.where(
        head, F(1.5 if weather.is_dark else 0.15), np.where(tail, F(1.2 if weather.is_dark else 0.08), F(0))
    )


def shade_cabin(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Glass houses of cars and cabs of lorries (params: half length, half width, lorry flag)."""
    face, z, color = hits.face.take(i, 0), hits.unit[i, 2], surface.color.take(i, 0)
    across = np.where(face == X_FACE, hits.unit[i, 1], hits.unit[i, 0])
    lorry = hits.params[i, 6] > 0.5
    pillar = (face == Y_FACE) & (np.abs(hits.metric[i, 0] + F(0.05)) < 0.045)
    glass = (face != Z_FACE) & (np.abs(across) < np.where(face == X_FACE, F(0.86), F(0.88))) & (z < 0.84) & ~pillar
    glass &= z > np.where(lorry, F(0.05), F(-0.92))
    glass &= ~(lorry & (face == X_FACE) & (hits.unit[i, 0] < 0))
    color[glass] = GLASS
    lamp = lorry & (face == X_FACE) & (hits.unit[i, 0] > 0) & (np.abs(across) > 0.6) & (np.abs(z + F(0.7)) < 0.1)
    color[lamp] = F(0.8)
    surface.color[i] = color
    surface.highlight[i], surface.mirror[i] = F(0.5), np.where(glass, F(0.38), F(0.1))


def shade_coachwork(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Buses and trams (params: 1, half length), and the loads of lorries (params: 0, 0, kind)."""
    face, unit, u, params, color = (
        hits.face.take(i, 0),
        hits.unit.take(i, 0),
        hits.u.take(i, 0),
        hits.params.take(i, 0),
        surface.color.take(i, 0),
    )
    z, bus, end, flank = unit[:, 2], params[:, 4] > 0.5, face == X_FACE, face == Y_FACE
    edge = np.abs(unit[:, 1])
    window = bus & (face != Z_FACE) & (z > -0.1) & (z < 0.68) & ((fraction(u / F(1.35)) > 0.06) | end)
    color[window] = F(0.025)
    lamp = bus & end & (edge > 0.6) & (np.abs(z + F(0.62)) < 0.09)
    color[lamp & (unit[:, 0] > 0)], color[lamp & (unit[:, 0] < 0)] = F(0.85), np.array([0.5, 0.02, 0.02], F)
    stripe = bus & (z < -0.35) & (z > -0.5)
    color[stripe] = color[stripe] * F(0.3) + F(0.25)
    color[bus & end & (z > 0.72) & (edge < 0.6)] = F(0.03)
    color[bus & flank & (fraction(u / F(5)) < 0.22) & (z > -0.9) & (z < 0.6)] *= F(0.3)
    rib = ~bus & (params[:, 6] > 0.5) & (fraction(u * F(1.6)) < 0.12) & (hits.footprint_m.take(i, 0) < 0.15)
    color[rib] *= F(0.75)
    logo = (
        ~bus
        & flank
        & (np.abs(unit[:, 0]) < 0.5)
        & (np.abs(z) < 0.3)
        & (hits.grain.take(i, 0) > 0.5)
        & (params[:, 6] != 1)
    )
    color[logo] = color[logo][:, ::-1] * F(0.6)
    color[~bus & end & (edge > 0.8) & (np.abs(z + F(0.9)) < 0.06)] = np.array([0.5, 0.02, 0.02], F)
    surface.color[i] = color
    surface.highlight[i], surface.mirror[i] = F(0.3), np.where(window, F(0.35), F(0.06))


def shade_tyre(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Rubber with a rim of spokes."""
    x, y = hits.unit[i, 0], hits.unit[i, 1]
    radius2 = x * x + y * y
    rim = (hits.face.take(i, 0) == Z_FACE) & (radius2 < 0.4)
    bright = (fraction(np.arctan2(y, x) * F(0.8) + hits.params[i, 3]) < 0.6) | (radius2 < 0.05)
    surface.color[i] = np.where(rim, np.where(bright, F(0.4), F(0.06)), F(0.018))[:, None]


def shade_sign(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Traffic signs (params: face kind of `furniture`): a border, a field and a glyph; grey from behind."""
    unit, face, params = hits.unit.take(i, 0), hits.face.take(i, 0), hits.params.take(i, 0)
    kind = params[:, 4]
    is_round = (kind == RING) | (kind == DISC)
    front = np.where(is_round, (face == Z_FACE) & (unit[:, 2] > 0), (face == X_FACE) & (unit[:, 0] > 0))
    x, y, z = unit[:, 0], unit[:, 1], unit[:, 2]
    to_edge = np.where(is_round, np.sqrt(x * x + y * y), np.maximum(np.abs(y), np.abs(z)))
    triangle = np.maximum((np.abs(y) + F(0.47) * z) / F(0.53), -z)
    to_edge = np.where(kind == WARNING, triangle, to_edge)
    column, row = np.floor(np.where(is_round, x, z) * 4 + 8), np.floor(y * 4 + 8)
    glyph = (scramble(column * F(3.7) + row * F(11.1) + params[:, 3]) > 0.55) & (to_edge < 0.62)
    inverted = (kind == DISC) | (kind == PANEL)
    white = np.full((len(i), 3), 0.75, F)
    outlined = np.where((to_edge > 0.74)[:, None], params[:, :3], white)
    filled = np.where((to_edge > 0.9)[:, None], white, params[:, :3])
    color = np.where(inverted[:, None], filled, outlined)
    color = np.where(glyph[:, None], np.where(inverted[:, None], white, F(0.04)), color)
    surface.color[i] = np.where(front[:, None], color, F(0.28))
    surface.glow[i] = np.where(front, F(0.05), F(0))


LIGHT_COLORS = np.array([[0.05, 0.8, 0.35], [0.9, 0.55, 0.05], [0.9, 0.06, 0.04]], F)
"""From the bottom: green, amber, red."""


def shade_traffic_light(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Three lenses on the -x face; params: which one is lit, from the bottom."""
    height = (hits.unit[i, 2] + 1) * F(1.5)
    lens_index = np.clip(np.floor(height), 0, 2)
    radius2 = (fraction(height) - F(0.5)) ** 2 + (hits.unit[i, 1] * F(0.5)) ** 2
    lens = (hits.face.take(i, 0) == X_FACE) & (hits.unit[i, 0] < 0) & (radius2 < 0.13)
    lit = lens & (lens_index == hits.params[i, 4])
    color, lamp = surface.color.take(i, 0), LIGHT_COLORS[lens_index.astype(int)]
    color[lens] = lamp[lens] * F(0.08)
    color[lit] = lamp[lit]
    surface.color[i] = color
    surface.glow[i] = np.where(lit, F(1.6), F(0))


def shade_brick(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Courses of brick, mortar where near enough."""
    course = hits.v.take(i, 0) * F(11)
    column = hits.u.take(i, 0) * F(4) + F(0.5) * (np.floor(course) % 2)
    mortar = ((fraction(column) < 0.06) | (fraction(course) < 0.14)) & (hits.footprint_m.take(i, 0) < 0.04)
    tone = F(0.8) + F(0.35) * scramble(np.floor(column) * F(7.7) + np.floor(course) * F(3.3))
    color: Floats = surface.color.take(i, 0) * tone[:, None]
    color[mortar] = color[mortar] * F(0.6) + F(0.15)
    surface.color[i] = color


def shade_cloth(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Folds."""
    folds = noise(hits.u.take(i, 0) * 3 + hits.params[i, 3], hits.v.take(i, 0) * 2, 4.0, hits.level.take(i, 0))
    surface.color[i] *= (F(0.65) + F(0.6) * folds)[:, None]


def shade_metal(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """A highlight."""
    surface.highlight[i] = F(0.25)


def shade_lamp(hits: Hits, surface: Surface, i: Index, weather: Weather) -> None:
    """Lamp glass; params: glow."""
    surface.glow[i] = hits.params[i, 4]


SHADERS: dict[Material, Shader] = {
    Material.FACADE: shade_facade,
    Material.PAINT: shade_paint,
    Material.CABIN: shade_cabin,
    Material.TYRE: shade_tyre,
    Material.LEAF: shade_leaf,
    Material.METAL: shade_metal,
    Material.SIGN: shade_sign,
    Material.TRAFFIC_LIGHT: shade_traffic_light,
    Material.BRICK: shade_brick,
    Material.CLOTH: shade_cloth,
    Material.COACHWORK: shade_coachwork,
    Material.LAMP: shade_lamp,
}
"""Materials that are not here are their colour."""
