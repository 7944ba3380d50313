"""Faults of those who operate the node: lifecycle transitions in any order, and parameters, under a stream."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from .peer import NODE
from .process import Held
from .result import Result
from .stand import Stand, TrialError

LEADS = {
    ("unconfigured", "configure"): "inactive",
    ("inactive", "activate"): "active",
    ("active", "deactivate"): "inactive",
    ("inactive", "cleanup"): "unconfigured",
}
"""(state, transition) -> the state it leads to; what is not here must be refused, but `shutdown`."""
TRANSITIONS = tuple(transition for _, transition in LEADS)
TIMES, WARM_UP = 50, 10
MORE_MB = 70.0
"""Memory comes from the system in steps of up to 63 MiB, which some load needs for a moment: one more may come late.
Over 150 of each transition it rose by 4 MiB, and not at all in the last 60; a model kept each time would be 2 GB."""
STORM_S, STORM_HZ = 5.0, 50.0
QUEUE = 10
"""Requests that a ROS service holds; the oldest of more are lost, and never answered."""


def walk(
    change: Callable[[str], bool], state: Callable[[], str], times: int, rng: random.Random
) -> tuple[dict[str, int], int]:
    """Ask for transitions at random, from unconfigured on, until each was made `times` times; end unconfigured.

    Args:
        change: asks for one; whether it was made.
        state: label of the state.
        times: see above.
        rng: chooses.

    Returns:
        How often each was made, and how many were refused, as they should.

    Raises:
        TrialError: one was made or refused that should not have been, or led elsewhere.
    """
    made, refused, here = dict.fromkeys(TRANSITIONS, 0), 0, "unconfigured"
    while min(made.values()) < times or here != "unconfigured":
        transition = rng.choice(TRANSITIONS)
        leads = LEADS.get((here, transition))
        if change(transition) != (leads is not None):
            raise TrialError(f"{transition} of the {here} node was {'refused' if leads else 'made'}")
        made[transition] += leads is not None
        refused += leads is None
        here = leads or here
        if (now := state()) != here:
            raise TrialError(f"after {transition} the node is {now}, not {here}")
    return made, refused


def lifecycle_walk(stand: Stand, result: Result) -> None:
    """Every transition 50 times, in random order, invalid ones between them, by the lifecycle services."""
    rng = random.Random(0)
    held: list[Held] = []

    def state() -> str:
        now = stand.state
        if now == "unconfigured":
            held.append(stand.held())
        return now

    stand.change("deactivate")
    stand.change("cleanup")
    walk(stand.change, state, WARM_UP, rng)
    held.clear()
    topics = _topics(stand)
    made, refused = walk(stand.change, state, TIMES, rng)
    first, last = held[: len(held) // 3], held[-len(held) // 3 :]
    for name in ("threads", "files"):
        before, after = max(getattr(h, name) for h in first), min(getattr(h, name) for h in last)
        result.must(after <= before, f"{name}: {before} in the first third, {after} in the last")
    result.must(_topics(stand) == topics, f"publishers and subscriptions: {topics} before, {_topics(stand)} after")
    lowest = [min(h.private_mb for h in part) for part in (first, last)]
    grown = lowest[1] - lowest[0]
    result.must(grown < MORE_MB, f"memory: {lowest[0]:.1f} MiB or more in the first third, {lowest[1]:.1f} in the last")
    stand.change("configure")
    stand.change("activate")
    stand.meet()
    stand.settle()
    result.sent, result.lost = 10, stand.through(10)
    result.must(result.lost == 0, "afterwards every frame comes out")
    result.happened = (
        f"{sum(made.values())} made (each at least {min(made.values())} times), {refused} refused; threads, files and "
        f"topics as before, memory {grown:+.1f} MiB"
    )


def lifecycle_storm(stand: Stand, result: Result) -> None:
    """Transitions, valid or not, one after the other as fast as a 10 Hz stream's frames."""
    client: Any = stand.node.create_client(ChangeState, f"{NODE}/change_state")
    stand.wait(client.service_is_ready, "~/change_state")
    rng = random.Random(1)
    asked: list[Any] = []

    def ask() -> None:
        if asked and not asked[-1].done():
            return
        request = ChangeState.Request()
        request.transition.label = rng.choice(TRANSITIONS)
        asked.append(client.call_async(request))

    stand.stream(STORM_S, 10.0, ask)
    stand.wait(lambda: all(future.done() for future in asked), "answers to all transitions", 120.0)
    made = sum(future.result().success for future in asked)
    stand.node.destroy_client(client)
    for transition in ("configure", "activate"):
        if (stand.state, transition) in LEADS:
            result.must(stand.change(transition), f"{transition} afterwards")
    stand.meet()
    stand.settle()
    result.sent, result.lost = 10, stand.through(10)
    result.must(result.lost == 0, "afterwards every frame comes out")
    result.must("Traceback" not in stand.log, "no traceback in the log")
    result.happened = f"{len(asked)} asked for, {made} made, the rest refused; afterwards every frame comes out"


def parameter_storm(stand: Stand, result: Result) -> None:
    """Live parameters are set 50 times per second while frames go through, a tenth of them out of range."""
    client: Any = stand.node.create_client(SetParameters, f"{NODE}/set_parameters")
    stand.wait(client.service_is_ready, "~/set_parameters")
    changes = itertools.cycle([("max_depth", 40.0), ("point_stride", 2), ("stuff_area", 5), ("output_scale", 0.5),
                               ("max_depth", -1.0), ("max_depth", 0.0), ("point_stride", 1), ("stuff_area", 0),
                               ("output_scale", 1.0), ("publish_masks", True)])  # fmt: skip
    asked: list[tuple[float, Any]] = []

    def ask() -> None:
        if sum(not future.done() for _, future in asked[-QUEUE:]) == QUEUE:
            return
        name, value = next(changes)
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        asked.append((float(value), client.call_async(request)))

    timer = stand.node.create_timer(1 / STORM_HZ, ask)
    began, result.sent = time.monotonic(), 0
    while time.monotonic() - began < STORM_S:
        result.sent, result.lost = result.sent + 1, result.lost + stand.through(1)
    stand.node.destroy_timer(timer)
    stand.wait(lambda: all(future.done() for _, future in asked), "answers to all of them")
    stand.node.destroy_client(client)
    stand.set(max_depth=0.0, point_stride=1, stuff_area=0, output_scale=1.0)
    wrong = [value for value, future in asked if future.result().results[0].successful != (value >= 0)]
    result.must(not wrong, f"{len(wrong)} of {len(asked)} answered wrongly")
    result.must(result.lost == 0, f"{result.lost} of {result.sent} frames were lost")
    result.happened = f"all {len(asked)} answered, those out of range refused; every frame came out meanwhile"


def _topics(stand: Stand) -> int:
    """How many topics the node publishes and subscribes to."""
    name, space = NODE[1:], "/"
    publishers = stand.node.get_publisher_names_and_types_by_node(name, space)
    return len(publishers) + len(stand.node.get_subscriber_names_and_types_by_node(name, space))
