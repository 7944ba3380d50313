"""Networks and fusion: torch only, no ROS, no runtimes."""
