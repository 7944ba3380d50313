"""The access control policy that ships names exactly what the node opens; weights stay in the folder they may be in."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from node_fakes import FakePredictor
from node_rig import rigs
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage

from dps_perception.errors import ConfigError
from dps_perception.models.weights import shipped_weights
from dps_perception.node.weights_folder import check_folder

POLICY = Path(__file__).resolve().parent.parent / "config" / "sros2" / "dps_policy.xml"
SINCE_IRON = {"get_type_description"}


@pytest.fixture
def rig():
    with rigs() as make:
        yield make


def full_name(name, profile):
    """As sros2 takes names: absolute, ~ the node, or below the namespace."""
    namespace = profile.get("ns").rstrip("/")
    if name.startswith("/"):
        return name
    return f"{namespace}/{profile.get('node')}{name[1:]}" if name.startswith("~") else f"{namespace}/{name}"


def allowed():
    """(section, qualifier) -> full names of the only profile; its form is that of sros2's policy.xsd, version 0.2.0."""
    policy = ElementTree.parse(POLICY).getroot()
    assert (policy.tag, policy.attrib) == ("policy", {"version": "0.2.0"})
    for tag in ("enclaves", "enclave", "profiles", "profile"):
        (policy,) = policy
        assert policy.tag == tag
    found = {}
    for section in policy:
        ((qualifier, rule),) = section.attrib.items()
        assert rule == "ALLOW"
        assert qualifier in {"topics": ("publish", "subscribe"), "services": ("reply", "request")}[section.tag]
        assert {entry.tag for entry in section} == {section.tag[:-1]}
        names = [full_name(entry.text, policy) for entry in section]
        assert len(set(names)) == len(names)
        found[section.tag, qualifier] = set(names)
    return found


def opened(r):
    """The same of a running node, as another one sees it."""
    asked = {
        ("topics", "publish"): r.other.get_publisher_names_and_types_by_node,
        ("topics", "subscribe"): r.other.get_subscriber_names_and_types_by_node,
        ("services", "reply"): r.other.get_service_names_and_types_by_node,
        ("services", "request"): r.other.get_client_names_and_types_by_node,
    }
    return {key: {name for name, _ in ask("dps", "/")} for key, ask in asked.items()}


def seen_with(services, **values):
    """What a node with these parameters opens, once as many of its services are known as are looked for."""
    with rigs() as make:
        r = make(**values)
        r.ready()
        r.until(lambda: len(opened(r)["services", "reply"]) >= services, 60)  # the graph comes in its own time
        return opened(r)


def test_the_policy_is_what_the_node_opens():
    """Raw and compressed images, a clock and transforms: together all that it may subscribe to."""
    policy = allowed()
    optional = {f"/dps/{name}" for name in SINCE_IRON}
    services = policy["services", "reply"] - optional
    seen = seen_with(len(services), use_sim_time=True, target_frame="map")
    compressed = seen_with(0, image_type=CompressedImage, image_topic="image/compressed")
    assert policy["topics", "subscribe"] == seen["topics", "subscribe"] | compressed["topics", "subscribe"]
    assert policy["topics", "publish"] == seen["topics", "publish"]
    assert services == seen["services", "reply"] - optional
    assert seen["services", "request"] == policy.get(("services", "request"), set()) == set()


def test_weights_outside_of_their_folder_are_refused(tmp_path):
    inside, outside = tmp_path / "models" / "a.safetensors", tmp_path / "b.safetensors"
    inside.parent.mkdir()
    outside.touch()
    inside.touch()
    link = inside.with_name("link.safetensors")
    link.symlink_to(outside)
    folder = str(inside.parent)
    check_folder(str(inside), folder)
    check_folder("", folder)
    for name in (*shipped_weights(), "panopticdepth"):
        check_folder(name, folder)
    check_folder(str(outside), "")
    for name in (outside, link, inside.parent / ".." / "b.safetensors", tmp_path / "models2" / "c.onnx", "/etc/passwd"):
        with pytest.raises(ConfigError, match=rf"weights_folder={folder}"):
            check_folder(str(name), folder)


def test_weights_folder_holds_at_start_and_later(rig, tmp_path):
    (tmp_path / "b.safetensors").touch()
    refused = rig(weights_folder=str(tmp_path / "models"), weights=str(tmp_path / "b.safetensors"))
    refused.until(lambda: "weights_folder" in refused.node.health.failure)
    assert refused.loaded == []
    r = rig(weights_folder=str(tmp_path / "models"), load=FakePredictor)
    r.until(lambda: r.node.state == "active")
    (result,) = r.node.set_parameters([Parameter("weights", value=str(tmp_path / "b.safetensors"))])
    assert not result.successful
    assert "weights_folder" in result.reason
    (result,) = r.node.set_parameters([Parameter("weights_folder", value="")])
    assert not result.successful
