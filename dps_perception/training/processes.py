"""How many processes train together, and how."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from lightning.fabric.plugins.environments import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import nn

from ..errors import ConfigError
from .config import RunSettings

_SYNC = ("auto", "on", "off")


@dataclass(frozen=True)
class Processes:
    """What Lightning's Trainer is told, and a remark for the user ("" without)."""

    devices: int
    num_nodes: int
    strategy: Strategy | str
    sync_batchnorm: bool
    remark: str = ""


def plan(run: RunSettings, network: nn.Module) -> Processes:
    """Processes of a run; torchrun's own numbers go before the config's.

    Raises:
        ConfigError: a setting is unknown or can't be had on this machine.
    """
    if run.sync_batchnorm not in _SYNC:
        raise ConfigError(f"run.sync_batchnorm '{run.sync_batchnorm}' is not one of {', '.join(_SYNC)}")
    devices, nodes = run.devices, run.num_nodes
    if TorchElasticEnvironment.detect():
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    for name, value in (("devices", devices), ("num_nodes", nodes)):
        if value < 1:
            raise ConfigError(f"run.{name} is {value}; at least 1 is needed")
    several = devices * nodes > 1
    on_gpu = run.accelerator in ("gpu", "cuda") or (run.accelerator == "auto" and torch.cuda.is_available())
    has_norm = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
    if run.sync_batchnorm == "on" and not on_gpu:
        raise ConfigError("run.sync_batchnorm on: PyTorch's SyncBatchNorm needs GPUs; use auto or off on the CPU")
    sync = several and on_gpu and has_norm and run.sync_batchnorm != "off"
    remark = ""
    if several and has_norm and not sync:
        why = "run.sync_batchnorm is off" if on_gpu else "SyncBatchNorm needs GPUs"
        remark = f"batch norm sees each process' own images only ({why})"
    strategy: Strategy | str = run.strategy
    if several and run.strategy == "auto":
        # A batch without a certain kind of label leaves some parameters without a gradient.
        strategy = DDPStrategy(find_unused_parameters=True)
    return Processes(devices, nodes, strategy, sync, remark)
