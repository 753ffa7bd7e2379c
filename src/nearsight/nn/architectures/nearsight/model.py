"""BondModel: a baseline, the scale of what it leaves, and the network `nearsight` on that; and their file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.bond_scale import BondScale
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.serialisation import from_arrays, to_arrays
from nearsight.errors import CheckpointError, InputError
from nearsight.nn.architectures.nearsight.config import BondConfig
from nearsight.nn.architectures.nearsight.graph import AtomInputs, ElementPair, atom_inputs, scalar_columns
from nearsight.nn.architectures.nearsight.network import BondNetwork, name
from nearsight.nn.architectures.nearsight.uncertainty import Uncertainty
from nearsight.nn.architectures.nearsight.uncertainty import from_arrays as uncertainty_of_arrays
from nearsight.nn.architectures.nearsight.uncertainty import to_arrays as uncertainty_arrays
from nearsight.nn.model_file import FORMAT, PREFIX, basis_metadata
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

BASELINE, SCALE, UNCERTAINTY = "baseline.", "bond_scale.", "uncertainty."


@dataclass(frozen=True, eq=False)
class BondModel:
    """H = baseline + scale × network between atoms, the baseline alone on site.

    Attributes:
        config: the network's shape and its cutoff.
        basis: orbitals of the elements it was trained on.
        network: maps `BondGraph` to outputs in the frames of bonds.
        baseline: linear terms, coupled, E_h.
        scale: of the outputs, E_h.
        provenance: training data, seed, time …, plain text by key.
        uncertainty: of its predictions, once it is trained and something was held out.
    """

    config: BondConfig
    basis: BasisSet
    network: BondNetwork
    baseline: Baseline
    scale: BondScale
    provenance: Mapping[str, str] = field(default_factory=dict)
    uncertainty: Uncertainty | None = None

    @property
    def layout(self) -> CoupledLayout:
        """The coupled layout of the baseline."""
        return self.baseline.layout

    def metadata(self) -> dict[str, str]:
        """What a file needs besides the numbers, as text."""
        return {
            "format": FORMAT,
            "model": self.config.model_dump_json(),
            "basis": basis_metadata(self.basis),
            "baseline": json.dumps(to_arrays(self.baseline)[1]),
            "provenance": json.dumps(dict(self.provenance)),
        }

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name, as they are stored."""
        arrays = {BASELINE + k: v for k, v in to_arrays(self.baseline)[0].items()}
        arrays |= {SCALE + name(pair): v for pair, v in self.scale.values.items()}
        arrays[SCALE + "distances"] = self.scale.centres
        if self.uncertainty is not None:
            arrays |= {UNCERTAINTY + k: v for k, v in uncertainty_arrays(self.uncertainty).items()}
        weights = {PREFIX + k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}
        return weights | {k: torch.as_tensor(np.ascontiguousarray(v)) for k, v in arrays.items()}

    def atoms(
        self, structure: Structure, graph: Graph, on_site: np.ndarray | None = None, h0: H0Matrices | None = None
    ) -> AtomInputs:
        """What the network needs to know of all atoms; `on_site` is `baseline.nodes` where it is at hand."""
        blocks = self.baseline.nodes(structure, graph, h0) if on_site is None else on_site
        known = [blocks]
        if h0 is not None:
            known.append(blocks - h0.on_site(structure, self.layout)[0])
        return atom_inputs(self.config, self.layout, structure, graph, known)


def new_bond_model(
    config: BondConfig,
    basis: BasisSet,
    baseline: Baseline,
    scale: BondScale,
    dtype: torch.dtype,
    seed: int,
    provenance: Mapping[str, str] | None = None,
) -> BondModel:
    """A model with random weights; features are not standardised yet (`standardise`)."""
    layout = baseline.layout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scalars = len(scalar_columns(layout)) * (2 if baseline.needs_h0 else 1)
        network = BondNetwork(config, layout, list(scale.values), scalars)
    return BondModel(config, basis, network.to(dtype), baseline, scale, provenance or {})


def standardise(network: BondNetwork, atoms: list[AtomInputs]) -> None:
    """Set the network's means and spreads from the atoms of the training structures."""
    element = np.concatenate([a.element for a in atoms])
    densities, scalars = (np.concatenate([getattr(a, k) for a in atoms]) for k in ("densities", "scalars"))
    mean = densities[:, 0].mean(axis=0)
    densities[:, 0] -= mean
    for l in range(network.config.l_max + 1):
        squares = (densities[:, l * l : (l + 1) ** 2] ** 2).mean(axis=(0, 1))
        _set(network.density_spread[l], np.sqrt(squares + 1e-4))
    _set(network.density_mean, mean)
    for k in range(len(network.elements)):
        own = scalars[element == k]
        if len(own):
            spread = own.std(axis=0)
            _set(network.scalar_mean[k], own.mean(axis=0))
            _set(network.scalar_spread[k], np.where(spread > 1e-6, spread, 1.0))


def _set(place: Tensor, values: np.ndarray) -> None:
    with torch.no_grad():
        place.copy_(torch.as_tensor(values))


def load_bond_model(
    file: Path, metadata: Mapping[str, str], tensors: Mapping[str, Tensor], basis: BasisSet
) -> BondModel:
    """A model from what its file holds, weights included.

    Raises:
        CheckpointError: parts are missing or do not fit together.
    """
    try:
        config = BondConfig.model_validate_json(metadata["model"])
        arrays = {k.removeprefix(BASELINE): v.numpy() for k, v in tensors.items() if k.startswith(BASELINE)}
        baseline = from_arrays(arrays, json.loads(metadata["baseline"]))
        scale = _scale(baseline.layout, tensors)
        known = {k.removeprefix(UNCERTAINTY): v.numpy() for k, v in tensors.items() if k.startswith(UNCERTAINTY)}
        uncertainty = uncertainty_of_arrays(known) if known else None
        provenance: dict[str, Any] = json.loads(metadata.get("provenance", "{}"))
    except (KeyError, ValueError, InputError) as error:
        raise CheckpointError(
            f"{file}: expected a nearsight model with its baseline, got parts that do not fit: {error}"
        ) from error
    weights = [t for k, t in tensors.items() if k.startswith(PREFIX)]
    dtype = next((t.dtype for t in weights if t.dtype.is_floating_point), torch.float32)
    model = new_bond_model(config, basis, baseline, scale, dtype, 0, provenance)
    return replace(model, uncertainty=uncertainty)


def _scale(layout: CoupledLayout, tensors: Mapping[str, Tensor]) -> BondScale:
    values: dict[ElementPair, np.ndarray] = {}
    for key, tensor in tensors.items():
        if key.startswith(SCALE) and key != SCALE + "distances":
            first, second = key.removeprefix(SCALE).split("-")
            values[int(first), int(second)] = tensor.numpy()
    return BondScale({pair: BondLayout(layout, pair) for pair in values}, tensors[SCALE + "distances"].numpy(), values)
