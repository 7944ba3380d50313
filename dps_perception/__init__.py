"""dps_perception: panoptic labels and metric depth from one camera, as a ROS 2 package."""

__version__ = "0.1.0"
