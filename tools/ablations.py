"""Ablations: `run` trains the rows of a family's table with dps_train (resumable), `switch` scores shipped weights that
predict otherwise than they learnt, and `table` writes both as Markdown.

Each row and seed leaves one small JSON file in docs/ablations; the tables are made from these files alone.
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
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dps_perception.models.families import build
from dps_perception.models.weights import find_weights, load_weights, save_weights

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
SWITCHES: dict[str, dict[str, dict[str, Any]]] = {
    "panopticdepth": {"as shipped": {}, "without kernel fusion": {"kernel_fusion": False}},
    "realtime_panoptic": {"as shipped": {}, "without levelness": {"levelness": False}},
}
"""Family -> rows -> what of the shipped network's config each changes when it predicts; it learnt as shipped."""
TEST_DATA = "street:test"


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
    write(kept, {
        "row": row,
        "seed": seed,
        "options": options,
        "seconds": round(time.perf_counter() - started),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "machine": platform.processor() or platform.machine(),
        "scores": {name: float(validations[-1][f"val/{name}"]) for name in COLUMNS},
    })  # fmt: skip


def switch(family: str, row: str) -> None:
    """Score the shipped weights of a family with a row's changes."""
    network, info = load_weights(find_weights(family))
    config = replace(info.config, **SWITCHES[family][row])
    changed = build(config)
    own = changed.state_dict()
    changed.load_state_dict({name: tensor for name, tensor in network.state_dict().items() if name in own})
    with tempfile.TemporaryDirectory() as folder:
        weights, scores = Path(folder) / "switched.safetensors", Path(folder) / "scores.json"
        save_weights(weights, changed, replace(info, config=config))
        command = [sys.executable, "-m", "dps_perception.inference.evaluate", TEST_DATA, "--weights", str(weights),
                   "--json", str(scores)]  # fmt: skip
        subprocess.run(command, check=True)
        report = json.loads(scores.read_text())
    panoptic, found = report["scores"]["panoptic"], report["scores"]
    by_kind = [panoptic[kind]["pq"] for kind in ("all", "things", "stuff")]
    write(switched_file(family, row), {
        "row": row,
        "weights": info.model_id,
        "changes": SWITCHES[family][row],
        "data": report["dataset"],
        "inference": report["inference"],
        "scores": dict(zip(COLUMNS, [*by_kind, found["dpq"]["mean"], found["depth"]["abs_rel"]], strict=True)),
    })  # fmt: skip


def switched_file(family: str, row: str) -> Path:
    """Where the scores of `switch` are kept."""
    return RESULTS / family / f"switched_{row.replace(' ', '_')}.json"


def write(path: Path, result: dict[str, Any]) -> None:
    """Keep a result, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(result, indent=1) + "\n")
    beside.replace(path)


def tables(family: str) -> str:
    """What was trained, and below what was switched, as Markdown."""
    trained = {}
    for row in STUDIES[family]:
        first = result_file(family, row, 0)
        trained[row] = sorted(first.parent.glob(first.name.replace("seed0", "seed*")))
    switched = {row: [switched_file(family, row)] for row in SWITCHES.get(family, {})}
    return "\n\n".join(table(rows) for rows in (trained, switched) if rows)


def table(rows: dict[str, Iterable[Path]]) -> str:
    """Mean and, from two files on, standard deviation over the files of each row that has any."""
    lines = ["| row | runs | PQ | PQ things | PQ stuff | DPQ | abs rel |", "|---|---|---|---|---|---|---|"]
    for row, files in rows.items():
        scores = [json.loads(path.read_text())["scores"] for path in files if path.exists()]
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
    """Run what is missing, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "switch", "table"))
    parser.add_argument("--seeds", type=int, default=2, help="runs of each row (default: 2)")
    parser.add_argument("--family", choices=STUDIES, default="efficientdps", help="default: efficientdps")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="which (default: all)")
    parser.add_argument("--data", default="data/street_small", help="dataset folder (default: data/street_small)")
    parser.add_argument("--output", type=Path, default=Path("outputs/ablations"), help="checkpoints and logs")
    options = parser.parse_args()
    if options.what == "table":
        print(tables(options.family))
        return
    if options.what == "switch":
        if options.family not in SWITCHES or options.rows:
            parser.error(f"switch takes no --rows, and --family {' or '.join(SWITCHES)}")
        for row in SWITCHES[options.family]:
            if not switched_file(options.family, row).exists():
                switch(options.family, row)
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
