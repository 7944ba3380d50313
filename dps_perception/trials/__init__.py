"""What the node lives through: faults are injected into the real one from outside, and it runs for a long time."""
