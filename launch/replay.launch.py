"""Play a bag through dps_node, with RViz, recording and live evaluation; ends by itself when the bag has ended.

ros2 launch dps_perception replay.launch.py bag:=/path/to/bag rviz:=true record:=/path/to/results

Every argument is listed by --show-args. Topics and ground truth are found in the bag where they are unambiguous. The
time is that of the recording (/clock). Without `ros2 launch`: dps_replay BAG --node does the same.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from dps_perception.node.replay_plan import CLOCK_HZ, NODE, make_plan
from launch import LaunchContext, LaunchDescription

SHARE = get_package_share_directory("dps_perception")
YES_NO = ["true", "false"]
# Arguments that go to dps.launch.py as they are.
FORWARDED = ("params_file", "weights", "rviz", "rviz_frame", "log_level")
# How long the node may still work on the last frames when the bag has ended [s].
REST_S = 3.0


def argument(
    name: str, default: str | None, description: str, choices: list[str] | None = None
) -> DeclareLaunchArgument:
    """One declared argument; without a default it is required."""
    return DeclareLaunchArgument(name, default_value=default, description=description, choices=choices)


ARGUMENTS = [
    argument("bag", None, "rosbag2 folder, or a single .mcap or .db3 file"),
    argument("image", "", "Image or CompressedImage topic; empty: the one in the bag"),
    argument("camera_info", "", "CameraInfo topic of that image; empty: the one in the bag"),
    argument("rate", "1.0", "recorded seconds per second"),
    argument("loop", "false", "start again at the end, until Ctrl-C", YES_NO),
    argument("start_offset", "0.0", "skip so many seconds of the recording"),
    argument("every_frame", "false", "let the bag wait for the node, so that each frame is processed", YES_NO),
    argument(
        "clock", str(CLOCK_HZ), "how often a second the time of the recording comes on /clock; the node runs on it"
    ),
    argument("params_file", f"{SHARE}/config/dps.yaml", "YAML file with the node's parameters, as config/dps.yaml"),
    argument(
        "weights", "", "weights file (.safetensors), shipped weights or a family by name; empty: from params_file"
    ),
    argument("rviz", "true", "open RViz with all outputs", YES_NO),
    argument("rviz_frame", "camera_optical_frame", "RViz's fixed frame: the frame_id of the images, or one TF knows"),
    argument("view", "", "file for the Rerun viewer (.rrd) to write all outputs to; empty: none"),
    argument(
        "evaluate",
        "auto",
        "running PQ and DPQ against the bag's ground truth; auto: where it has some",
        ["auto", *YES_NO],
    ),
    argument("record", "", "bag to record images, ground truth and all outputs to; empty: none"),
    argument("log_level", "info", "least severe messages to log", ["debug", "info", "warn", "error", "fatal"]),
]


def actions(context: LaunchContext) -> list:
    """The node by its own launch file, and the commands around it."""
    given = {item.name: LaunchConfiguration(item.name).perform(context) for item in ARGUMENTS}
    plan = make_plan(
        Path(given["bag"]),
        image=given["image"],
        camera_info=given["camera_info"],
        evaluate=given["evaluate"],
        every_frame=given["every_frame"] == "true",
        record=Path(given["record"]) if given["record"] else None,
        view=given["view"] or None,
    )
    node = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(f"{SHARE}/launch/dps.launch.py"),
        launch_arguments={
            **{name: given[name] for name in FORWARDED},
            **plan.node_parameters(),
            "name": NODE.removeprefix("/"),
            "image": plan.image,
            "camera_info": plan.camera_info,
        }.items(),
    )
    pace = [word for name in ("rate", "start_offset", "clock") for word in (f"--{name.replace('_', '-')}", given[name])]
    loop = ["--loop"] if given["loop"] == "true" else []
    replay = command("dps_replay", *plan.replay_words(), *pace, *loop, "--disable-keyboard-controls")
    watchers = [command("dps_evaluate_live", *plan.evaluation_words())]
    if plan.record is not None:
        watchers.append(command("dps_record", *plan.record_words()))
    if plan.view is not None:
        watchers.append(command("dps_view", *plan.view_words()))
    end = TimerAction(period=REST_S, actions=[Shutdown(reason="the bag has ended")])
    return [node, *watchers, replay, RegisterEventHandler(OnProcessExit(target_action=replay, on_exit=[end]))]


def command(name: str, *words: str) -> Node:
    """One of our commands as a process of the launch; Ctrl-C ends it in order, with what it has written."""
    # A recorder may have to write out much: more time than launch's 5 s until SIGTERM.
    return Node(package="dps_perception", executable=name, arguments=[*words], output="screen", sigterm_timeout="20")


def generate_launch_description() -> LaunchDescription:
    """All arguments, and what they ask for."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=actions)])
