"""Fusion on GPUs: run by Triton's interpreter, compiled for a GPU that need not be there, run where there is one."""

import json
import os
import subprocess
import sys

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton exists for Linux only")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from dps_perception.kernels import fusion_triton  # noqa: E402
from dps_perception.models import plain_fusion  # noqa: E402
from dps_perception.types import OutputGrid  # noqa: E402

INTERPRETED = """
import json, sys, torch
from dps_perception.kernels import fusion_triton
from dps_perception.models import plain_fusion
from dps_perception.types import OutputGrid

random = torch.Generator().manual_seed(0)
masks, depths = (torch.randn((6, 6, 11), generator=random) * 4 for _ in range(2))
one, queries = depths[:1], torch.tensor([0, 2, 3, 5])
found = []
for grid in (OutputGrid(45, 80, 0.9, 0.95), OutputGrid(8, 33, 6.0, 2.5)):
    for maps, backup, by_query in ((depths, None, True), (depths, one, True), (one, None, False), (None, None, False)):
        given = masks, maps, backup, queries, grid, 8, 0.5
        ours, plain = (each.dense(*given, depth_by_query=by_query) for each in (fusion_triton, plain_fusion))
        assert (ours.depth is None) == (plain.depth is None)
        found.append({
            "owner": int((ours.owner != plain.owner).sum()),
            "probability": float((ours.probability - plain.probability).abs().max()),
            "depth": 0.0 if maps is None else float((ours.depth - plain.depth).abs().max()),
            "owned": int((ours.owned - plain.owned).abs().sum()),
            "own_mask": int((ours.own_mask - plain.own_mask).abs().sum()),
        })
print(json.dumps(found))
"""


def test_equals_plain_fusion_in_the_interpreter():
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    run = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert len(found) == 8
    for errors in found:
        assert errors["owner"] == errors["owned"] == errors["own_mask"] == 0
        assert errors["probability"] < 2e-6
        assert errors["depth"] < 5e-6


@pytest.mark.parametrize(("mode", "backup"), [(0, False), (1, False), (2, False), (2, True)])
def test_compiles_for_a_gpu(mode, backup):
    kinds = dict.fromkeys(("masks", "depths", "backup", "probability", "depth"), "*fp32") | {"queries": "*i64"}
    kinds |= dict.fromkeys(("owner", "owned", "own_mask"), "*i32")
    kinds |= dict.fromkeys(("step_y", "step_x", "threshold", "far"), "fp32")
    constants = {"mode": mode, "with_backup": backup, "block_rows": 8, "block_columns": 32}
    signature = {n: "constexpr" if n in constants else kinds.get(n, "i32") for n in fusion_triton._fuse.arg_names}
    source = ASTSource(fn=fusion_triton._fuse, signature=signature, constexprs=constants)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert len(built.asm["cubin"]) > 1000
    assert built.metadata.shared < 48 * 1024


@pytest.mark.gpu
@pytest.mark.parametrize("backup", [False, True])
def test_equals_plain_fusion_on_a_gpu(backup):
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    random = torch.Generator("cuda").manual_seed(1)
    masks, depths, one = (torch.randn((n, 32, 64), device="cuda", generator=random) * 5 - 4 for n in (50, 50, 1))
    queries = torch.arange(3, 43, device="cuda")
    given = masks, depths, one if backup else None, queries, OutputGrid(333, 512, 0.75, 1.0), 8, 0.5
    ours, plain = (each.dense(*given, depth_by_query=True) for each in (fusion_triton, plain_fusion))
    assert (ours.owner != plain.owner).float().mean() < 1e-4
    torch.testing.assert_close(ours.probability, plain.probability, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.depth, plain.depth, atol=1e-5, rtol=0)
    assert (ours.owned - plain.owned).abs().sum() < 20
