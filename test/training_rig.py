"""A tiny dataset and config for tests that train."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from dps_perception.camera import Intrinsics
from dps_perception.data.dvps import write_sample
from dps_perception.labels import pack
from dps_perception.training import cli
from dps_perception.types import Sample

NETWORK = {"channels": 16, "num_queries": 8, "num_groups": 2}
ROOT = Path(__file__).parents[1]


def write_folder(root, train=3, val=3):
    """A street of sky, road and one car, 64x64."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for i in range(count):
            panoptic = np.zeros((64, 64), np.uint16)
            panoptic[:20] = pack(10, 0)
            panoptic[30:50, 5 + i : 30] = pack(13, 1)
            depth = np.linspace(40, 4, 64, dtype=np.float32)[:, None].repeat(64, 1)
            image = (random.integers(0, 60, (64, 64, 3)) + (panoptic[..., None] // 256) * 12).astype(np.uint8)
            write_sample(root, split, i, 0, Sample(image, panoptic, depth, Intrinsics(70, 70, 31.5, 31.5, 64, 64), ""))
    return root


def arguments(data, output, *more):
    """Command line of a run of two steps; `more` are further options."""
    config = {
        "model": {"changes": NETWORK},
        "data": {"root": str(data), "input_size": [64, 64], "workers": 0, "focal_px": 70.0},
        "optimizer": {"batch_size": 2, "steps": 2, "warmup_steps": 1, "schedule": "poly", "learning_rate": 1e-3},
        "loss": {"points": 64},
        "run": {
            "output": str(output),
            "validate_every": 2,
            "precision": "32-true",
            "accelerator": "cpu",
            "pictures": 0,
        },
    }
    path = Path(output).with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config))
    return ["--config", str(path), *map(str, more)]


def train(data, output, *more):
    """Train in this process; return the weights file."""
    return cli.train(cli.parse(arguments(data, output, *more)))


def run_module(module, argv, processes=0):
    """Run a module as a command of its own, with torchrun where `processes` is given; return its output."""
    start = [sys.executable, "-m"]
    if processes:
        start += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*start, module, *argv], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return result.stdout
