"""What is measured, and against what: `dps_benchmark`."""
