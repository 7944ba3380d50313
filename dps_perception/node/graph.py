"""Questions to the ROS graph that tools ask: which class belongs to a type name, which QoS fits a topic."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from ..errors import DpsError


def split_ros_args(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(our own arguments, those between `--ros-args` and `--`) of a command line.

    Unlike `rclpy.utilities.remove_ros_args` it leaves a plain OLD:=NEW to us.
    """
    own: list[str] = []
    ros: list[str] = []
    inside = False
    for word in words:
        if word == "--ros-args":
            inside = True
        (ros if inside else own).append(word)
        if inside and word == "--":
            inside = False
    return own, ros


class TypeNotInstalledError(DpsError):
    """The package of a message type is not installed here."""


def message_class(type_name: str) -> Any:
    """The Python class of e.g. "sensor_msgs/msg/Image".

    Raises:
        TypeNotInstalledError: the package or the type is not there.
    """
    parts = type_name.split("/")
    if len(parts) != 3 or parts[1] != "msg":
        raise TypeNotInstalledError(f"'{type_name}' is not a message type such as sensor_msgs/msg/Image")
    try:
        return getattr(importlib.import_module(f"{parts[0]}.msg"), parts[2])
    except (ImportError, AttributeError) as error:
        raise TypeNotInstalledError(
            f"message type {type_name} is not installed here ({error}); install or source its package '{parts[0]}'"
        ) from error


def type_name_of(message_type: Any) -> str:
    """E.g. "sensor_msgs/msg/Image" of a message class."""
    return f"{message_type.__module__.split('.')[0]}/msg/{message_type.__name__}"


def message_definition(type_name: str) -> str:
    """Text of the type's .msg file, from the package's share folder.

    Raises:
        TypeNotInstalledError: the package is not installed, or has no such file.
    """
    package, _, name = type_name.split("/")
    try:
        return (Path(get_package_share_directory(package)) / "msg" / f"{name}.msg").read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError) as error:
        raise TypeNotInstalledError(f"no definition of message type {type_name} is installed ({error})") from error


def message_definitions(message_type: Any) -> dict[str, str]:
    """.msg texts by type name, of a message class and of all types nested in it."""
    texts: dict[str, str] = {}
    waiting = [type_name_of(message_type)]
    while waiting:
        name = waiting.pop()
        if name in texts:
            continue
        texts[name] = message_definition(name)
        for field_type in message_class(name).get_fields_and_field_types().values():
            element = field_type.removeprefix("sequence<").split("[")[0].split(",")[0].rstrip(">")
            package, slash, nested = element.partition("/")
            if slash:
                waiting.append(f"{package}/msg/{nested}")
    return texts


def offered_type(node: Node, topic: str) -> str | None:
    """Type name of a topic that somebody publishes, or None."""
    publishers = node.get_publishers_info_by_topic(topic)
    return publishers[0].topic_type if publishers else None


class Awaited:
    """Subscriptions of a node to topics that somebody may publish later: each is made as soon as that is so.

    Args:
        node: that subscribes.
        period_s: how often it looks.
    """

    def __init__(self, node: Node, period_s: float) -> None:
        self._node = node
        self._missing: dict[str, tuple[Callable[[Any], None], type | None, QoSProfile | None]] = {}
        node.create_timer(period_s, self._look)

    def subscribe(
        self, topic: str, callback: Callable[[Any], None], *, kind: type | None = None, qos: QoSProfile | None = None
    ) -> None:
        """Take a topic as the type that is published, or as `kind`; without `qos` as reliably as it is offered."""
        self._missing[topic] = (callback, kind, qos)
        self._look()

    def _look(self) -> None:
        offered = {topic: offered_type(self._node, topic) for topic in self._missing}
        for topic, type_name in offered.items():
            if type_name is not None:
                callback, kind, qos = self._missing.pop(topic)
                self._node.create_subscription(
                    kind or message_class(type_name), topic, callback, qos or matching_qos(self._node, topic)
                )


def topics_published_by(node: Node, name: str) -> list[str]:
    """Topics that the node of that full name publishes; none while it is not there."""
    namespace, _, base = name.rpartition("/")
    try:
        return [topic for topic, _ in node.get_publisher_names_and_types_by_node(base, namespace or "/")]
    except NodeNameNonExistentError:
        return []


def matching_qos(node: Node, topic: str, depth: int = 50) -> QoSProfile:
    """QoS that receives as much as the topic's present publishers offer: reliable and latched only if they all are."""
    offers = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
    latched = bool(offers) and all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def connected(node: Node, subscription: Any, topic: str) -> bool:
    """Whether a subscription has found a publisher (in Humble: whether the topic has one)."""
    if hasattr(subscription, "get_publisher_count"):
        return bool(subscription.get_publisher_count() > 0)
    return bool(node.count_publishers(topic) > 0)
