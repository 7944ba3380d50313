"""Quality of service: the node's profiles, and warnings that name both sides where two can't talk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

from ..data.bag import BagTopic

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

POLICIES: dict[str, dict[str, Any]] = {
    "reliability": {"reliable": QoSReliabilityPolicy.RELIABLE, "best_effort": QoSReliabilityPolicy.BEST_EFFORT},
    "durability": {
        "volatile": QoSDurabilityPolicy.VOLATILE,
        "transient_local": QoSDurabilityPolicy.TRANSIENT_LOCAL,
    },
    "history": {"keep_last": QoSHistoryPolicy.KEEP_LAST, "keep_all": QoSHistoryPolicy.KEEP_ALL},
}
"""Policies by the names that files and parameters give them."""

_REPLAY_DEPTH, _MAX_REPLAY_DEPTH = 10, 1000
LATCHED = QoSProfile(
    history=QoSHistoryPolicy.KEEP_LAST,
    depth=1,
    reliability=QoSReliabilityPolicy.RELIABLE,
    durability=QoSDurabilityPolicy.TRANSIENT_LOCAL,
)


def profile(reliability: str, depth: int) -> QoSProfile:
    """A volatile, keep-last profile; `reliability` is "best_effort" or "reliable"."""
    return QoSProfile(
        history=QoSHistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=POLICIES["reliability"][reliability],
        durability=QoSDurabilityPolicy.VOLATILE,
    )


def publisher_qos(topic: BagTopic, overrides: Mapping[str, Any]) -> QoSProfile:
    """What the publishers of a recorded topic offered, with the policies that `overrides` names instead."""
    depth = max(_REPLAY_DEPTH, topic.depth, topic.message_count if topic.latched else 0)
    asked = {
        "reliability": "reliable" if topic.reliable else "best_effort",
        "durability": "transient_local" if topic.latched else "volatile",
        "history": "keep_last",
        "depth": min(depth, _MAX_REPLAY_DEPTH),
        **overrides,
    }
    return QoSProfile(
        depth=asked["depth"],
        **{name: named[asked[name]] for name, named in POLICIES.items()},
    )


def describe(qos: QoSProfile) -> str:
    """The two policies that decide whether two sides match, such as "best_effort, volatile"."""
    return f"{qos.reliability.name.lower()}, {qos.durability.name.lower()}"


def subscription_events(
    node: Node, topic: str, ours: QoSProfile, cure: str, warn: Callable[[str, str], None]
) -> SubscriptionEventCallbacks:
    """Warn where a publisher of `topic` (full name) can't serve us; `cure` says what the user can do."""

    def incompatible(_: Any) -> None:
        others = _named(node.get_publishers_info_by_topic(topic))
        warn(
            "qos", f"{topic}: publishers offer {others}; this node asks for {describe(ours)}, no messages come. {cure}"
        )

    return SubscriptionEventCallbacks(incompatible_qos=incompatible)


def publisher_events(
    node: Node, topic: str, ours: QoSProfile, cure: str, warn: Callable[[str, str], None]
) -> PublisherEventCallbacks:
    """Warn where a subscriber of `topic` (full name) asks for more than we offer."""

    def incompatible(_: Any) -> None:
        others = _named(node.get_subscriptions_info_by_topic(topic))
        warn(
            "qos", f"{topic}: subscribers ask for {others}; this node offers {describe(ours)}, some get nothing. {cure}"
        )

    return PublisherEventCallbacks(incompatible_qos=incompatible)


def _named(endpoints: Iterable[Any]) -> str:
    return "; ".join(
        f"{e.node_namespace.rstrip('/')}/{e.node_name}: {describe(e.qos_profile)}" for e in endpoints
    ) or "an incompatible profile"  # fmt: skip
