"""Tree forms of the hard level: round, tall, conical, bare; straight, leaning or forked trunks."""

from __future__ import annotations

import numpy as np

from .builder import Body, Material

ROUND, TALL, CONE, BARE = "round", "tall", "cone", "bare"
SHARES = {ROUND: 0.6, TALL: 0.14, CONE: 0.12, BARE: 0.14}
BRANCHES = (7, 12)


def add_varied_tree(body: Body, height: float, clearance_m: float, rng: np.random.Generator) -> None:
    """Add trunk and crown of a tree of one of the forms.

    Args:
        body: the tree.
        height: metres.
        clearance_m: no leaves hang lower, but those of a cone, which stands back from the road.
        rng: the scene's stream for its trees.
    """
    form = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    bark = np.array([0.12, 0.09, 0.07]) * rng.uniform(0.3, 2.2)
    radius = float(rng.uniform(0.06, 0.03 + 0.03 * height))
    fork = max(clearance_m, height * rng.uniform(0.3, 0.45))
    lean = rng.normal(0, 0.06 * fork, 2)
    body.tube(Material.BARK, (0, 0, 0), (*lean, fork + 0.2), radius, bark)
    if form == BARE:
        top = (*lean, fork + 0.45 * (height - fork))
        body.tube(Material.BARK, (*lean, fork), top, radius * 0.7, bark)
        _add_branches(body, lean, fork, height, radius, bark, rng)
        return
    color, thin = body.style.palette.crown(rng), float(rng.choice([0.0, rng.uniform(0, 0.35)]))
    rim = float(rng.uniform(0.3, 0.7))
    body.tube(Material.BARK, (*lean, fork), (*(1.2 * lean), height * 0.85), radius * 0.5, bark)
    spread = (height - fork) * {ROUND: rng.uniform(0.5, 0.8), TALL: 0.25, CONE: 0.35}[form]
    count = int(rng.integers(8, 14))
    for index in range(count):
        level = (index + rng.random()) / count
        width = spread * (1.1 - level if form == CONE else np.sqrt(max(0.15, 1 - (2 * level - 0.9) ** 2)))
        ball = max(0.3, width * rng.uniform(0.45, 0.7))
        angle, away = 2.4 * index + rng.random(), max(0.0, width - ball) * rng.uniform(0.6, 1.1)
        half = ball * rng.uniform(0.6, 1)
        z = max(fork + level * (height - fork), clearance_m + half)
        centre = (lean[0] + away * np.cos(angle), lean[1] + away * np.sin(angle), z)
        body.ball(Material.LEAF, centre, (ball, ball, half), color * rng.uniform(0.7, 1.3), (rim, thin))


def _add_branches(
    body: Body,
    lean: np.ndarray,
    fork: float,
    height: float,
    radius: float,
    bark: np.ndarray,
    rng: np.random.Generator,
) -> None:
    for index in range(rng.integers(*BRANCHES)):
        start = (*lean, fork + rng.uniform(0, 0.35) * (height - fork))
        angle, reach = 2.4 * index + rng.random(), (height - fork) * rng.uniform(0.2, 0.55)
        end = (
            lean[0] + reach * np.cos(angle),
            lean[1] + reach * np.sin(angle),
            start[2] + (height - start[2]) * rng.uniform(0.5, 1),
        )
        body.tube(Material.BARK, start, end, radius * rng.uniform(0.2, 0.45), bark)
