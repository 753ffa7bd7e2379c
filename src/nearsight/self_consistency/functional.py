"""OnSiteFunctional: on-site blocks of H as a function of an atom's environment and of the density matrix near by.

To the environment (`baselines.on_site`) come, irrep by irrep: the potential and the field of the charges of all atoms,
the atom's own charge, and its own block of the density matrix. It is fitted to the self-consistent densities of the
training structures: a linear, local map that holds for every structure, while the density supplies what is not local.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import EnvironmentDescriptor, Features, OnSite, fit_on_site, independent_irreps
from nearsight.baselines.reference import Reference
from nearsight.baselines.ridge import Regression
from nearsight.baselines.settings import BaselineSettings
from nearsight.electrostatics.potential import electrostatics
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import AXES
from nearsight.self_consistency.atomic_density import AtomicDensity, LoewdinBasis
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

POTENTIAL_SCALE = 0.1
DENSITY_SCALE = 10.0
"""Potentials (V) are ten times, charges and densities a tenth of what neighbour densities are: the regression takes
features to be alike."""
PENALTY = 0.01
"""Of what the density tells, relative to the nearest neighbours: its part is large, and hardly held back."""


@dataclass(frozen=True)
class DensityDescriptor(EnvironmentDescriptor):
    """The descriptor of an environment with what the density matrix tells."""

    def penalties(self, degree: int) -> np.ndarray:
        """Return the relative penalties (F_l,) of all features of a degree."""
        return np.append(super().penalties(degree), np.full(self._added(degree), PENALTY))

    def extended(
        self, features: Features, structure: Structure, density: AtomicDensity, means: Mapping[int, np.ndarray]
    ) -> Features:
        """Add to the features of the environment what the density tells.

        Parameters
        ----------
        features : tuple of (N, F_l, 2l+1) array
            Features of `EnvironmentDescriptor`.
        structure : Structure
            Atoms and cell.
        density : AtomicDensity
            Charges and own blocks.
        means : mapping of int to array
            Z → means of the charge and of the scalars of the own block, from the fitted structures.
        """
        found = electrostatics(structure, density.charges - density.charges.mean())
        result = []
        for degree, known in enumerate(features):
            own = DENSITY_SCALE * self._own(structure, density, degree, means)
            parts = [known, own]
            if degree == 0:
                unlike = density.charges - np.array([means[int(z)][0] for z in structure.numbers])
                parts += [POTENTIAL_SCALE * found.potential[:, None, None], DENSITY_SCALE * unlike[:, None, None]]
            if degree == 1:
                parts.append(POTENTIAL_SCALE * found.field[:, None, AXES])
            result.append(np.concatenate(parts, axis=1))
        return tuple(result)

    def scalars(self, blocks: np.ndarray, z: int) -> np.ndarray:
        """Return the independent scalars (n, K) of own blocks (n, size) of one element."""
        irreps = independent_irreps(self.table, z, 0)
        return np.asarray(blocks[:, self.table.columns(irreps)][:, :, 0])

    def _own(
        self, structure: Structure, density: AtomicDensity, degree: int, means: Mapping[int, np.ndarray]
    ) -> np.ndarray:
        """(N, K, 2l+1) irreps of the own blocks, padded to the element that has most; scalars minus their means."""
        result = np.zeros((len(structure), self._own_count(degree), 2 * degree + 1))
        for z in structure.elements:
            atoms, irreps = np.flatnonzero(structure.numbers == z), independent_irreps(self.table, z, degree)
            if len(irreps):
                values = density.blocks[atoms][:, self.table.columns(irreps)]
                result[atoms, : len(irreps)] = values - (means[z][1:, None] if degree == 0 else 0)
        return result

    def _own_count(self, degree: int) -> int:
        return max(len(independent_irreps(self.table, z, degree)) for z in self.table.layout.elements)

    def _added(self, degree: int) -> int:
        return self._own_count(degree) + {0: 2, 1: 1}.get(degree, 0)


@dataclass(frozen=True, eq=False)
class OnSiteFunctional:
    """On-site blocks as a function of environments and the atomic density.

    Attributes
    ----------
    on_site : OnSite
        The regressions; its descriptor is a `DensityDescriptor`.
    means : mapping of int to (1 + K,) array
        Z → means of charge and scalars of the own density block over the fitted structures.
    """

    on_site: OnSite
    means: Mapping[int, np.ndarray]

    @property
    def descriptor(self) -> DensityDescriptor:
        """What the features are."""
        assert isinstance(self.on_site.descriptor, DensityDescriptor)
        return self.on_site.descriptor

    @property
    def layout(self) -> CoupledLayout:
        """The layout of the blocks."""
        return self.descriptor.table.layout

    def environment(self, structure: Structure, graph: Graph) -> Features:
        """Return the features that do not depend on the density, computed once."""
        plain = EnvironmentDescriptor(self.descriptor.table, self.descriptor.cutoff, self.descriptor.settings)
        return plain(structure, graph)

    def __call__(self, structure: Structure, environment: Features, density: AtomicDensity) -> np.ndarray:
        """Return coupled on-site blocks (N, size), E_h."""
        features = self.descriptor.extended(environment, structure, density, self.means)
        return self.on_site.of_features(features, structure.numbers)


def fit_functional(
    calculations: Sequence[Calculation],
    layout: CoupledLayout,
    cutoff: float,
    settings: BaselineSettings | None = None,
    used: Sequence[np.ndarray] | None = None,
) -> OnSiteFunctional:
    """Fit the functional to calculations with H and S.

    Parameters
    ----------
    calculations : sequence of Calculation
        Structures with H, S and valence.
    layout : CoupledLayout
        Of the blocks.
    cutoff : float
        Å, of the environments.
    settings : BaselineSettings, optional
        Numbers of functions.
    used : sequence of (N,) bool array, optional
        Atoms of each structure whose blocks are fitted; all by default.

    Raises
    ------
    InputError
        No calculation, H, S or valence missing, or an ill-conditioned S.
    """
    settings = settings or BaselineSettings()
    references = _references(calculations, layout, cutoff, used)
    densities = [LoewdinBasis(c, layout).density_of(c.require_hamiltonian())[0] for c in calculations]
    descriptor = DensityDescriptor(IrrepTable(layout), cutoff, settings)
    means = _means(descriptor, references, densities)
    empty = OnSiteFunctional(OnSite(descriptor, {}), means)
    features = [
        descriptor.extended(empty.environment(r.structure, r.graph), r.structure, density, means)
        for r, density in zip(references, densities)
    ]
    on_site, _ = fit_on_site(descriptor, references, features)
    return replace(empty, on_site=on_site)


def fit_local(
    calculations: Sequence[Calculation],
    layout: CoupledLayout,
    cutoff: float,
    settings: BaselineSettings | None = None,
    used: Sequence[np.ndarray] | None = None,
) -> OnSite:
    """Fit on-site blocks to environments alone, with the arguments of `fit_functional`, for comparison."""
    descriptor = EnvironmentDescriptor(IrrepTable(layout), cutoff, settings or BaselineSettings())
    references = _references(calculations, layout, cutoff, used)
    return fit_on_site(descriptor, references, [descriptor(r.structure, r.graph) for r in references])[0]


def _references(
    calculations: Sequence[Calculation], layout: CoupledLayout, cutoff: float, used: Sequence[np.ndarray] | None
) -> list[Reference]:
    if not calculations:
        raise InputError("expected at least one calculation to fit a functional, got none")
    references = [Reference.of(c, layout, cutoff) for c in calculations]
    if used is None:
        return references
    return [_SomeAtoms(r.structure, r.graph, r.hamiltonian, r.layout, own) for r, own in zip(references, used)]


@dataclass(frozen=True, eq=False)
class _SomeAtoms(Reference):
    """A reference of which only some atoms are fitted."""

    used: np.ndarray

    def on_site(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the usable atoms among the chosen ones, and their blocks."""
        atoms, blocks = super().on_site(z)
        chosen = self.used[atoms]
        return atoms[chosen], blocks[chosen]


def functional_arrays(functional: OnSiteFunctional) -> dict[str, np.ndarray]:
    """Return the numbers of a functional by name."""
    arrays = {f"mean.{z}": mean for z, mean in functional.means.items()}
    for (z, degree), regression in functional.on_site.regressions.items():
        arrays[f"{z}.{degree}.weights"] = regression.weights
        arrays[f"{z}.{degree}.constant"] = regression.constant
    return {name: np.ascontiguousarray(array, dtype=np.float64) for name, array in arrays.items()}


def functional_of_arrays(
    arrays: Mapping[str, np.ndarray], layout: CoupledLayout, cutoff: float, strictly_local: bool
) -> OnSiteFunctional | None:
    """Return the functional that `functional_arrays` took apart; None for no arrays.

    Raises
    ------
    InputError
        An array of another shape than the environment's.
    """
    if not arrays:
        return None
    descriptor = DensityDescriptor(IrrepTable(layout), cutoff, BaselineSettings(strictly_local=strictly_local))
    means = {int(name.split(".")[1]): value for name, value in arrays.items() if name.startswith("mean.")}
    regressions = {}
    for name, weights in arrays.items():
        if name.endswith(".weights"):
            z, degree = (int(part) for part in name.split(".")[:2])
            count = len(independent_irreps(descriptor.table, z, degree))
            if weights.shape != (descriptor.n_features(degree), count):
                raise InputError(
                    f"expected weights of shape {(descriptor.n_features(degree), count)} in {name}, got {weights.shape}"
                )
            regressions[z, degree] = Regression(weights, arrays[f"{z}.{degree}.constant"])
    return OnSiteFunctional(OnSite(descriptor, regressions), means)


def _means(
    descriptor: DensityDescriptor, references: Sequence[Reference], densities: Sequence[AtomicDensity]
) -> dict[int, np.ndarray]:
    means = {}
    for z in sorted({z for r in references for z in r.structure.elements}):
        rows = []
        for reference, density in zip(references, densities):
            atoms = np.flatnonzero(reference.structure.numbers == z)
            scalars = descriptor.scalars(density.blocks[atoms], z)
            rows.append(np.concatenate([density.charges[atoms, None], scalars], axis=1))
        means[z] = np.concatenate(rows).mean(axis=0)
    return means
