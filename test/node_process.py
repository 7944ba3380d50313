"""dps_node in a process of its own, for tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Process:
    """dps_node with its output in a file."""

    def __init__(self, folder, *arguments):
        self.log = folder / "log.txt"
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "dps_perception.node.main", *arguments],
                stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder,
            )  # fmt: skip

    def text(self):
        return self.log.read_text()

    def memory_mb(self):
        """Resident memory [MiB]."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) // 1024

    def end(self, signal_number):
        self.popen.send_signal(signal_number)
        return self.popen.wait(20)

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
