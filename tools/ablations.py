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
REFERENCE = "8 groups, QDE, TDN"
ROWS: dict[str, list[str]] = {
    REFERENCE: [],
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
    "4 % of the depth, full resolution": ["--data.depth_stride=1"],
}
SPARSE = ("4 % of the depth, full resolution", 0.04)


def result_file(row: str, seed: int) -> Path:
    """Where the scores of a row and seed are kept."""
    return RESULTS / f"{''.join(c if c.isalnum() else '_' for c in row).strip('_')}_seed{seed}.json"


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


def train(row: str, seed: int, data: str, output: Path) -> None:
    """One run; its last validation's scores go to `result_file`."""
    folder = output / result_file(row, seed).stem
    if row == SPARSE[0]:
        data = str(thinned(Path(data)))
    arguments = ["--config", str(ROOT / "config/train/street_ablation.yaml"), *ROWS[row], f"--run.seed={seed}",
                 f"--run.output={folder}", f"--data.root={data}"]  # fmt: skip
    started = time.perf_counter()
    command = [sys.executable, "-m", "dps_perception.training.cli", *arguments]
    with (output / f"{folder.name}.log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    with (folder / "log" / "metrics.csv").open() as file:
        validations = [line for line in csv.DictReader(file) if line.get("val/pq")]
    result = {
        "row": row,
        "seed": seed,
        "options": ROWS[row],
        "seconds": round(time.perf_counter() - started),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "machine": platform.processor() or platform.machine(),
        "scores": {name: float(validations[-1][f"val/{name}"]) for name in COLUMNS},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    beside = result_file(row, seed).with_suffix(".part")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    beside.replace(result_file(row, seed))


def table() -> str:
    """Mean and, from two seeds on, standard deviation over seeds, as Markdown."""
    lines = ["| row | seeds | PQ | PQ things | PQ stuff | DPQ | abs rel |", "|---|---|---|---|---|---|---|"]
    for row in ROWS:
        files = sorted(RESULTS.glob(result_file(row, 0).name.replace("seed0", "seed*")))
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
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, metavar="ROW", default=list(ROWS), help="which (default: all)"
    )
    parser.add_argument("--data", default="data/street_small", help="dataset folder (default: data/street_small)")
    parser.add_argument("--output", type=Path, default=Path("outputs/ablations"), help="checkpoints and logs")
    options = parser.parse_args()
    if options.what == "table":
        print(table())
        return
    options.output.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        for row in options.rows:
            if not result_file(row, seed).exists():
                print(f"{row}, seed {seed}", flush=True)
                train(row, seed, options.data, options.output)


if __name__ == "__main__":
    main()
