"""The informed terms of a model `nearsight`: H as a functional of the density matrix near by, off site too.

    H_ij = S_ij (φ_i + φ_j)/2 + two-centre terms + bond functional + scale(r) × informed network    between atoms
    H_ii = functional of surroundings and density (`self_consistency.functional`)                   on site

φ_i is the mean diagonal element of H_ii minus the mean of its element: a potential that varies slowly enters between
atoms through S, exactly, and is taken out before the rest is learnt. The bond functional
(`self_consistency.bond_functional`) is linear in how overlaps meet on third atoms, which a network of two atoms'
features hardly knows, and in the density of the two atoms. The network sees the same atoms as the local one and, beside
their neighbour densities, what the density matrix tells of each (`self_consistency.density_features`) and
their on-site blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.bond_scale import BondScale, fit_bond_scale
from nearsight.baselines.fit import fit_two_centre
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import Features
from nearsight.baselines.settings import BaselineSettings
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.graph import AtomInputs, atom_inputs
from nearsight.nn.architectures.nearsight.informed_bonds import FittedBonds, fit_informed_bonds, without_bonds
from nearsight.nn.architectures.nearsight.network import NearsightNetwork
from nearsight.nn.architectures.nearsight.uncertainty import LastLayerUncertainty
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.progress import Event, Progress, silent
from nearsight.self_consistency.bond_functional import BondFunctional
from nearsight.self_consistency.density_features import irreps_by_element, own_count, told_counts
from nearsight.self_consistency.functional import FittedFunctional, OnSiteFunctional, fit_functional
from nearsight.self_consistency.potential import exact_potential, levels_of, mean_diagonal, without_potential
from nearsight.self_consistency.response import DensityResponse
from nearsight.self_consistency.start import DensityStart, fit_start
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class InformedTerms:
    """What a model knows of H as a functional of the density.

    Attributes
    ----------
    config : NearsightConfig
        Of the model.
    basis : BasisSet
        Of the model.
    network : NearsightNetwork
        The informed network, which is `informed` of the local one.
    baseline : Baseline
        Two-centre terms of H without what the potential adds through S, and the scales of the errors of the
        functional's on-site blocks; its own on-site terms, those of the local model, are not used.
    scale : BondScale
        Scale of the outputs, E_h.
    functional : OnSiteFunctional
        On-site blocks.
    bonds : BondFunctional
        Part of the blocks between atoms.
    start : DensityStart
        Densities of atoms from their surroundings, where the iteration begins.
    levels : mapping of int to float
        Z → mean diagonal element of the on-site blocks over the training atoms, E_h.
    residual : mapping of int to float
        Z → r.m.s. error (eV) of the on-site elements of atoms that were not fitted, at self-consistency; empty before
        it is validated.
    response : DensityResponse or None
        How far densities are from self-consistency, once it is validated.
    uncertainty : LastLayerUncertainty or None
        Of the blocks between atoms, once it is calibrated.
    fitted : FittedFunctional or None
        Densities and predictions of the training structures, while these are at hand.
    fitted_bonds : FittedBonds or None
        Blocks of the bond functional for the training structures, while these are at hand.
    """

    config: NearsightConfig
    basis: BasisSet
    network: NearsightNetwork
    baseline: Baseline
    scale: BondScale
    functional: OnSiteFunctional
    bonds: BondFunctional
    start: DensityStart
    levels: Mapping[int, float]
    residual: Mapping[int, float] = field(default_factory=dict)
    response: DensityResponse | None = None
    uncertainty: LastLayerUncertainty | None = None
    fitted: FittedFunctional | None = None
    fitted_bonds: FittedBonds | None = None

    @property
    def layout(self) -> CoupledLayout:
        """The coupled layout."""
        return self.baseline.layout

    @property
    def table(self) -> IrrepTable:
        """The irreps of the layout."""
        return self.baseline.table

    def potential(self, on_site: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the potential φ (N,), E_h, of coupled on-site blocks (N, size) in E_h."""
        result = np.empty(len(numbers))
        for z, level in self.levels.items():
            atoms = np.flatnonzero(numbers == z)
            result[atoms] = mean_diagonal(self.layout, z, on_site[atoms]) - level
        return result

    def plain_atoms(self, structure: Structure, graph: Graph) -> AtomInputs:
        """Return the features of the atoms that do not depend on the density."""
        nothing = np.zeros((len(structure), self.layout.size))
        return atom_inputs(self.config, self.layout, structure, graph, [nothing])

    def atoms(self, plain: AtomInputs, numbers: np.ndarray, told: Features, on_site: np.ndarray) -> AtomInputs:
        """Return the features of the atoms.

        Parameters
        ----------
        plain : AtomInputs
            What `plain_atoms` returns.
        numbers : (N,) array of int
            Atomic numbers.
        told : tuple of (N, F_l, 2l+1) array
            What the density tells (`DensityFeatures.told`).
        on_site : (N, size) array
            Coupled on-site blocks, E_h.
        """
        blocks = [irreps_by_element(self.table, numbers, on_site, l) for l in range(self.layout.l_max + 1)]
        parts = [np.concatenate([a, b], axis=1) for a, b in zip(told, blocks)]
        return plain.with_told(parts[0][:, :, 0], parts[1:], told_columns(self.table))


def told_scalars(table: IrrepTable) -> int:
    """Return the number of scalars of an atom in the informed network."""
    return told_counts(table, 0) + own_count(table, 0)


def told_columns(table: IrrepTable) -> int:
    """Return the number of columns beside the neighbour densities in the informed network."""
    degrees = range(1, table.layout.l_max + 1)
    return max((told_counts(table, l) + own_count(table, l) for l in degrees), default=0)


def informed_network(
    config: NearsightConfig, layout: CoupledLayout, scale: BondScale, seed: int, dtype: torch.dtype
) -> NearsightNetwork:
    """Return an informed network with random weights."""
    table = IrrepTable(layout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = NearsightNetwork(config, layout, list(scale.values), told_scalars(table), told=told_columns(table))
    return network.to(dtype)


def fit_informed(
    calculations: Sequence[Calculation],
    config: NearsightConfig,
    basis: BasisSet,
    baseline: Baseline,
    seed: int,
    dtype: torch.dtype,
    progress: Progress = silent,
) -> InformedTerms:
    """Fit what is linear in the informed terms; the network is random.

    Parameters
    ----------
    calculations : sequence of Calculation
        Training structures with H and S.
    config : NearsightConfig
        Of the model.
    basis : BasisSet
        Of the model.
    baseline : Baseline
        The local baseline.
    seed : int
        Of the weights.
    dtype : torch.dtype
        Of the weights.
    progress : Progress
        Told what is fitted.

    Raises
    ------
    InputError
        S or a valence is missing, or charges mean nothing in this basis.
    """
    settings, layout = BaselineSettings(strictly_local=config.strictly_local), baseline.layout
    progress(Event("learning H as a functional of the density: densities of the training structures, on-site blocks"))
    fitted = fit_functional(calculations, layout, config.cutoff, settings, basis=basis)
    progress(Event("learning H as a functional of the density: blocks between atoms"))
    levels = levels_of(calculations)
    rest = [without_potential(c, exact_potential(c, levels)) for c in calculations]
    two_centre = fit_two_centre(rest, layout, config.cutoff, settings)
    own = replace(baseline, two_centre=two_centre, node_scales=dict(fitted.scales))
    bonds = fit_informed_bonds(rest, fitted, two_centre, config.cutoff)
    rest = [without_bonds(c, blocks, config.cutoff) for c, blocks in zip(rest, bonds.unseen)]
    scale = fit_bond_scale(rest, own)
    network = informed_network(config, layout, scale, seed, dtype)
    start = fit_start(calculations, fitted.densities, layout, config.cutoff, settings)
    return InformedTerms(
        config,
        basis,
        network,
        own,
        scale,
        fitted.functional,
        bonds.functional,
        start,
        levels,
        fitted=fitted,
        fitted_bonds=bonds,
    )
