"""The default network: a linear baseline, and an O(2)-equivariant network per pair of elements in bond frames."""

from nearsight.nn.architectures.nearsight.config import (
    NearsightConfig,
    NearsightLoss,
    NearsightOptimizer,
    NearsightPartition,
)
from nearsight.nn.architectures.registry import Architecture

ARCHITECTURE = Architecture(
    name="nearsight",
    model="nearsight.nn.architectures.nearsight.model:NearsightModel",
    model_section=NearsightConfig,
    loss_section=NearsightLoss,
    partition_section=NearsightPartition,
    optimizer_section=NearsightOptimizer,
    max_epochs=100,
    least_steps=1000,
    presets="nearsight.nn.architectures.nearsight",
)
