"""What people of the hard level wear and carry beyond trousers and a top."""

from __future__ import annotations

import numpy as np

from .builder import Body, Material
from .palette import DARK, Color


def add_outfit(body: Body, rng: np.random.Generator, k: float, girth: float, skin: Color, arm: float) -> None:
    """Add clothes and things carried to a standing or walking person.

    Args:
        body: the person.
        rng: the scene's stream for it.
        k: size relative to 1.75 m.
        girth: width factor.
        skin: colour of the hands.
        arm: swing of the arm that carries a bag.
    """
    palette = body.style.palette
    if rng.random() < 0.15:
        half = (0.15 * girth, 0.2 * girth, rng.uniform(0.18, 0.3) * k)
        body.box(Material.CLOTH, (0, 0, 0.98 * k - half[2]), half, palette.cloth(rng), taper=(0.65, 0.75))
    if rng.random() < 0.4:
        half = (0.012, rng.uniform(0.03, 0.09) * girth, 0.25 * k)
        body.box(Material.CLOTH, (0.112 * girth, 0, 1.14 * k), half, palette.cloth(rng))
    if rng.random() < 0.25:
        half = (0.07 * k, 0.09 * k, rng.uniform(0.12, 0.2) * k)
        body.ball(Material.PLAIN, (-0.06, 0, 1.58 * k - half[2] * 0.4), half, palette.hair(rng))
    headgear = rng.random()
    if headgear < 0.15:
        body.ball(Material.CLOTH, (-0.01, 0, 1.68 * k), (0.115 * k, 0.105 * k, 0.1 * k), palette.cloth(rng))
    elif headgear < 0.25:
        color = palette.cloth(rng)
        body.ball(Material.PLAIN, (0, 0, 1.69 * k), (0.11 * k, 0.1 * k, 0.08 * k), color)
        body.cylinder(Material.PLAIN, (0.03, 0, 1.68 * k), (0.15 * k, 0.12 * k, 0.01), color)
    elif headgear < 0.33:
        color = palette.cloth(rng)
        body.ball(Material.CLOTH, (-0.04, 0, 1.62 * k), (0.125 * k, 0.12 * k, 0.15 * k), color)
    if rng.random() < 0.22:
        half = (rng.uniform(0.1, 0.2), 0.06, rng.uniform(0.12, 0.2))
        centre = (0, -0.29 * girth, 0.78 * k - half[2])
        body.box(Material.CLOTH, centre, half, palette.cloth(rng), taper=(0.85, 0.5), swing=arm * 0.4)
    if rng.random() < 0.15:
        elbow, hand = (0.04, 0.25 * girth, 1.12 * k), (0.26, 0.14 * girth, 1.22 * k)
        body.tube(Material.PLAIN, elbow, hand, 0.04 * k, skin)
        body.box(Material.PLAIN, (0.29, 0.13 * girth, 1.25 * k), (0.01, 0.035, 0.07), DARK)
    if rng.random() < body.style.umbrellas:
        tip = (0.12, 0.15, 2.0 * k + 0.1)
        body.tube(Material.METAL, (0.2, 0.18, 1.1 * k), tip, 0.012, DARK)
        body.ball(Material.CLOTH, tip, (0.55, 0.55, 0.15), palette.cloth(rng))
