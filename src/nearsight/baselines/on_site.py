"""On-site terms: the irreps of on-site blocks as linear functions of an atom's environment, of the same degree.

A block is symmetric: the irreps of slots (a, b) and (b, a) are the same numbers. Only irreps of natural parity are
fitted; the others, which neither densities nor second hops have, are zero. Residuals are leave-one-out: each is that of
a fit without its own atom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.neighbour_densities import count_products, density_products, neighbour_densities, second_hop
from nearsight.baselines.penalty_choice import chosen_factor
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.reference import Reference
from nearsight.baselines.ridge import Leverage, NormalEquations, Regression
from nearsight.baselines.settings import BaselineSettings
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

ElementDegree = tuple[int, int]


@dataclass(frozen=True)
class EnvironmentDescriptor:
    """The features of an atom's environment on which the on-site regression is built.

    Attributes
    ----------
    table : IrrepTable
        The irreps, hence the elements and the degrees.
    cutoff : float
        Å.
    settings : BaselineSettings
        Numbers of functions; whether there is a second hop.
    """

    table: IrrepTable
    cutoff: float
    settings: BaselineSettings

    def __call__(
        self, structure: Structure, graph: Graph, atoms: np.ndarray | None = None, carried: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """Compute the features of all atoms, or of some: densities, second hop and products of densities.

        Parameters
        ----------
        structure : Structure
            Atoms and cell.
        graph : Graph
            Pairs within the cutoff, or more.
        atoms : (n,) array of int, optional
            The atoms wanted; all by default.
        carried : (N, F) array, optional
            What `carried` returns, for a caller that takes the atoms in parts.

        Returns
        -------
        tuple of (n, F_l, 2l+1) array of float64
            One array for each degree l.
        """
        settings, elements, l_max = self.settings, self.table.layout.elements, self.table.layout.l_max
        parts = [self._densities(structure, graph, settings.density_functions, l_max, atoms)]
        if not settings.strictly_local:
            scalars = self.carried(structure, graph) if carried is None else carried
            radial, highest = RadialFunctions(self.cutoff, settings.hop_functions), l_max if settings.tensor_hops else 0
            parts.append(second_hop(structure, graph, radial, elements, scalars, highest, atoms))
        if settings.product_functions:
            radial = RadialFunctions(min(settings.product_cutoff, self.cutoff), settings.product_functions)
            densities = neighbour_densities(structure, graph, radial, elements, l_max, atoms)
            parts.append(tuple(density_products(densities, l) for l in range(l_max + 1)))
        return tuple(np.concatenate([part[l] for part in parts if l < len(part)], axis=1) for l in range(l_max + 1))

    def carried(self, structure: Structure, graph: Graph, atoms: np.ndarray | None = None) -> np.ndarray:
        """Return the scalars (N, F) of all atoms that a second hop carries on.

        Parameters
        ----------
        structure, graph
            As of the features.
        atoms : (n,) array of int, optional
            Atoms whose features are wanted: scalars of others than their neighbours stay zero.
        """
        if self.settings.strictly_local:
            return np.zeros((len(structure), 0))
        needed = np.arange(len(structure)) if atoms is None else np.unique(graph.target[graph.leaving(atoms)[0]])
        own = self._densities(structure, graph, self.settings.carried_functions, 0, needed)[0][:, :, 0]
        result = np.zeros((len(structure), own.shape[1]))
        result[needed] = own
        return result

    def penalties(self, degree: int) -> np.ndarray:
        """Return the penalties of the features' coefficients, relative to each other.

        Parameters
        ----------
        degree : int
            l.

        Returns
        -------
        (F_l,) array of float64
            Larger for what lies farther away.
        """
        settings, kinds = self.settings, len(self.table.layout.elements)
        far = [np.tile(RadialFunctions(self.cutoff, settings.density_functions).centres(), kinds)]
        if not settings.strictly_local and (settings.tensor_hops or degree == 0):
            hop, carried = (
                RadialFunctions(self.cutoff, count).centres()
                for count in (settings.hop_functions, settings.carried_functions)
            )
            far.append(np.tile(hop[:, None] + np.tile(carried, kinds), (kinds, 1)).reshape(-1))
        n_products = count_products(kinds * settings.product_functions, degree, self.table.layout.l_max)
        return np.concatenate(
            [np.exp(np.concatenate(far) / settings.reach), np.full(n_products, settings.product_penalty)]
        )

    def n_features(self, degree: int) -> int:
        """Return the number F_l of features of a degree."""
        return len(self.penalties(degree))

    def _densities(
        self, structure: Structure, graph: Graph, count: int, l_max: int, atoms: np.ndarray | None
    ) -> tuple[np.ndarray, ...]:
        radial = RadialFunctions(self.cutoff, count)
        return neighbour_densities(structure, graph, radial, self.table.layout.elements, l_max, atoms)


@dataclass(frozen=True, eq=False)
class OnSite:
    """The on-site regressions of the known elements.

    Attributes
    ----------
    descriptor : EnvironmentDescriptor
        The features.
    regressions : mapping of (int, int) to Regression
        (Z, l) → the regression of the irreps `IrrepTable.independent(Z, l)`, E_h.
    """

    descriptor: EnvironmentDescriptor
    regressions: Mapping[ElementDegree, Regression]

    def __call__(self, structure: Structure, graph: Graph) -> np.ndarray:
        """Predict the coupled on-site blocks, (N, size) in E_h, zero for an element without regression."""
        features = self.descriptor(structure, graph)
        return self.of_features(features, structure.numbers)

    def of_features(self, features: tuple[np.ndarray, ...], numbers: np.ndarray) -> np.ndarray:
        """Predict the on-site blocks from features that are at hand.

        Parameters
        ----------
        features : tuple of (N, F_l, 2l+1) array
            One array for each degree l.
        numbers : (N,) array of int
            Atomic numbers.

        Returns
        -------
        (N, size) array of float64
            Coupled on-site blocks, E_h; zero for an element without regression.
        """
        table = self.descriptor.table
        result = np.zeros((len(numbers), table.layout.size))
        for (z, degree), regression in self.regressions.items():
            atoms = np.flatnonzero(numbers == z)
            irreps = table.independent(z, degree)
            values = regression(features[degree][atoms])
            for same in (irreps, table.exchanged[irreps]):
                result[atoms[:, None, None], table.columns(same)] = values
        return result


@dataclass(eq=False)
class OnSiteFit:
    """Ridge regressions over the atoms of any number of structures.

    Attributes
    ----------
    descriptor : EnvironmentDescriptor
        The features.
    choose : bool
        Whether cross-validation by structures chooses the penalties, where there are many structures.
    """

    descriptor: EnvironmentDescriptor
    choose: bool = False
    _equations: dict[ElementDegree, NormalEquations] = field(default_factory=dict)
    _samples: dict[ElementDegree, list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)

    def add(self, reference: Reference, features: tuple[np.ndarray, ...]) -> None:
        """Count the atoms of a structure.

        Parameters
        ----------
        reference : Reference
            Its blocks.
        features : tuple of (N, F_l, 2l+1) array
            Features of all of its atoms.
        """
        for z in reference.structure.elements:
            atoms, blocks = reference.on_site(z)
            for degree in range(len(features)):
                columns = self._columns(z, degree)
                if columns is None or len(atoms) == 0:
                    continue
                shape = (self.descriptor.n_features(degree), len(columns), degree)
                equations = self._equations.setdefault((z, degree), NormalEquations(*shape))
                equations.add(features[degree][atoms], blocks[:, columns])
                if self.choose:
                    self._samples.setdefault((z, degree), []).append((features[degree][atoms], blocks[:, columns]))

    def solve(self) -> tuple[OnSite, dict[ElementDegree, Leverage]]:
        """Solve the regressions.

        Returns
        -------
        on_site : OnSite
            The terms of all elements that were met.
        leverages : dict of (int, int) to Leverage
            (Z, l) → how strongly each atom pulled its own prediction.
        """
        settings = self.descriptor.settings
        solved = {}
        for (z, degree), equations in sorted(self._equations.items()):
            ridge = (settings.tensor_ridge if degree else settings.scalar_ridge) * self.descriptor.penalties(degree)
            factor = chosen_factor(self._samples.get((z, degree), ()), degree, ridge)
            solved[z, degree] = equations.solve(factor * ridge)
        on_site = OnSite(self.descriptor, {key: regression for key, (regression, _) in solved.items()})
        return on_site, {key: leverage for key, (_, leverage) in solved.items()}

    def _columns(self, z: int, degree: int) -> np.ndarray | None:
        irreps = self.descriptor.table.independent(z, degree)
        return self.descriptor.table.columns(irreps) if len(irreps) else None


Features = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """Leave-one-out residuals of the usable atoms of one element.

    Attributes
    ----------
    atoms : (n,) array of int64
        The atoms.
    blocks : (n, size) array of float64
        Coupled on-site blocks, E_h.
    residual : (n, size) array of float64
        Blocks minus the predictions of regressions without their own atom, E_h.
    """

    atoms: np.ndarray
    blocks: np.ndarray
    residual: np.ndarray


def fit_on_site(
    descriptor: EnvironmentDescriptor,
    references: Sequence[Reference],
    features: Sequence[Features],
    choose: bool = False,
) -> tuple[OnSite, list[dict[int, LeaveOneOut]]]:
    """Fit the on-site terms, and compute their leave-one-out residuals.

    Parameters
    ----------
    descriptor : EnvironmentDescriptor
        What the features are.
    references : sequence of Reference
        The blocks to be learnt.
    features : sequence of tuple of array
        Features of all atoms of each structure.
    choose : bool
        Whether many structures choose the penalties, by cross-validation.

    Returns
    -------
    on_site : OnSite
        The fitted terms.
    residuals : list of dict of int to LeaveOneOut
        For each structure, Z → residuals.
    """
    fit = OnSiteFit(descriptor, choose)
    for reference, known in zip(references, features):
        fit.add(reference, known)
    on_site, leverages = fit.solve()
    return on_site, [
        _leave_one_out(reference, known, on_site, leverages) for reference, known in zip(references, features)
    ]


def _leave_one_out(
    reference: Reference, features: Features, on_site: OnSite, leverages: dict[ElementDegree, Leverage]
) -> dict[int, LeaveOneOut]:
    table, result = on_site.descriptor.table, {}
    for z in reference.structure.elements:
        atoms, blocks = reference.on_site(z)
        own = tuple(part[atoms] for part in features)
        residual = blocks - on_site.of_features(own, reference.structure.numbers[atoms])
        for (element, degree), leverage in leverages.items():
            if element != z or len(atoms) == 0:
                continue
            irreps = table.independent(z, degree)
            if leverage.offset == 1:  # without its only atom an element has no terms
                leave_one_out = blocks[:, table.columns(irreps)]
            else:
                leave_one_out = leverage.leave_one_out(own[degree], residual[:, table.columns(irreps)])
            for same in (irreps, table.exchanged[irreps]):
                residual[:, table.columns(same)] = leave_one_out
        result[z] = LeaveOneOut(atoms, blocks, residual)
    return result
