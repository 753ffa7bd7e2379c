"""Model: a network with the basis and cutoff it was made for; and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from nearsight.errors import CheckpointError
from nearsight.nn.architectures.nearsight.model import BASELINE, SCALE, UNCERTAINTY, BondModel, load_bond_model
from nearsight.nn.architectures.xia2025.config import ModelConfig
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.nn.model_file import FORMAT, PREFIX, basis_metadata, basis_of_metadata, find_model_file, read_tensors
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout


@dataclass(frozen=True, eq=False)
class Model:
    """A network and what its inputs and outputs mean.

    Attributes:
        config: the network's shape and its cutoff.
        basis: orbitals of the elements it was trained on; its outputs are `CoupledLayout(basis)` in E_h.
        network: maps `GraphTensors` to coupled targets of nodes and edges.
        provenance: training data, seed, time …, plain text by key.
    """

    config: ModelConfig
    basis: BasisSet
    network: Xia2025
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> CoupledLayout:
        """The order of the outputs."""
        return CoupledLayout(self.basis)

    def metadata(self) -> dict[str, str]:
        """What a file needs besides the weights, as text."""
        return {
            "format": FORMAT,
            "model": self.config.model_dump_json(),
            "basis": basis_metadata(self.basis),
            "provenance": json.dumps(dict(self.provenance)),
        }

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, as they are stored."""
        return {PREFIX + k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}


def new_model(
    config: ModelConfig, basis: BasisSet, dtype: torch.dtype, seed: int, provenance: Mapping[str, str] | None = None
) -> Model:
    """A model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Xia2025(config.widths(), config.layers, CoupledLayout(basis).degrees)
    return Model(config, basis, network.to(dtype), provenance or {})


def load_model(path: Path | str) -> Model | BondModel:
    """A model from a file, or the best one of a run's folder.

    Raises:
        CheckpointError: no such file, not a model, or a damaged one.
    """
    file = find_model_file(Path(path))
    metadata, tensors = read_tensors(file, (PREFIX, BASELINE, SCALE, UNCERTAINTY))
    weights = {k: v for k, v in tensors.items() if k.startswith(PREFIX)}
    try:
        basis = basis_of_metadata(metadata["basis"])
        network = json.loads(metadata["model"])["network"]
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{file}: expected a nearsight model, got metadata that do not fit: {error}") from error
    model: Model | BondModel
    if network == "nearsight":
        model = load_bond_model(file, metadata, tensors, basis)
    else:
        model = _load_xia2025(file, metadata, weights, basis)
    load_weights(model, weights, file)
    return model


def _load_xia2025(file: Path, metadata: Mapping[str, str], weights: Mapping[str, Tensor], basis: BasisSet) -> Model:
    try:
        config = ModelConfig.model_validate_json(metadata["model"])
        provenance = json.loads(metadata.get("provenance", "{}"))
    except (KeyError, ValueError, ValidationError) as error:
        raise CheckpointError(f"{file}: expected a nearsight model, got metadata that do not fit: {error}") from error
    dtype = next(t.dtype for t in weights.values() if t.dtype.is_floating_point)
    return new_model(config, basis, dtype, 0, provenance)


def load_weights(model: Model | BondModel, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Put stored weights into a model's network.

    Raises:
        CheckpointError: names or shapes differ.
    """
    state: dict[str, Any] = {k.removeprefix(PREFIX): v for k, v in tensors.items()}
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"{file}: expected the weights of this network ({model.basis.describe()}), got others: {error}"
        ) from error
