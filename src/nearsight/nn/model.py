"""Model: a network with the basis and cutoff it was made for; and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nearsight.errors import CheckpointError
from nearsight.nn.model_config import ModelConfig
from nearsight.nn.xia2025 import Xia2025
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout

FORMAT = "nearsight-model-1"
PREFIX = "model."


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
        basis = {"name": self.basis.name, "shells": {str(z): list(ls) for z, ls in self.basis.shells.items()},
                 "valence": {str(z): v for z, v in self.basis.valence.items()}}
        return {"format": FORMAT, "model": self.config.model_dump_json(), "basis": json.dumps(basis),
                "provenance": json.dumps(dict(self.provenance))}

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, as they are stored."""
        return {PREFIX + k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}


def new_model(config: ModelConfig, basis: BasisSet, dtype: torch.dtype, seed: int,
              provenance: Mapping[str, str] | None = None) -> Model:
    """A model with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Xia2025(config.widths(), config.layers, CoupledLayout(basis).degrees)
    return Model(config, basis, network.to(dtype), provenance or {})


def load_model(path: Path | str) -> Model:
    """A model from a file, or the best one of a run's folder.

    Raises:
        CheckpointError: no such file, not a model, or a damaged one.
    """
    file = find_model_file(Path(path))
    metadata, tensors = read_tensors(file, PREFIX)
    try:
        config = ModelConfig.model_validate_json(metadata["model"])
        basis = json.loads(metadata["basis"])
        provenance = json.loads(metadata.get("provenance", "{}"))
    except (KeyError, ValueError, ValidationError) as error:
        raise CheckpointError(f"{file}: expected a nearsight model, got metadata that do not fit: {error}") from error
    shells = {int(z): tuple(ls) for z, ls in basis["shells"].items()}
    valence = {int(z): v for z, v in basis["valence"].items()}
    dtype = next(t.dtype for t in tensors.values() if t.dtype.is_floating_point)
    model = new_model(config, BasisSet(basis["name"], shells, valence), dtype, 0, provenance)
    load_weights(model, tensors, file)
    return model


def load_weights(model: Model, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Put stored weights into a model's network.

    Raises:
        CheckpointError: names or shapes differ.
    """
    state: dict[str, Any] = {k.removeprefix(PREFIX): v for k, v in tensors.items()}
    try:
        model.network.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(f"{file}: expected the weights of this network ({model.basis.describe()}), "
                              f"got others: {error}") from error


def find_model_file(path: Path) -> Path:
    """The file itself, or the best (else the last) checkpoint of a run's folder."""
    if path.is_dir():
        for name in ("best.safetensors", "last.safetensors"):
            if (path / name).exists():
                return path / name
        raise CheckpointError(f"{path}: expected a run's folder with best.safetensors, got one without")
    if not path.exists():
        raise CheckpointError(f"{path}: expected a model file or a run's folder, got nothing of that name")
    return path


def read_tensors(path: Path, prefix: str = "") -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata, and the tensors whose names start with `prefix`.

    Raises:
        CheckpointError: not a safetensors file of ours, or a truncated one.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {k: file.get_tensor(k) for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: expected a nearsight model (safetensors), got a file that cannot be read as "
                              f"one: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: expected format {FORMAT}, got {metadata.get('format', 'none')}")
    return metadata, tensors
