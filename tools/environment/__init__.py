"""Making `.venv` on a machine without ROS: what the machine must have, and the steps. Standard library only."""
