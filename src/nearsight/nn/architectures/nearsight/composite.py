"""H = baseline + scale × network between atoms, the baseline alone on site; and the numbers of both in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.bond_scale import BondScale
from nearsight.baselines.bond_terms import BondTerms
from nearsight.baselines.bond_terms_fit import FittedBondTerms
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.serialisation import from_arrays, to_arrays
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.graph import AtomInputs, atom_inputs, scalar_columns
from nearsight.nn.architectures.nearsight.informed import InformedTerms
from nearsight.nn.architectures.nearsight.informed_file import (
    informed_arrays,
    informed_of_arrays,
    scale_arrays,
    scale_of_arrays,
)
from nearsight.nn.architectures.nearsight.network import NearsightNetwork
from nearsight.nn.architectures.nearsight.uncertainty import LastLayerUncertainty
from nearsight.nn.architectures.nearsight.uncertainty import from_arrays as uncertainty_of_arrays
from nearsight.nn.architectures.nearsight.uncertainty import to_arrays as uncertainty_arrays
from nearsight.nn.config import ModelSection
from nearsight.nn.model import HamiltonianModel, Need
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

BASELINE, UNCERTAINTY, INFORMED, BOND_TERMS = "baseline.", "uncertainty.", "informed.", "bond_terms."
"""Prefixes of the names of arrays in a file."""

Self = TypeVar("Self", bound="BaselinePlusNetwork")


@dataclass(frozen=True, eq=False)
class BaselinePlusNetwork(HamiltonianModel):
    """The numbers of a model `nearsight`.

    Attributes
    ----------
    config : NearsightConfig
        The network's shape and its cutoff.
    basis : BasisSet
        Orbitals of the elements it was trained on.
    network : NearsightNetwork
        Maps a `BondGraph` to outputs in the frames of bonds.
    baseline : Baseline
        Linear terms, coupled, E_h.
    scale : BondScale
        Scale of the outputs, E_h.
    provenance : mapping of str to str
        Training data, seed, time …, text by key.
    uncertainty : LastLayerUncertainty or None
        Uncertainty of its predictions, once it is trained.
    informed : InformedTerms or None
        H as a functional of the density, where it is learnt.
    bond_terms : BondTerms or None
        Linear terms between atoms in place of the baseline's, where many molecules determine them.
    fitted_terms : FittedBondTerms or None
        What they make of the training structures, while these are at hand.
    """

    config: NearsightConfig
    basis: BasisSet
    network: NearsightNetwork
    baseline: Baseline
    scale: BondScale
    provenance: Mapping[str, str] = field(default_factory=dict)
    uncertainty: LastLayerUncertainty | None = None
    informed: InformedTerms | None = None
    bond_terms: BondTerms | None = None
    fitted_terms: FittedBondTerms | None = None

    architecture: ClassVar[str] = "nearsight"

    @property
    def layout(self) -> CoupledLayout:
        """The coupled layout of the baseline."""
        return self.baseline.layout

    def with_informed(self: Self, terms: InformedTerms | None) -> Self:
        """Return the model with other informed terms, or without; their network becomes a part of this one's."""
        self.network.informed = None if terms is None else terms.network
        return replace(self, informed=terms)

    def with_network(self: Self, network: nn.Module) -> Self:
        """Return the model with another network of the same shape."""
        model = replace(self, network=cast(NearsightNetwork, network))
        if self.informed is None:
            return model
        assert model.network.informed is not None
        return replace(model, informed=replace(self.informed, network=model.network.informed))

    @property
    def needs(self) -> frozenset[Need]:
        """H₀ and S, where the baseline starts from H₀."""
        return frozenset({"h0", "overlap"}) if self.baseline.needs_h0 else frozenset()

    @classmethod
    def new(
        cls: type[Self],
        config: NearsightConfig,
        basis: BasisSet,
        baseline: Baseline,
        scale: BondScale,
        dtype: torch.dtype,
        seed: int,
        provenance: Mapping[str, str] | None = None,
    ) -> Self:
        """Return a model with random weights, whose features are not standardised yet (`standardise`).

        Parameters
        ----------
        config : NearsightConfig
            The network's shape and its cutoff.
        basis : BasisSet
            Orbitals of the elements.
        baseline : Baseline
            The fitted baseline.
        scale : BondScale
            The scale of its residual; its pairs of elements get a network.
        dtype : torch.dtype
            Number type of the parameters.
        seed : int
            Seed of the weights.
        provenance : mapping of str to str, optional
            Text by key.

        Returns
        -------
        BaselinePlusNetwork
            The model on the CPU.
        """
        layout = baseline.layout
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            scalars = len(scalar_columns(layout)) * (2 if baseline.needs_h0 else 1)
            network = NearsightNetwork(config, layout, list(scale.values), scalars)
        return cls(config, basis, network.to(dtype), baseline, scale, provenance or {})

    def metadata(self) -> dict[str, str]:
        """Return what the model's file needs besides the numbers, as text by key."""
        found = {**super().metadata(), "baseline": json.dumps(to_arrays(self.baseline)[1])}
        if self.informed is not None:
            found["informed"] = json.dumps(to_arrays(self.informed.baseline)[1])
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Return all numbers of the model's file by name: weights, baseline, scale and uncertainty."""
        arrays = {BASELINE + k: v for k, v in to_arrays(self.baseline)[0].items()}
        arrays |= scale_arrays(self.scale)
        if self.bond_terms is not None:
            arrays |= {BOND_TERMS + k: v for k, v in self.bond_terms.arrays().items()}
        if self.uncertainty is not None:
            arrays |= {UNCERTAINTY + k: v for k, v in uncertainty_arrays(self.uncertainty).items()}
        if self.informed is not None:
            arrays |= {INFORMED + k: v for k, v in informed_arrays(self.informed).items()}
        return super().tensors() | {k: torch.as_tensor(np.ascontiguousarray(v)) for k, v in arrays.items()}

    @classmethod
    def from_file(
        cls: type[Self],
        config: ModelSection,
        basis: BasisSet,
        metadata: Mapping[str, str],
        tensors: Mapping[str, Tensor],
        dtype: torch.dtype,
    ) -> Self:
        """Return the model of a file; its weights are put in afterwards (see `HamiltonianModel.from_file`).

        Parameters
        ----------
        config, basis, metadata, tensors, dtype
            Arguments of `HamiltonianModel.from_file`.

        Returns
        -------
        BaselinePlusNetwork
            The model with random weights.
        """
        if not isinstance(config, NearsightConfig):
            raise ValueError(f"expected a model section of nearsight, got {type(config).__name__}")
        arrays = {k.removeprefix(BASELINE): v.numpy() for k, v in tensors.items() if k.startswith(BASELINE)}
        baseline = from_arrays(arrays, json.loads(metadata["baseline"]))
        known = {k.removeprefix(UNCERTAINTY): v.numpy() for k, v in tensors.items() if k.startswith(UNCERTAINTY)}
        told = {k.removeprefix(INFORMED): v.numpy() for k, v in tensors.items() if k.startswith(INFORMED)}
        provenance: dict[str, str] = json.loads(metadata.get("provenance", "{}"))
        scale = scale_of_arrays(baseline.layout, {k: v.numpy() for k, v in tensors.items()})
        model = cls.new(config, basis, baseline, scale, dtype, 0, provenance)
        informed = informed_of_arrays(told, json.loads(metadata["informed"]), config, basis, dtype) if told else None
        found = {k.removeprefix(BOND_TERMS): v.numpy() for k, v in tensors.items() if k.startswith(BOND_TERMS)}
        bond_terms = BondTerms.of_arrays(baseline.layout, config.cutoff, found) if found else None
        uncertainty = uncertainty_of_arrays(known) if known else None
        return replace(model, uncertainty=uncertainty, bond_terms=bond_terms).with_informed(informed)

    def atoms(
        self,
        structure: Structure,
        graph: Graph,
        on_site: np.ndarray | None = None,
        h0: H0Matrices | None = None,
        some: np.ndarray | None = None,
    ) -> AtomInputs:
        """Return the features of all atoms of a structure, or of some.

        Parameters
        ----------
        structure : Structure
            The atoms.
        graph : Graph
            Their neighbours within the cutoff.
        on_site : ndarray, optional
            (n, size) E_h, `baseline.nodes` where it is at hand; else it is computed.
        h0 : H0Matrices, optional
            H₀ and S of the structure, where the baseline starts from them.
        some : (n,) array of int, optional
            The atoms wanted; all by default.

        Returns
        -------
        AtomInputs
            Densities and scalars; with H₀ there are two groups of scalars, the second without the on-site blocks of H₀.
        """
        blocks = self.baseline.nodes(structure, graph, h0, some) if on_site is None else on_site
        known = [blocks]
        if h0 is not None:
            initial = h0.on_site(structure, self.layout)[0]
            known.append(blocks - (initial if some is None else initial[some]))
        return atom_inputs(self.config, self.layout, structure, graph, known, some)


def standardise(network: NearsightNetwork, atoms: list[AtomInputs]) -> None:
    """Set the network's means and spreads from the atoms of the training structures.

    Parameters
    ----------
    network : NearsightNetwork
        The network, changed in place.
    atoms : list of AtomInputs
        Features of the atoms of each structure.
    """
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
