"""What a run holds in memory and what it makes when needed, decided from sizes before any tensor is made.

In this order: a step on the largest part must fit; chunks of edges are as large as is useful; what is left keeps the
tensors of parts between steps. Whatever the plan, a run computes the same: with pieces kept or not to the last bit,
with other chunks up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from nearsight.learning.config import TrainingConfig
from nearsight.nn.architectures.xia2025.batches import Outline
from nearsight.nn.architectures.xia2025.loss import is_additive
from nearsight.nn.architectures.xia2025.network import parameter_dtype
from nearsight.nn.architectures.xia2025.working_memory import bytes_per_chunked_edge, bytes_per_node
from nearsight.nn.model import Model

USED = 0.8
"""Part of the available memory that is planned with; the rest is for what no estimate sees."""

SMALLEST_CHUNK = 64
LARGEST_CHUNK = 1024
LARGEST_CHUNK_ON_GPU = 65_536
"""Beyond these, larger chunks save little time."""


@dataclass(frozen=True)
class Plan:
    """How a run uses memory, in bytes.

    Attributes:
        available: what may be used.
        pieces: tensors of all parts.
        largest: tensors of the largest part.
        step: what a step on it takes beside them and beside its chunks.
        chunk: edges computed at once.
        chunks: memory of the chunks under way.
        room: for tensors of parts between steps; infinite where all are kept.
        per_edge: bytes of the largest part's tensors per edge, by what they are.
    """

    available: int
    pieces: int
    largest: int
    step: int
    chunk: int
    chunks: int
    room: float
    per_edge: dict[str, float]

    @property
    def fits(self) -> bool:
        """Whether a step on the largest part is expected to fit."""
        return self.largest + self.step + self.chunks <= USED * self.available

    def describe(self) -> str:
        """One or two lines."""
        kinds = ", ".join(f"{name} {size:.0f}" for name, size in self.per_edge.items())
        kept = "all are kept"
        if self.room < self.pieces:
            kept = f"{_gb(self.room)} of them are kept, the others made when needed"
        text = (
            f"memory: {_gb(self.available)} available; tensors of all parts {_gb(self.pieces)} "
            f"({sum(self.per_edge.values()):.0f} bytes per edge: {kinds}), {kept}; "
            f"largest step {_gb(self.largest + self.step + self.chunks)}"
        )
        if not self.fits:
            text += (
                "\nmemory: the largest step is expected not to fit; make parts smaller (partition.kind=slabs, a "
                "smaller partition.thickness)"
            )
        return text


def make_plan(
    outlines: Sequence[Outline], model: Model, config: TrainingConfig, available: int, device: torch.device
) -> Plan:
    """The plan for some parts.

    Args:
        outlines: parts to train on and for validation.
        model: the network and its basis.
        config: of the run.
        available: bytes that may be used where the network is.
        device: where the network is.
    """
    sizes = [sum(tensor_bytes(o, model).values()) for o in outlines]
    at_once = 1 if is_additive(config.loss) else config.optimizer.partitions_per_step
    node, edge = bytes_per_node(model.network), bytes_per_chunked_edge(model.network)
    steps = [step_bytes(o, model, config, node) for o in outlines]
    worst = max(range(len(outlines)), key=lambda k: sizes[k] + steps[k])
    largest, step = at_once * sizes[worst], at_once * steps[worst]
    on_cpu = device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    left = USED * available - largest - step
    most = LARGEST_CHUNK if on_cpu else LARGEST_CHUNK_ON_GPU
    chunk = int(max(SMALLEST_CHUNK, min(most, left / 2 / (threads * edge))))
    # A piece that is not kept is there besides those that are.
    room = left - threads * chunk * edge
    everything = sum(sizes)
    room = math.inf if everything <= room + largest else max(0.0, room)
    return Plan(
        available, everything, largest, step, chunk, threads * chunk * edge, room, _per_edge(outlines[worst], model)
    )


def choose_partition(config: TrainingConfig, whole: Callable[[], Plan]) -> str:
    """The kind that partition.kind=auto stands for.

    Args:
        config: of the run.
        whole: makes the plan for whole structures.
    """
    if not config.data.validation and config.data.holdout_parts:
        return "slabs"
    return "whole" if whole().fits else "slabs"


def tensor_bytes(outline: Outline, model: Model) -> dict[str, int]:
    """Bytes of a piece's tensors, by what they are."""
    real, integer = parameter_dtype(model.network).itemsize, 8
    degrees = range(model.config.l_max + 1)
    part = outline.part
    return {
        "frames": real * outline.n_updated[0] * sum((2 * l + 1) ** 2 for l in degrees),
        "harmonics": real * part.n_edges * len(degrees) ** 2,
        "targets": real * outline.n_rows * outline.size,
        "indices and distances": (2 * integer + real) * part.n_edges
        + integer * (part.n_nodes + outline.n_rows + outline.n_summed),
    }


def step_bytes(outline: Outline, model: Model, config: TrainingConfig, per_node: int) -> int:
    """What a step on a part takes beside its tensors and its chunks: the larger one of making and of training it."""
    network, part = model.network, outline.part
    real, wide = parameter_dtype(network).itemsize, 8
    components = (model.config.l_max + 1) ** 2
    # Vectors, order and rows as they are picked; blocks and their coupled rows in float64.
    making = wide * (8 * part.n_edges + 3 * outline.n_rows * outline.size)
    # Features of every layer before the last; the gradient, and the gradient of a leading slice of them.
    stored = sum(outline.n_updated[:-1]) + 2 * max(outline.n_updated[:-1], default=0)
    training = per_node * part.n_nodes + real * components * model.config.channels * stored
    if outline.n_summed or config.loss.kind != "mse":
        # Outputs, summed into rows, errors, their squares and the gradients of each.
        training += 6 * real * outline.size * (part.n_labelled_edges + outline.n_rows)
    if config.loss.masked:
        training += outline.n_rows * outline.size
    # Outputs, errors in float64 and blocks of validation.
    validating = outline.size * (real * part.n_labelled_edges + (2 * real + 3 * wide) * outline.n_rows)
    return max(making, training, validating)


def _per_edge(outline: Outline, model: Model) -> dict[str, float]:
    return {k: size / max(1, outline.part.n_edges) for k, size in tensor_bytes(outline, model).items()}


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
