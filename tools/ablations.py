"""Train the rows of the ablation table with dps_train and write the table: `run` (resumable) and `table`.

Each run leaves one small JSON file in docs/ablations; the table is made from these files alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "ablations"
COLUMNS = ("pq", "pq_things", "pq_stuff", "dpq", "abs_rel")
SPARSE = ("4 % of the depth, full resolution", 0.04)
STUDIES: dict[str, dict[str, list[str]]] = {
    "efficientdps": {
        "8 groups, QDE, TDN": [],
        "1 group, QDE, TDN": ["--model.changes.num_groups=1"],
        "4 groups, QDE, TDN": ["--model.changes.num_groups=4"],
        "1 group, QDE": ["--model.changes.num_groups=1", "--model.changes.task_decoupled=false"],
        "8 groups, QDE": ["--model.changes.task_decoupled=false"],
        "8 groups": ["--model.changes.query_wise_depth=false"],
        "+ backup depth query": ["--model.changes.backup_depth=true"],
        "+ depth at full resolution": ["--data.depth_stride=1"],
        "+ boundary triplet": ["--loss.boundary_triplet=0.1"],
        "+ depth continuity": ["--loss.depth_continuity=1.0"],
        "+ EMA 0.98": ["--run.ema_decay=0.98"],
        "+ balanced mask points": ["--loss.balance=0.5"],
        "- focus": ["--loss.focus=0"],
        "- dense semantics": ["--model.changes.auxiliary_semantic=false"],
        SPARSE[0]: ["--data.depth_stride=1"],
    },
    "panopticdepth": {
        "F: T2, instance loss": [],
        "E: T1, instance loss": ["--model.changes.depth_normalisation=T1"],
        "D: T2": ["--panopticdepth_loss.instance_depth=0"],
        "C: T1": ["--model.changes.depth_normalisation=T1", "--panopticdepth_loss.instance_depth=0"],
        "B: by instance, not normalised": ["--model.changes.depth_normalisation="],
        "A: one depth map": ["--model.changes.depth=dense"],
        "F without kernel fusion": ["--model.changes.kernel_fusion=false"],
    },
    "realtime_panoptic": {
        "levelness, mask loss": [],
        "without levelness": ["--model.changes.levelness=false"],
        "without mask loss": ["--realtime_panoptic_loss.mask=0"],
        "without both": ["--model.changes.levelness=false", "--realtime_panoptic_loss.mask=0"],
        "one tower": ["--model.changes.two_towers=false"],
        "weakly supervised": ["--realtime_panoptic_loss.weakly_supervised=true"],
    },
}
"""Family -> rows of its table -> what each changes of the first."""


def config_file(family: str) -> Path:
    """What the rows of a family share."""
    name = "street_ablation" if family == "efficientdps" else f"street_ablation_{family}"
    return ROOT / "config" / "train" / f"{name}.yaml"


def result_file(family: str, row: str, seed: int) -> Path:
    """Where the scores of a row and seed are kept."""
    folder = RESULTS if family == "efficientdps" else RESULTS / family
    return folder / f"{''.join(c if c.isalnum() else '_' for c in row).strip('_')}_seed{seed}.json"


def thinned(data: Path) -> Path:
    """A copy of the dataset whose training depth keeps one pixel in 25, as a LiDAR would give it."""
    sparse = data.with_name(f"{data.name}_sparse")
    if sparse.exists():
        return sparse
    part = data.with_name(f"{data.name}_sparse.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(data, part)
    for path in sorted((part / "train").glob("*_depth.png")):
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        random = np.random.default_rng(list(path.name.encode()))
        depth[random.random(depth.shape) >= SPARSE[1]] = 0
        cv2.imwrite(str(path), depth)
    part.rename(sparse)
    return sparse


def train(family: str, row: str, seed: int, data: str, output: Path) -> None:
    """One run; its last validation's scores go to `result_file`."""
    kept = result_file(family, row, seed)
    folder = output / f"{family}_{kept.stem}"
    if row == SPARSE[0]:
        data = str(thinned(Path(data)))
    options = STUDIES[family][row]
    arguments = ["--config", str(config_file(family)), *options, f"--run.seed={seed}", f"--run.output={folder}",
                 f"--data.root={data}"]  # fmt: skip
    started = time.perf_counter()
    command = [sys.executable, "-m", "dps_perception.training.cli", *arguments]
    with (output / f"{folder.name}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    with (folder / "log" / "metrics.csv").open() as file:
        validations = [line for line in csv.DictReader(file) if line.get("val/pq")]
    result = {
        "row": row,
        "seed": seed,
        "options": options,
        "seconds": round(time.perf_counter() - started),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "machine": platform.processor() or platform.machine(),
        "scores": {name: float(validations[-1][f"val/{name}"]) for name in COLUMNS},
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_suffix(".part")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    beside.replace(kept)


def table(family: str) -> str:
    """Mean and, from two seeds on, standard deviation over seeds, as Markdown."""
    lines = ["| row | seeds | PQ | PQ things | PQ stuff | DPQ | abs rel |", "|---|---|---|---|---|---|---|"]
    for row in STUDIES[family]:
        first = result_file(family, row, 0)
        files = sorted(first.parent.glob(first.name.replace("seed0", "seed*")))
        scores = [json.loads(path.read_text())["scores"] for path in files]
        if not scores:
            continue
        cells = []
        for name in COLUMNS:
            values = [s[name] for s in scores]
            digits = 3 if name == "abs_rel" else 1
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.{digits}f}{spread}")
        lines.append(f"| {row} | {len(scores)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "table"))
    parser.add_argument("--seeds", type=int, default=2, help="runs of each row (default: 2)")
    parser.add_argument("--family", choices=STUDIES, default="efficientdps", help="default: efficientdps")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="which (default: all)")
    parser.add_argument("--data", default="data/street_small", help="dataset folder (default: data/street_small)")
    parser.add_argument("--output", type=Path, default=Path("outputs/ablations"), help="checkpoints and logs")
    options = parser.parse_args()
    if options.what == "table":
        print(table(options.family))
        return
    rows = options.rows or list(STUDIES[options.family])
    if unknown := set(rows) - set(STUDIES[options.family]):
        parser.error(f"no row {sorted(unknown)} of {options.family}; there are {', '.join(STUDIES[options.family])}")
    options.output.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for row in rows:
            if not result_file(options.family, row, seed).exists():
                print(f"{row}, seed {seed}", flush=True)
                train(options.family, row, seed, options.data, options.output)


if __name__ == "__main__":
    main()
