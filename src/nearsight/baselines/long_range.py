"""Long range: charges of the atoms from their environments, and what their potential and field tell about every atom.

A charge is a linear function of the scalar features of an atom's environment, fitted to charges of the training
structures. The cell is neutral: the sum of the predicted charges is taken off all of them alike. Their potential, a sum
over all atoms and images, is one more scalar for the on-site regression, their field one more vector. A second hop
carries what distinguishes the charges of the neighbours from the mean of their element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.neighbour_densities import second_hop
from nearsight.baselines.on_site import EnvironmentDescriptor
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.ridge import Leverage, NormalEquations, Regression
from nearsight.electrostatics.potential import electrostatics
from nearsight.errors import InputError
from nearsight.orbitals.rotations import AXES
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

Features = tuple[np.ndarray, ...]


CHARGE_SCALE = 10.0
"""Charges vary by a tenth of what densities do, and the regression takes features to be alike."""


@dataclass(frozen=True, eq=False)
class ChargeModel:
    """Linear models of the charges of the known elements.

    Attributes
    ----------
    regressions : mapping of int to Regression
        Z → charge in e from scalar features.
    means : mapping of int to float
        Z → mean of the charges that were fitted, e.
    """

    regressions: Mapping[int, Regression]
    means: Mapping[int, float]

    def __call__(self, scalars: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Predict the charges of all atoms, (N,) e, neutral in sum, from scalar features (N, F, 1)."""
        result = np.zeros(len(numbers))
        for z, regression in self.regressions.items():
            atoms = np.flatnonzero(numbers == z)
            result[atoms] = regression(scalars[atoms])[:, 0, 0]
        return neutral(result)

    def unlike_mean(self, charges: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Subtract the mean charge of each atom's element.

        Parameters
        ----------
        charges : (N,) array of float
            e.
        numbers : (N,) array of int
            Atomic numbers.

        Returns
        -------
        (N,) array of float64
            Differences, e.
        """
        return np.asarray(charges - np.array([self.means[int(z)] for z in numbers]))


@dataclass(frozen=True)
class LongRangeDescriptor(EnvironmentDescriptor):
    """The descriptor of an environment with a hop of charges, and with their potential and field."""

    def penalties(self, degree: int) -> np.ndarray:
        """Return the relative penalties (F_l,) of all features of a degree, those of charges, potential and field
        included.
        """
        near = np.exp(self._hop.centres() / self.settings.reach)
        far = np.concatenate([np.tile(near, len(self.table.layout.elements)), np.ones(1 if degree < 2 else 0)])
        return np.append(super().penalties(degree), self.settings.long_range_penalty * far)

    def extended(
        self,
        features: Features,
        structure: Structure,
        graph: Graph,
        model: ChargeModel,
        charges: np.ndarray | None = None,
    ) -> Features:
        """Add to the features of `EnvironmentDescriptor` what charges tell.

        Parameters
        ----------
        features : tuple of (N, F_l, 2l+1) array
            Features of the environments for each degree l.
        structure : Structure
            Atoms and cell.
        graph : Graph
            Pairs within the cutoff.
        model : ChargeModel
            Predicts the charges.
        charges : (N,) array of float, optional
            e; those of the model where they are not given.

        Returns
        -------
        tuple of (N, F_l, 2l+1) array
            All features.
        """
        charges = model(features[0], structure.numbers) if charges is None else charges
        layout, found = self.table.layout, electrostatics(structure, charges)
        unlike = CHARGE_SCALE * model.unlike_mean(charges, structure.numbers)[:, None]
        hops = second_hop(structure, graph, self._hop, layout.elements, unlike, layout.l_max)
        far = [found.potential[:, None, None], found.field[:, None, AXES]]
        return tuple(np.concatenate([*parts, *far[l : l + 1]], axis=1) for l, parts in enumerate(zip(features, hops)))

    @property
    def _hop(self) -> RadialFunctions:
        return RadialFunctions(self.cutoff, self.settings.hop_functions)


def fit_charges(
    descriptor: EnvironmentDescriptor,
    features: Sequence[Features],
    structures: Sequence[Structure],
    charges: Sequence[np.ndarray],
) -> tuple[ChargeModel, list[np.ndarray]]:
    """Fit the model of charges, and predict the charges of its own structures by leave-one-out.

    The on-site regression sees the leave-one-out predictions, so that it learns how far predicted charges can be
    trusted.

    Parameters
    ----------
    descriptor : EnvironmentDescriptor
        What the features are, without potential and field.
    features : sequence of tuple of array
        Features of all atoms of each structure.
    structures : sequence of Structure
        The atoms.
    charges : sequence of (N,) array of float
        e, for each structure.

    Returns
    -------
    model : ChargeModel
        The fitted model.
    predicted : list of (N,) array of float64
        Charges of each structure, e, each as if its own atom had not been fitted.

    Raises
    ------
    InputError
        If there is not one row of finite charges for each structure.
    """
    _check(structures, charges)
    known = [neutral(np.asarray(q, dtype=np.float64)) for q in charges]
    regressions, means, predicted = {}, {}, [q.copy() for q in known]
    for z in sorted({z for structure in structures for z in structure.elements}):
        chosen = [np.flatnonzero(structure.numbers == z) for structure in structures]
        equations = NormalEquations(features[0][0].shape[1], 1, 0)
        for part, q, atoms in zip(features, known, chosen):
            equations.add(part[0][atoms], q[atoms, None, None])
        regression, leverage = equations.solve(descriptor.settings.scalar_ridge * descriptor.penalties(0))
        for part, q, atoms, row in zip(features, known, chosen, predicted):
            row[atoms] = q[atoms] - _leave_one_out(part[0][atoms], q[atoms], regression, leverage)
        regressions[z] = regression
        means[z] = float(equations.target_sum[0] / equations.count)
    return ChargeModel(regressions, means), [neutral(q) for q in predicted]


def neutral(charges: np.ndarray) -> np.ndarray:
    """Subtract the mean from charges.

    Parameters
    ----------
    charges : (N,) array of float
        e.

    Returns
    -------
    (N,) array of float64
        Charges that add up to zero.
    """
    return np.asarray(charges - charges.mean())


def _leave_one_out(scalars: np.ndarray, charges: np.ndarray, regression: Regression, leverage: Leverage) -> np.ndarray:
    residual = charges[:, None, None] - regression(scalars)
    if leverage.offset == 1:  # the only atom of its element is its own mean
        return residual[:, 0, 0]
    return leverage.leave_one_out(scalars, residual)[:, 0, 0]


def _check(structures: Sequence[Structure], charges: Sequence[np.ndarray]) -> None:
    found, expected = [np.shape(q) for q in charges], [(len(structure),) for structure in structures]
    if found != expected or not all(np.isfinite(q).all() for q in charges):
        raise InputError(f"expected finite charges (e) for every atom of every structure, {expected}, got {found}")
