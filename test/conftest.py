"""Settings of every test process, made before anything imports rclpy, NumPy or torch."""

import os
import signal
import sys
import tempfile
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_DOMAIN_ID = 101  # above it DDS ports meet those that Linux gives to outgoing connections


def _domain_id() -> int:
    """1..101 (0 is everyone's): one for each worker of a run, and runs at the same time are mostly apart."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    worker = "".join(filter(str.isdigit, os.environ.get("PYTEST_XDIST_WORKER", "gw0")))
    return 1 + (zlib.crc32(run.encode()) + int(worker)) % MAX_DOMAIN_ID


os.environ["ROS_DOMAIN_ID"] = str(_domain_id())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"  # off by default: wrong types would be published as garbage
os.environ.pop("FASTRTPS_DEFAULT_PROFILES_FILE", None)
PROFILE_VARIABLE = "FASTRTPS" if os.environ.get("ROS_DISTRO") in ("humble", "jazzy") else "FASTDDS"
os.environ[f"{PROFILE_VARIABLE}_DEFAULT_PROFILES_FILE"] = str(ROOT / "config" / "fastdds.xml")
os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="dps-test-log-")
os.environ.setdefault("HOME", os.environ["ROS_LOG_DIR"])
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the machine's few cores
os.environ.setdefault("MPLBACKEND", "Agg")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts jobs in the background; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import gc  # noqa: E402

import pytest  # noqa: E402
from backend_fixtures import small_cache, small_dynamic_onnx, small_engine, small_onnx, small_weights  # noqa: E402, F401
from ros_fixtures import recorder, source  # noqa: E402, F401


@pytest.fixture(scope="module", autouse=True)
def no_participant_left():
    """Nodes that are gone refer to themselves until a collection: until then each still tells the next test's processes
    of dozens of services, and fifty of them keep discovery busy for minutes."""
    yield
    if "/dev/shm/fastdds_" in Path("/proc/self/maps").read_text():
        gc.unfreeze()
        gc.collect()
