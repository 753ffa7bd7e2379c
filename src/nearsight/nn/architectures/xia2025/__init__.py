"""The network of Xia, Kaniselvan et al. (ICML 2025): SO(2) convolutions, attention, augmented partitions."""

from nearsight.nn.architectures.registry import Architecture
from nearsight.nn.architectures.xia2025.config import Xia2025Config, Xia2025Loss, Xia2025Optimizer, Xia2025Partition

ARCHITECTURE = Architecture(
    name="xia2025",
    model="nearsight.nn.architectures.xia2025.model:Xia2025Model",
    model_section=Xia2025Config,
    loss_section=Xia2025Loss,
    partition_section=Xia2025Partition,
    optimizer_section=Xia2025Optimizer,
    max_epochs=20_000,
    presets="nearsight.nn.architectures.xia2025",
)
