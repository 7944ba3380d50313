"""Start dps_node on one camera, or on several.

ros2 launch dps_perception dps.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info rviz:=true
ros2 launch dps_perception dps.launch.py cameras:="front=/front/image_raw, rear=/rear/image_raw"

Every argument is listed by --show-args. What is given on the command line beats params_file.
"""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription

CONFIG = Path(get_package_share_directory("dps_perception")) / "config"
YES_NO = ["true", "false"]
FROM_FILE = "empty: from params_file"
# Arguments that set the node's parameter of the same name where they are given, and its type.
OVERRIDES = {
    "weights": str,
    "device": str,
    "precision": str,
    "image_transport": str,
    "frame_id": str,
    "autostart": bool,
    "use_sim_time": bool,
    "qos_input": str,
    "qos_input_depth": int,
}
SHOWN_IN_RVIZ = ("overlay", "depth_color", "panoptic", "semantic", "confidence", "depth", "points", "markers")


def argument(name: str, default: str, description: str, choices: list[str] | None = None) -> DeclareLaunchArgument:
    """One declared argument."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


ARGUMENTS = [
    argument("name", "dps", "name of the node; its topics are <namespace>/<name>/panoptic, .../depth, .../points, ..."),
    argument("namespace", "", "namespace of the node and of its relative topics"),
    argument("image", "image", "image topic: sensor_msgs/Image or CompressedImage, rectified"),
    argument("camera_info", "camera_info", "sensor_msgs/CameraInfo topic of the same camera"),
    argument(
        "cameras",
        "",
        "several cameras instead: name=image topic, comma separated; camera_info is beside the image, and a name alone "
        "stands for <name>/image",
    ),
    argument("separate", "false", "a node for each of several cameras, named after it, instead of one for all", YES_NO),
    argument("params_file", str(CONFIG / "dps.yaml"), "YAML file with the node's parameters, as config/dps.yaml"),
    argument("weights", "", f"weights file (.safetensors), name of shipped weights, or of a family; {FROM_FILE}"),
    argument("device", "", f"auto, cpu, cuda or cuda:<number>; {FROM_FILE}"),
    argument("precision", "", f"arithmetic of the network; {FROM_FILE}", ["", "auto", "fp32", "bf16", "fp16"]),
    argument("image_transport", "", f"type of the image topic; {FROM_FILE}", ["", "auto", "raw", "compressed"]),
    argument("frame_id", "", f"frame of all outputs instead of the image's; {FROM_FILE}"),
    argument("autostart", "", f"configure and activate at start; {FROM_FILE}", ["", *YES_NO]),
    argument("use_sim_time", "", f"take the time from /clock; {FROM_FILE}", ["", *YES_NO]),
    argument("qos_input", "", f"QoS of the input subscriptions; {FROM_FILE}", ["", "best_effort", "reliable"]),
    argument("qos_input_depth", "", f"how many images may wait for the node; {FROM_FILE}"),
    argument("respawn", "false", "start the node again when it ends by itself, after 2 s", YES_NO),
    argument("log_level", "info", "least severe messages to log", ["debug", "info", "warn", "error", "fatal"]),
    argument("rviz", "false", "open RViz with all outputs", YES_NO),
    argument(
        "rviz_config", str(CONFIG / "dps.rviz"), "RViz configuration; topics of /dps in it follow name, namespace"
    ),
    argument(
        "rviz_frame", "camera_optical_frame", "RViz's fixed frame: the frame_id of the images, or one that TF knows"
    ),
]


def dds_profile() -> list[SetEnvironmentVariable]:
    """Large images get lost between processes with Fast DDS's defaults; a profile the user has set is left alone."""
    old, new = "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"
    profile = CONFIG / "fastdds.xml"
    if os.environ.get(old) or os.environ.get(new) or not profile.is_file():
        return []
    return [SetEnvironmentVariable(old if os.environ.get("ROS_DISTRO") == "humble" else new, str(profile))]


def camera_topics(cameras: str) -> dict[str, tuple[str, str]]:
    """Name -> (image topic, camera_info topic) of a list as the argument `cameras` takes it."""
    found = {}
    for entry in filter(None, (entry.strip() for entry in cameras.split(","))):
        name, _, image = (part.strip() for part in entry.partition("="))
        image = image or f"{name}/image"
        beside = image.removesuffix("/compressed").split("/")[:-1]
        found[name] = (image, "/".join([*beside, "camera_info"]))
    return found


def nodes(context: LaunchContext) -> list[Node]:
    """One node, or one for each camera; parameters given as arguments come after those of the file, and beat them."""
    cameras = camera_topics(LaunchConfiguration("cameras").perform(context))
    name = LaunchConfiguration("name").perform(context)
    if not cameras:
        one = (LaunchConfiguration("image").perform(context), LaunchConfiguration("camera_info").perform(context))
        return [node(context, name, {"image": one[0], "camera_info": one[1]})]
    if LaunchConfiguration("separate").perform(context) == "true":
        return [
            node(context, camera, {"image": image, "camera_info": camera_info})
            for camera, (image, camera_info) in cameras.items()
        ]
    topics = {}
    for camera, (image, camera_info) in cameras.items():
        topics |= {f"{camera}/image": image, f"{camera}/camera_info": camera_info}
    return [node(context, name, topics, {"cameras": ", ".join(cameras)})]


def value_of(name: str, text: str, kind: type) -> str | bool | int:
    """A command-line argument as the parameter's type."""
    if kind is not int:
        return text == "true" if kind is bool else text
    if not text.strip().isdigit():
        raise RuntimeError(f"{name}:={text} must be a whole number")
    return int(text)


def node(context: LaunchContext, name: str, topics: dict[str, str], more: dict[str, str] | None = None) -> Node:
    """A node with these input topics, and `more` parameters."""
    given = {name: LaunchConfiguration(name).perform(context) for name in OVERRIDES}
    overrides = {
        name: ParameterValue(value_of(name, given[name], kind), value_type=kind)
        for name, kind in OVERRIDES.items()
        if given[name] != ""
    } | (more or {})
    return Node(
        package="dps_perception",
        executable="dps_node",
        name=name,
        namespace=LaunchConfiguration("namespace"),
        remappings=list(topics.items()),
        parameters=[LaunchConfiguration("params_file"), *([overrides] if overrides else [])],
        arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
        respawn=LaunchConfiguration("respawn").perform(context) == "true",
        respawn_delay=2.0,
        output="screen",
        emulate_tty=True,
    )


def rviz(context: LaunchContext) -> list[Node]:
    """RViz in the node's time, its topics remapped to the node's; of several cameras it shows the first."""
    name = LaunchConfiguration("name").perform(context)
    if cameras := [*camera_topics(LaunchConfiguration("cameras").perform(context))]:
        alone = LaunchConfiguration("separate").perform(context) == "true"
        name = cameras[0] if alone else f"{name}/{cameras[0]}"
    namespace = LaunchConfiguration("namespace").perform(context).strip("/")
    node_name = f"/{namespace}/{name}" if namespace else f"/{name}"
    simulated = LaunchConfiguration("use_sim_time").perform(context) == "true"
    return [
        Node(
            package="rviz2",
            executable="rviz2",
            name="rviz_dps",
            remappings=[(f"/dps/{topic}", f"{node_name}/{topic}") for topic in SHOWN_IN_RVIZ],
            arguments=["-d", LaunchConfiguration("rviz_config"), "-f", LaunchConfiguration("rviz_frame")],
            parameters=[{"use_sim_time": simulated}],
            condition=IfCondition(LaunchConfiguration("rviz")),
            output="screen",
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """All arguments, the DDS profile, the nodes and RViz."""
    return LaunchDescription(
        [*ARGUMENTS, *dds_profile(), OpaqueFunction(function=nodes), OpaqueFunction(function=rviz)]
    )
