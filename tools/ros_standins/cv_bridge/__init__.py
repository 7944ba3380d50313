"""Stand-in for ROS 2's Python cv_bridge, for environments made from wheels only (see ../README.md)."""

from .core import CvBridge, CvBridgeError

__version__ = "0.0.0+dps.standin"
__all__ = ["CvBridge", "CvBridgeError"]
