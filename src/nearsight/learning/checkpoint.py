"""Checkpoints of a run: weights, optimiser, scheduler, place in the data and random state, in one safetensors file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from nearsight.atomic_files import written_atomically
from nearsight.errors import CheckpointError, InputError, NearsightError
from nearsight.foreign_files import reading
from nearsight.learning.optimisation import averaged_weights, set_step
from nearsight.nn.checksums import KEY, checksums
from nearsight.nn.config import LARGEST_RATE
from nearsight.nn.loading import load_weights
from nearsight.nn.model import HamiltonianModel
from nearsight.nn.model_file import WEIGHTS, damaged, read_tensors, upgraded_metadata

OPTIMIZER = "optimizer."
MOST_STEPS = 2**53
"""Steps of an optimiser beyond which its counter is not one."""
RAW = "raw."
RANDOM = "random"


@dataclass
class TrainingState:
    """The place that a run has reached.

    Attributes
    ----------
    epoch : int
        Epochs finished.
    step_in_epoch : int
        Steps finished in the epoch under way.
    step : int
        Steps finished in all.
    seconds : float
        Time of training, resumed runs together.
    epoch_sums : list of float
        The two sums of the objective and the number of terms in the epoch under way.
    best_loss : float
        Lowest monitored value so far.
    best_epoch : int
        Epoch of that value; −1 before any.
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
    model: HamiltonianModel,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    state: TrainingState,
    average: AveragedModel | None = None,
) -> None:
    """Write everything that continues a run; the file appears when it is complete.

    Parameters
    ----------
    path : Path
        The file.
    model : HamiltonianModel
        The model under training.
    optimizer : torch.optim.Optimizer
        Its optimiser.
    scheduler : object
        Its schedule, with a `state_dict` that JSON can hold.
    state : TrainingState
        Where the run stands.
    average : AveragedModel, optional
        The average of the weights. The model's weights in the file are then the averaged ones; those under training are
        stored beside them.

    Raises
    ------
    NearsightError
        The file cannot be written.
    """
    tensors = model.tensors()
    if average is not None:
        tensors |= {RAW + k.removeprefix(WEIGHTS): v.clone() for k, v in tensors.items() if k.startswith(WEIGHTS)}
        tensors |= {WEIGHTS + k: v.cpu().contiguous() for k, v in averaged_weights(average).items()}
    for index, own in optimizer.state_dict()["state"].items():
        tensors |= {f"{OPTIMIZER}{index}.{k}": v.detach().cpu().contiguous() for k, v in own.items()}
    tensors[RANDOM] = torch.get_rng_state()
    metadata = model.metadata() | {
        "progress": json.dumps(asdict(state)),
        "scheduler": json.dumps(scheduler.state_dict()),
        "optimizer_groups": json.dumps(optimizer.state_dict()["param_groups"]),
    }
    write_tensors(path, tensors, metadata)


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file with checksums, which is there completely or not at all.

    Parameters
    ----------
    path : Path
        The file.
    tensors : dict of str to Tensor
        Tensors by name.
    metadata : dict of str to str
        Text by key.

    Raises
    ------
    NearsightError
        The file cannot be written; an older file of the name is left as it was.
    """
    try:
        with written_atomically(path) as temporary:
            save_file(tensors, str(temporary), {**metadata, KEY: checksums(metadata, tensors)})
    except NearsightError:
        raise
    except Exception as error:
        raise NearsightError(f"{path}: expected to write a checkpoint, got {error}") from error


def load_checkpoint(
    path: Path,
    model: HamiltonianModel,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    average: AveragedModel | None = None,
) -> TrainingState:
    """Put a stored state into model, optimiser, scheduler, average and the random generator.

    Parameters
    ----------
    path : Path
        A checkpoint.
    model : HamiltonianModel
        A model of the same basis and configuration.
    optimizer : torch.optim.Optimizer
        Its optimiser.
    scheduler : object
        Its schedule.
    average : AveragedModel, optional
        The average of its weights, where the run has one.

    Returns
    -------
    TrainingState
        Where the run stands.

    Raises
    ------
    CheckpointError
        The file holds another network or another basis, no optimiser (a bare model), or is damaged.
    """
    metadata, tensors = read_tensors(path, checkpoint=True)
    with reading(path, "a checkpoint to continue from", damaged):
        _check_same(path, upgraded_metadata(metadata), model)
        if "progress" not in metadata:
            raise CheckpointError(f"{path}: expected a checkpoint to continue from, got a model without optimiser")
        infinite = [k for k, t in tensors.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
        if infinite:
            raise CheckpointError(
                f"{path}: expected finite numbers in a checkpoint, got NaN or infinity in {infinite[0]}"
            )
        state = _state(metadata["progress"])
        weights = {k: v for k, v in tensors.items() if k.startswith(WEIGHTS)}
        if average is not None:
            _load_average(average, weights, state.step)
            weights = {WEIGHTS + k.removeprefix(RAW): v for k, v in tensors.items() if k.startswith(RAW)}
        load_weights(model, weights, path)
        _load_optimizer(optimizer, tensors, json.loads(metadata["optimizer_groups"]))
        scheduler.load_state_dict(json.loads(metadata["scheduler"]))
        torch.set_rng_state(tensors[RANDOM])
    return state


def _state(text: str) -> TrainingState:
    """The place that a run has reached, if it is one."""
    said = json.loads(text)
    if set(said) != {own.name for own in fields(TrainingState)}:
        raise InputError(f"expected the place of a run, got {text:.200}")
    state = TrainingState(**said)
    counts = (state.epoch, state.step_in_epoch, state.step, state.best_epoch + 1)
    sums = (state.seconds, *state.epoch_sums)
    whole = all(type(n) is int and n >= 0 for n in counts) and state.step >= state.step_in_epoch
    if not whole or len(state.epoch_sums) != 3:
        raise InputError(f"expected numbers of epochs and steps, got {text:.200}")
    if not all(type(x) in (int, float) and math.isfinite(x) for x in sums) or math.isnan(state.best_loss):
        raise InputError(f"expected seconds, sums and losses that are numbers, got {text:.200}")
    return state


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], groups: Any) -> None:
    """Take moments and learning rates; what else a group says, the configuration says."""
    own: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(OPTIMIZER):
            index, key = name.removeprefix(OPTIMIZER).split(".", 1)
            own.setdefault(int(index), {})[key] = tensor
    known = optimizer.state_dict()["param_groups"]
    if [group["params"] for group in groups] != [group["params"] for group in known]:
        raise InputError("expected the parameters of this network in the optimiser, got others")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for place, moments in own.items():
        shape = parameters[place].shape if 0 <= place < len(parameters) else None
        shapes = {"step": torch.Size([]), "exp_avg": shape, "exp_avg_sq": shape}
        if {key: tensor.shape for key, tensor in moments.items()} != shapes:
            raise InputError(f"expected the moments of parameter {place} of this network, got others")
        steps = float(moments["step"])
        if not (0 <= steps <= MOST_STEPS and steps.is_integer()):
            raise InputError(f"expected the number of steps of parameter {place}, got {steps:g}")
        squares = moments["exp_avg_sq"]
        if not (moments["exp_avg"].isfinite() & squares.isfinite() & (squares >= 0)).all():
            raise InputError(f"expected moments of parameter {place} that are numbers and squares, got others")
    for group, stored in zip(known, groups, strict=True):
        rate = stored["lr"]
        if not isinstance(rate, float) or not 0 <= rate <= LARGEST_RATE:
            raise InputError(f"expected a learning rate, got {rate!r:.80}")
        group["lr"] = rate
    optimizer.load_state_dict({"state": own, "param_groups": known})


@torch.no_grad()
def _load_average(average: AveragedModel, weights: Mapping[str, Tensor], step: int) -> None:
    for name, parameter in average.module.named_parameters():
        stored = weights[WEIGHTS + name]
        if stored.shape != parameter.shape:
            raise InputError(f"expected shape {tuple(parameter.shape)} of {name}, got {tuple(stored.shape)}")
        parameter.copy_(stored)
    set_step(average, step)


def _same_network(stored: str, model: HamiltonianModel) -> bool:
    """Compare sections `model`; keys that the version of the file did not know have their defaults."""
    section = type(model.config)
    known = json.loads(stored)
    if known.get("architecture") != model.architecture:
        return False
    try:
        return section.model_validate(known) == model.config
    except ValidationError:
        return False


def _check_same(path: Path, metadata: Mapping[str, str], model: HamiltonianModel) -> None:
    own = model.metadata()
    stored, wanted = json.loads(metadata["basis"]), json.loads(own["basis"])
    if stored["shells"] != wanted["shells"]:
        raise CheckpointError(
            f"{path}: expected a checkpoint for the basis {wanted['shells']}, got one for {stored['shells']} "
            "(atomic number: l of shells)"
        )
    if not _same_network(metadata["model"], model):
        raise CheckpointError(
            f"{path}: expected a checkpoint of the network {own['model']}, got {metadata['model']}; "
            "train with another run_dir, or with the configuration of that run"
        )
