"""Checkpoints of a run: weights, optimiser, scheduler, place in the data and random state, in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from nearsight.atomic_files import written_atomically
from nearsight.errors import CheckpointError, NearsightError
from nearsight.learning.optimisation import WeightAverage
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.model import Model, load_weights
from nearsight.nn.model_file import PREFIX, read_tensors

OPTIMIZER = "optimizer."
RAW = "raw."
RANDOM = "random"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: epochs finished.
        step_in_epoch: steps finished in the epoch under way.
        step: steps finished in all.
        seconds: of training, resumed runs together.
        epoch_sums: Σ error², Σ |error|, terms of the epoch under way.
        best_loss: lowest validation loss so far.
        best_epoch: when.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    epoch_sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    best_loss: float = float("inf")
    best_epoch: int = -1


def save_checkpoint(
    path: Path,
    model: Model | BondModel,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    progress: Progress,
    average: WeightAverage | None = None,
) -> None:
    """Write everything that continues the run, under a temporary name first.

    With an average the model's weights are the averaged ones; those under training stand beside them.
    """
    tensors = model.tensors()
    if average is not None:
        tensors |= {RAW + k.removeprefix(PREFIX): v.clone() for k, v in tensors.items() if k.startswith(PREFIX)}
        tensors |= {PREFIX + k: v.detach().cpu().contiguous() for k, v in average.named().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{OPTIMIZER}{index}.{k}": v.detach().cpu().contiguous() for k, v in state.items()}
    tensors[RANDOM] = torch.get_rng_state()
    metadata = model.metadata() | {
        "progress": json.dumps(asdict(progress)),
        "scheduler": json.dumps(scheduler.state_dict()),
        "optimizer_groups": json.dumps(optimizer.state_dict()["param_groups"]),
    }
    write_tensors(path, tensors, metadata)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file that is there completely or not at all.

    Raises:
        NearsightError: it cannot be written; an older file of the name is left as it was.
    """
    try:
        with written_atomically(path) as temporary:
            save_file(tensors, str(temporary), metadata)
    except SafetensorError as error:
        raise NearsightError(f"{path}: expected to write a checkpoint, got {error}") from error


def load_checkpoint(
    path: Path,
    model: Model | BondModel,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    average: WeightAverage | None = None,
) -> Progress:
    """Put a stored state into model, optimiser, scheduler and the random generator.

    Raises:
        CheckpointError: another network, another basis, or a file without optimiser (a bare model).
    """
    metadata, tensors = read_tensors(path)
    _check_same(path, metadata, model)
    if "progress" not in metadata:
        raise CheckpointError(f"{path}: expected a checkpoint to continue from, got a model without optimiser")
    weights = {k: v for k, v in tensors.items() if k.startswith(PREFIX)}
    if average is not None:
        average.load({k.removeprefix(PREFIX): v for k, v in weights.items()})
        weights = {PREFIX + k.removeprefix(RAW): v for k, v in tensors.items() if k.startswith(RAW)}
    load_weights(model, weights, path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(OPTIMIZER):
            index, key = name.removeprefix(OPTIMIZER).split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": json.loads(metadata["optimizer_groups"])})
    scheduler.load_state_dict(json.loads(metadata["scheduler"]))
    torch.set_rng_state(tensors[RANDOM])
    return Progress(**json.loads(metadata["progress"]))


def _check_same(path: Path, metadata: dict[str, str], model: Model | BondModel) -> None:
    own = model.metadata()
    stored, wanted = json.loads(metadata["basis"]), json.loads(own["basis"])
    if stored["shells"] != wanted["shells"]:
        raise CheckpointError(
            f"{path}: expected a checkpoint for the basis {wanted['shells']}, got one for "
            f"{stored['shells']} (atomic number: l of shells)"
        )
    if metadata["model"] != own["model"]:
        raise CheckpointError(
            f"{path}: expected a checkpoint of the network {own['model']}, got {metadata['model']}; "
            "train with another run_dir, or with the configuration of that run"
        )
