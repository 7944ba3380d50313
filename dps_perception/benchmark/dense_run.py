"""The part of fusion that works on each pixel, beside the same in plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..kernels import fusion as fusion_kernel
from ..labels import LabelSpace
from ..models import plain_fusion
from ..models.efficientdps import STRIDE
from ..models.fusion import device_dense
from ..models.segments import FusionThresholds
from ..types import OutputGrid
from .synthetic import Look, network_outputs
from .timing import Effort, Stopwatch, repeat, stage_of

HEADER = ["best query, depth and areas for each pixel", "plain PyTorch [ms]", "kernel [ms]", "ratio"]


@dataclass(frozen=True)
class FusionRatio:
    """The kernel that works on each pixel beside the same in plain PyTorch, which upsamples every mask: medians."""

    subject: str
    plain_ms: float
    kernel_ms: float

    def cells(self) -> list[str]:
        """The row under `HEADER`."""
        ratio = f"{self.plain_ms / self.kernel_ms:.0f}x"
        return [self.subject, f"{self.plain_ms:.0f}", f"{self.kernel_ms:.1f}", ratio]


def measure_dense(
    space: LabelSpace, size_hw: tuple[int, int], look: Look, effort: Effort, device: torch.device
) -> FusionRatio:
    """The part of fusion that works on each pixel, of the same synthetic tensors, in turns with plain PyTorch."""
    tensors = network_outputs(space, size_hw, look, device)
    masks, depths, backup = (tensors[f"{name}_logits"][0] for name in ("mask", "depth", "backup_depth"))
    grid, queries = OutputGrid(*size_hw, 1.0, 1.0), torch.arange(look.kept, device=device)
    threshold = FusionThresholds().mask

    def ours() -> None:
        if device.type == "cpu":
            arrays = masks.numpy(), depths.numpy(), backup.numpy(), queries.numpy()
            fusion_kernel.dense(*arrays, grid, STRIDE, threshold, depth_by_query=True)
        else:
            given = masks, depths, backup, queries
            device_dense(device)(*given, grid, STRIDE, threshold, depth_by_query=True)

    def frame(watch: Stopwatch) -> None:
        given = masks, depths, backup, queries
        watch.run("plain", lambda: plain_fusion.dense(*given, grid, STRIDE, threshold, depth_by_query=True))
        watch.run("kernel", ours)

    name = f"{size_hw[0]}x{size_hw[1]}, {look.kept} queries"
    timings = repeat(frame, effort, device).timings(name)
    return FusionRatio(name, *(stage_of(timings, stage).median_ms for stage in ("plain", "kernel")))
