"""Which topics of a bag become samples, and how their pixels are read."""

from __future__ import annotations

import io
from array import array
from pathlib import Path

import cv2
import numpy as np
import pytest
from dataset_fixtures_bag import (
    CAMERA,
    DEPTH,
    IMAGE,
    START_NS,
)
from PIL import ExifTags, Image

from dps_perception.data.bag_dataset import BagDataset
from dps_perception.data.bag_messages import COLOR_ENCODINGS, decode_rgb
from dps_perception.data.bag_topics import BagTopics
from dps_perception.data.bag_writer import BagWriter
from dps_perception.data.drive_bag import write_camera_info, write_image
from dps_perception.errors import ConfigError, DatasetError, ImageError


def write_images(path: Path, *topics: tuple[str, str, str]) -> Path:
    """One message of each (topic, encoding, frame), and camera_info beside the first."""
    kinds = {"rgb8": IMAGE, "mono8": IMAGE[..., 0], "32FC1": DEPTH}
    with BagWriter(path) as writer:
        write_camera_info(writer, f"{topics[0][0].rpartition('/')[0]}/camera_info", START_NS, CAMERA, topics[0][2])
        for topic, encoding, frame in topics:
            write_image(writer, topic, START_NS, kinds[encoding], encoding, frame)
    return path


def test_grey_and_foreign_depth_give_way(tmp_path):
    path = write_images(
        tmp_path / "bag",
        ("/color/image_raw", "rgb8", "color"),
        ("/infra/image_raw", "mono8", "infra"),
        ("/depth/image_raw", "32FC1", "infra"),
        ("/aligned/image_raw", "32FC1", "color"),
    )
    sample = BagDataset(path)[0]
    assert (sample.image == 7).all()
    np.testing.assert_array_equal(sample.depth_m, DEPTH)


def test_compressed_beside_raw_counts_once_and_is_read_where_named(tmp_path):
    path = tmp_path / "bag"
    jpeg = np.frombuffer(cv2.imencode(".png", IMAGE[..., ::-1])[1].tobytes(), np.uint8)
    with BagWriter(path) as writer:
        write_camera_info(writer, "/c/camera_info", START_NS, CAMERA, "o")
        write_image(writer, "/c/image", START_NS, IMAGE, "rgb8", "o")
        write_image(writer, "/c/depth", START_NS, DEPTH, "32FC1", "o")
        kind = "sensor_msgs/msg/CompressedImage"
        message = writer.new(kind, header=writer.header(START_NS, "o"), format="rgb8; png compressed bgr8", data=jpeg)
        writer.write("/c/image/compressed", kind, START_NS, message)
    for topic in ("", "/c/image/compressed"):
        np.testing.assert_array_equal(BagDataset(path, topics=BagTopics(image=topic))[0].image, IMAGE)


@pytest.mark.parametrize(
    ("topics", "asked", "told"),
    [
        (
            [("/left/image", "rgb8", "l"), ("/right/image", "rgb8", "r")],
            {},
            r"2 topics could be the image.*name one of /left/image, /right/image as topics\.image.*"
            r"/right/image \[sensor_msgs/msg/Image\] x1",
        ),
        ([("/d/image", "32FC1", "o")], {}, r"no topic is the image \(.*/d/camera_info \[sensor_msgs/msg/CameraInfo\]"),
        ([("/c/image", "rgb8", "o")], {"depth": "/c/depht"}, r"no topic '/c/depht'.*/c/image \[sensor_msgs"),
        (
            [("/c/image", "rgb8", "o")],
            {"image": "/c/camera_info"},
            r"'/c/camera_info' \[sensor_msgs/msg/CameraInfo\] can't be the image topic, which is sensor_msgs/msg/Image",
        ),
        (
            [("/c/image", "rgb8", "o"), ("/c/d1", "32FC1", "o"), ("/c/d2", "32FC1", "o")],
            {},
            r"2 topics could be the depth.*/c/d1, /c/d2",
        ),
        ([("/c/image", "rgb8", "o")], {}, r"no topic with depth \(1 images\); topics used: /c/image, /c/camera_info"),
        ([("/c/image", "rgb8", "o"), ("/c/d", "32FC1", "other")], {}, "no topic with depth"),
    ],
)
def test_unclear_topics_list_those_there_are(tmp_path, topics, asked, told):
    path = write_images(tmp_path / "bag", *topics)
    with pytest.raises(DatasetError, match=told):
        BagDataset(path, topics=BagTopics(**asked))


def test_depth_and_cloud_at_once_are_refused():
    with pytest.raises(ConfigError, match=r"an image \('/d'\) or a cloud \('/p'\): give one"):
        BagTopics(depth="/d", cloud="/p")


def test_what_the_node_accepts_is_read_alike():
    """Every encoding of the node, against the node's own decoder, on random pixels with padded rows."""
    node = pytest.importorskip("dps_perception.node.decode")
    message_type = pytest.importorskip("sensor_msgs.msg").Image
    assert set(node.ENCODINGS) <= set(COLOR_ENCODINGS)
    decoder, random = node.Decoder(), np.random.default_rng(0)
    for encoding in node.ENCODINGS:
        message = message_type(height=6, width=8, step=node.least_step(encoding, 8) + 2, encoding=encoding)
        needed = node.needed_bytes(encoding, 6, message.step)
        message.data.frombytes(random.integers(0, 256, needed, np.uint8).tobytes())
        np.testing.assert_allclose(
            decode_rgb(message).astype(int), decoder.rgb(message).astype(int), atol=1, err_msg=encoding
        )


def test_compressed_images_are_read_and_refused_as_by_the_node():
    """The 8x6 image lies in the file as the camera took it; EXIF says that it was turned, camera_info doesn't."""
    node = pytest.importorskip("dps_perception.node.decode")
    message_type = pytest.importorskip("sensor_msgs.msg").CompressedImage
    decoder, turned = node.Decoder(), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    stream = io.BytesIO()
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(6, 8, 3)).save(stream, "JPEG", exif=turned)
    whole = stream.getvalue()
    read = [decode(message_type(format="jpeg", data=array("B", whole))) for decode in (decode_rgb, decoder.rgb)]
    np.testing.assert_array_equal(*read)
    assert read[0].shape == (6, 8, 3)
    for format_, data in (("jpeg", whole[:-2]), ("jpeg", b"GIF"), ("32FC1; compressedDepth png", whole)):
        told = []
        for decode in (decode_rgb, decoder.rgb):
            with pytest.raises(ImageError) as error:
                decode(message_type(format=format_, data=array("B", data)))
            told.append(str(error.value))
        assert told[0] == told[1]
