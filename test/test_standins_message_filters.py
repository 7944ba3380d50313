"""The stand-in for message_filters pairs as ROS 2's own does; stamps worked out by hand."""

import message_filters
import pytest
import rclpy
from builtin_interfaces.msg import Time as TimeMsg
from rclpy.time import Time
from sensor_msgs.msg import Image
from std_msgs.msg import String

if "standin" not in getattr(message_filters, "__version__", ""):
    pytest.skip("the real message_filters is installed", allow_module_level=True)

MS = 1_000_000


def image(ms):
    message = Image()
    message.header.stamp = TimeMsg(sec=ms // 1000, nanosec=ms % 1000 * MS)
    return message


def pairs_of(synchronizer):
    """Milliseconds of each set the synchronizer hands on."""
    sets = []

    def take(*messages):
        sets.append(tuple(Time.from_msg(m.header.stamp).nanoseconds // MS for m in messages))

    synchronizer.registerCallback(take)
    return sets


def two_inputs():
    return message_filters.SimpleFilter(), message_filters.SimpleFilter()


def test_callbacks_get_messages_then_their_own_arguments_in_order_of_registration():
    source, calls = message_filters.SimpleFilter(), []
    assert source.registerCallback(lambda *a: calls.append(("first", *a)), 1, 2) == 0
    assert source.registerCallback(lambda *a: calls.append(("second", *a))) == 1
    source.signalMessage("message")
    assert calls == [("first", "message", 1, 2), ("second", "message")]


def test_equal_stamps_pair_in_either_order_of_arrival():
    a, b = two_inputs()
    sets = pairs_of(message_filters.TimeSynchronizer([a, b], 5))
    a.signalMessage(image(10))
    b.signalMessage(image(11))
    assert sets == []
    b.signalMessage(image(10))
    a.signalMessage(image(11))
    assert sets == [(10, 10), (11, 11)]
    b.signalMessage(image(10))  # its partner has been used
    assert sets == [(10, 10), (11, 11)]


def test_queue_drops_the_oldest_stamp_not_the_oldest_arrival():
    a, b = two_inputs()
    sets = pairs_of(message_filters.TimeSynchronizer([a, b], 2))
    for ms in (30, 10, 20):  # 10 goes
        a.signalMessage(image(ms))
    for ms in (10, 20, 30):
        b.signalMessage(image(ms))
    assert sets == [(20, 20), (30, 30)]


def test_approximate_pairs_only_strictly_within_the_slop():
    a, b = two_inputs()
    sets = pairs_of(message_filters.ApproximateTimeSynchronizer([a, b], 5, 0.02))
    a.signalMessage(image(100))
    b.signalMessage(image(120))  # 20 ms apart: not closer than the slop
    assert sets == []
    b.signalMessage(image(119))
    assert sets == [(100, 119)]


def test_approximate_prefers_the_message_nearest_to_the_newcomer():
    a, b = two_inputs()
    sets = pairs_of(message_filters.ApproximateTimeSynchronizer([a, b], 5, 0.05))
    for ms in (100, 130, 160):
        a.signalMessage(image(ms))
    b.signalMessage(image(140))
    assert sets == [(130, 140)]
    b.signalMessage(image(141))  # 130 is used: 160 is 19 away, 100 is 41 away
    assert sets == [(130, 140), (160, 141)]


def test_approximate_of_three_needs_all_three_close_together():
    filters = [message_filters.SimpleFilter() for _ in range(3)]
    sets = pairs_of(message_filters.ApproximateTimeSynchronizer(filters, 5, 0.03))
    filters[0].signalMessage(image(100))
    filters[1].signalMessage(image(140))
    filters[2].signalMessage(image(120))  # near both, but they are 40 apart
    assert sets == []
    filters[1].signalMessage(image(115))
    assert sets == [(100, 115, 120)]


def test_messages_without_a_header_pair_by_arrival_only_where_allowed():
    a, b = two_inputs()
    counts = []
    for allow in (False, True):
        synchronizer = message_filters.ApproximateTimeSynchronizer([a, b], 5, 60.0, allow_headerless=allow)
        synchronizer.registerCallback(lambda first, second, allow: counts.append(allow), allow)
    a.signalMessage(String(data="a"))
    b.signalMessage(String(data="b"))
    assert counts == [True]


def test_cache_holds_the_latest_and_finds_by_time():
    source = message_filters.SimpleFilter()
    cache = message_filters.Cache(source, 3)
    assert cache.getLast() is None
    messages = {ms: image(ms) for ms in (10, 20, 30, 40)}
    for message in messages.values():
        source.signalMessage(message)

    def at(ms):
        return Time.from_msg(image(ms).header.stamp)

    assert cache.getOldestTime() == at(20)
    assert cache.getLast() is messages[40]
    assert cache.getInterval(at(25), at(40)) == [messages[30], messages[40]]
    assert cache.getElemBeforeTime(at(35)) is messages[30]
    assert cache.getElemAfterTime(at(35)) is messages[40]
    assert cache.getElemAfterTime(at(41)) is None


def test_subscriber_hands_on_what_a_real_publisher_sends():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("standin_subscriber", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        got = []
        subscriber = message_filters.Subscriber(node, String, "words", qos_profile=1)
        subscriber.registerCallback(got.append)
        publisher = node.create_publisher(String, "words", 1)
        assert subscriber.getTopic() == "words"
        assert subscriber.topic_name == "/words"  # the subscription's own attributes shine through
        for _ in range(100):
            if publisher.get_subscription_count():
                break
            executor.spin_once(timeout_sec=0.1)
        publisher.publish(String(data="hello"))
        for _ in range(100):
            if got:
                break
            executor.spin_once(timeout_sec=0.1)
        assert [message.data for message in got] == ["hello"]
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
