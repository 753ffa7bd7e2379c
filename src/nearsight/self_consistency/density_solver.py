"""How charges of a Hamiltonian are found: dense eigenvectors, or purification in sparse blocks for large insulators."""

from __future__ import annotations

from typing import Literal, Protocol

from nearsight.electronic.eigenvectors import eigenvectors
from nearsight.electronic.filling import Filling
from nearsight.electronic.purification import Purified
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.atomic_density import AtomicDensity, Diagonalise, LoewdinBasis
from nearsight.self_consistency.purified_density import PurifiedBasis

DensitySolver = Literal["auto", "dense", "purification"]
DENSITY_SOLVERS: tuple[DensitySolver, ...] = ("auto", "dense", "purification")

DENSE_UP_TO = 8_000
"""Orbitals up to which `auto` is dense: above, purification of an insulator takes less time."""


class DensityBasis(Protocol):
    """Orthogonal orbitals of a structure in which Hamiltonians are filled."""

    def density_of(
        self, hamiltonian: BlockOperator, *, single: bool = False
    ) -> tuple[AtomicDensity, Filling | Purified]:
        """Return the atomic density of a Hamiltonian (eV), and what it was made of."""

    def followed(self, hamiltonian: BlockOperator) -> AtomicDensity | None:
        """Return the atomic density of a Hamiltonian much like the last one; None where there is no shorter way."""


def density_basis(
    calculation: Calculation,
    layout: CoupledLayout,
    temperature: float | None = None,
    functions: BasisSet | None = None,
    solver: DensitySolver = "auto",
    diagonalise: Diagonalise = eigenvectors,
    single: bool = False,
) -> DensityBasis:
    """Return the basis in which a solver finds densities.

    Parameters
    ----------
    calculation, layout, temperature, functions
        As of `LoewdinBasis`.
    solver : {"auto", "dense", "purification"}
        `auto` is dense up to `DENSE_UP_TO` orbitals, and purification above.
    diagonalise : callable, optional
        How dense matrices are diagonalised; by default by LAPACK.
    single : bool, optional
        As of `LoewdinBasis`.

    Raises
    ------
    InputError
        As `LoewdinBasis` or `PurifiedBasis`.
    """
    if chosen(solver, calculation.require_overlap().n_orbitals) == "dense":
        return LoewdinBasis(calculation, layout, temperature, diagonalise, functions, single)
    return PurifiedBasis(calculation, layout, temperature, functions)


def chosen(solver: DensitySolver, n_orbitals: int) -> Literal["dense", "purification"]:
    """Return what `auto` is for a number of orbitals."""
    if solver != "auto":
        return solver
    return "dense" if n_orbitals <= DENSE_UP_TO else "purification"
