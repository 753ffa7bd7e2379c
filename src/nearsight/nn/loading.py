"""Reading models of any architecture from their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nearsight.errors import CheckpointError, ConfigError, InputError
from nearsight.foreign_files import reading
from nearsight.nn.allocation import AllocationLimit
from nearsight.nn.architectures.registry import architecture_named
from nearsight.nn.model import HamiltonianModel
from nearsight.nn.model_file import (
    WEIGHTS,
    basis_of_metadata,
    damaged,
    find_model_file,
    read_tensors,
    upgraded_metadata,
)
from nearsight.operators.invariants import check_basis

_ALWAYS, _TIMES_STORED = 50_000_000, 20
"""Elements that making a network may take, beside those of its weights some times over: tables of the couplings."""


def model_class(architecture: str) -> type[HamiltonianModel]:
    """Return the class of an architecture's models.

    Parameters
    ----------
    architecture : str
        Name in the registry.

    Returns
    -------
    type
        A subclass of `HamiltonianModel`.

    Raises
    ------
    ConfigError
        There is no such architecture, or its class is no `HamiltonianModel`.
    """
    found = architecture_named(architecture).model
    if isinstance(found, str):
        module, name = found.split(":")
        found = getattr(import_module(module), name)
    if not issubclass(found, HamiltonianModel):
        raise ConfigError(f"expected a HamiltonianModel for the architecture {architecture}, got {found.__name__}")
    return found


def load_model(path: Path | str) -> HamiltonianModel:
    """Read a model from its file, or the best one of a run's folder.

    Parameters
    ----------
    path : Path or str
        A model file, or the folder of a run.

    Returns
    -------
    HamiltonianModel
        The model in the precision of its stored weights, on the CPU.

    Raises
    ------
    CheckpointError
        There is no such file, it is not a model, its architecture is not known here, or it is damaged.
    """
    file = find_model_file(Path(path))
    metadata, tensors = read_tensors(file)
    try:
        with reading(file, "a nearsight model", damaged):
            return _assembled(file, metadata, tensors)
    except CheckpointError:
        raise
    except (InputError, ConfigError) as error:
        raise CheckpointError(f"{file}: expected a nearsight model, got contents that do not fit: {error}") from error


def _assembled(file: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> HamiltonianModel:
    """The model of metadata and tensors, which is not larger than they are."""
    metadata = upgraded_metadata(metadata)
    basis = basis_of_metadata(metadata["basis"])
    check_basis(basis)
    name = str(json.loads(metadata["model"])["architecture"])
    config = architecture_named(name).model_section.model_validate_json(metadata["model"])
    infinite = [key for key, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if infinite:
        raise CheckpointError(f"{file}: expected finite numbers in a model, got NaN or infinity in {infinite[0]}")
    stored = sum(tensor.numel() for key, tensor in tensors.items() if key.startswith(WEIGHTS))
    with AllocationLimit(_ALWAYS + _TIMES_STORED * stored):
        model = model_class(name).from_file(config, basis, metadata, tensors, _dtype(tensors))
    load_weights(model, tensors, file)
    return model


def load_weights(model: HamiltonianModel, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Put the stored weights, whose names begin with `model.`, into the network of a model.

    Parameters
    ----------
    model : HamiltonianModel
        The model whose network is changed in place.
    tensors : mapping of str to Tensor
        Tensors of the file by name; other names are ignored.
    file : Path
        Where they come from, for messages.

    Raises
    ------
    CheckpointError
        Names or shapes differ from those of the network.
    """
    state: dict[str, Any] = {k.removeprefix(WEIGHTS): v for k, v in tensors.items() if k.startswith(WEIGHTS)}
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{file}: expected the weights of this network ({model.basis.describe()}), got others: {error}"
        ) from error


def _dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    own = (t.dtype for k, t in tensors.items() if k.startswith(WEIGHTS) and t.dtype.is_floating_point)
    return next(own, torch.float32)
