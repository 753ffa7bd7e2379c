"""What holds for every calculation, checked once where one comes from outside.

Inside the package these hold by construction, and hot paths do not ask again.
"""

from __future__ import annotations

import numpy as np

from nearsight.elements import HEAVIEST, symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import is_ascending

LARGEST = {"H": 1e9, "H of spin up": 1e9, "H of spin down": 1e9, "S": 1e6, "H₀": 1e9}
"""eV, and for S 1: magnitudes far beyond those of any matrix element, at which sums of squares are still exact."""
_LARGEST_ENERGY = 1e10
"""eV, of a whole structure."""
_LARGEST_K = 1e3
"""In units of the reciprocal lattice vectors: k-points that codes write are in (−1, 1]."""
_MOST_ORBITALS = 512
"""Of one atom; real basis sets have up to 200."""


def check_calculation_values(calculation: Calculation) -> None:
    """Check the numbers of a calculation and the pairs of its matrices.

    Parameters
    ----------
    calculation : Calculation
        What a file held.

    Raises
    ------
    InputError
        If a valence is larger than the atomic number, or a charge than the orbitals allow; an energy, a Fermi level, a
        cutoff, eigenvalues, k-points or error estimates are not finite, not of the right shape, or cannot be; or pairs
        of a matrix are of other atoms, not sorted, or its elements too large.
    """
    check_basis(calculation.basis)
    check_charge(calculation)
    for name, value in (("total energy", calculation.energy), ("Fermi level", calculation.fermi)):
        if value is not None and not abs(value) < _LARGEST_ENERGY:
            raise InputError(f"expected a finite {name} in eV, got {value}")
    if calculation.cutoff is not None and not 0 < calculation.cutoff < np.inf:
        raise InputError(f"expected a positive cutoff in Å, got {calculation.cutoff}")
    _check_levels(calculation)
    for name, operator in matrices(calculation):
        check_operator(name, operator)
    estimate = calculation.error_estimate
    if estimate is not None and not (np.isfinite(estimate) & (np.asarray(estimate) >= 0)).all():
        raise InputError("expected error estimates that are finite and not negative, got others")


def check_charge(calculation: Calculation) -> None:
    """Check that a charge leaves no less than no electron and no more than two in each orbital.

    Parameters
    ----------
    calculation : Calculation
        Whose valence may be unknown, with which nothing is checked.

    Raises
    ------
    InputError
        If not.
    """
    basis, numbers = calculation.basis, calculation.structure.numbers
    if any(int(z) not in basis.valence for z in calculation.structure.elements):
        return
    neutral, room = basis.n_electrons(numbers), 2 * int(basis.offsets(numbers)[-1])
    if not 0 <= neutral - calculation.charge <= room:
        raise InputError(
            f"expected a charge of {neutral - room} to {neutral} e for the {neutral} valence electrons and {room // 2} "
            f"orbitals of {calculation.structure.formula}, got {calculation.charge:g}"
        )


def check_reverses(calculation: Calculation) -> None:
    """Check that every stored pair (i, j, R) of every matrix has its reverse (j, i, −R).

    Raises
    ------
    InputError
        If one has none.
    """
    for name, operator in matrices(calculation):
        try:
            _ = operator.reverse  # and known from then on
        except InputError as error:
            raise InputError(f"{name}: {error}") from error


def matrices(calculation: Calculation) -> list[tuple[str, BlockOperator]]:
    """Return the matrices of a calculation with their names in formulas."""
    named = (
        ("H", calculation.hamiltonian),
        ("H of spin up", calculation.hamiltonian_up),
        ("H of spin down", calculation.hamiltonian_down),
        ("S", calculation.overlap),
        ("H₀", calculation.h0),
    )
    return [(name, operator) for name, operator in named if operator is not None]


def check_operator(name: str, operator: BlockOperator) -> None:
    """Check the pairs and the numbers of one matrix.

    Parameters
    ----------
    name : {"H", "H of spin up", "H of spin down", "S", "H₀"}
        The matrix.
    operator : BlockOperator
        Its blocks.

    Raises
    ------
    InputError
        If columns are of different lengths, atoms do not exist, pairs are not sorted or occur twice, a folded matrix
        has pairs in other cells, or an element is too large or not finite.
    """
    source, target, shift = operator.source, operator.target, operator.shift
    if not (len(source) == len(target) == len(shift)) or shift.shape != (len(source), 3):
        raise InputError(f"expected as many sources as targets and shifts in {name}, got {len(source)}, {len(target)}")
    if not len(source):
        return
    lowest, highest = min(source.min(), target.min()), max(source.max(), target.max())
    if lowest < 0 or highest >= operator.n_atoms:
        raise InputError(f"expected pairs of atoms 0 to {operator.n_atoms - 1} in {name}, got {lowest} to {highest}")
    if not is_ascending(source, target, shift, strictly=True):
        raise InputError(f"expected pairs of {name} sorted by (i, j, R), each once, got others")
    if operator.folded and shift.any():
        raise InputError(f"expected R = 0 for all pairs of {name}, whose images are summed, got others")
    largest = max(float(operator.values.max()), -float(operator.values.min())) if len(operator.values) else 0.0
    if not largest < LARGEST[name]:
        raise InputError(f"expected elements of {name} below {LARGEST[name]:g}, got {largest:g}; are the units right?")


def check_basis(basis: BasisSet) -> None:
    """Check that a basis has a name of one line, elements that exist, and not more functions than any real one.

    Parameters
    ----------
    basis : BasisSet
        What a file held.

    Raises
    ------
    InputError
        If not, or if a valence is larger than the atomic number.
    """
    if not isinstance(basis.name, str) or not basis.name.isprintable():
        raise InputError(f"expected one line of text as the name of the basis, got {basis.name!r:.80}")
    for z, shells in basis.shells.items():
        if not 0 <= z <= HEAVIEST:
            raise InputError(f"expected elements 0 to {HEAVIEST} in the basis, got {z}")
        if sum(2 * l + 1 for l in shells) > _MOST_ORBITALS:
            raise InputError(f"expected at most {_MOST_ORBITALS} orbitals of {symbol_of(z)}, got more")
    for z, valence in basis.valence.items():
        if z not in basis.shells or not 0 <= valence <= z:
            raise InputError(f"expected 0 to {z} valence electrons of {symbol_of(z)}, got {valence}")


def _check_levels(calculation: Calculation) -> None:
    n = int(calculation.basis.offsets(calculation.structure.numbers)[-1])
    levels, k_points, k_levels = calculation.eigenvalues, calculation.k_points, calculation.k_eigenvalues
    if levels is not None:
        _check_ascending("eigenvalues", np.asarray(levels), n, 1)
    if k_points is not None and (
        np.ndim(k_points) != 2
        or np.shape(k_points)[1] != 3
        or not len(k_points)
        or not (np.abs(k_points) < _LARGEST_K).all()
    ):
        raise InputError(
            f"expected k-points of shape (k, 3) in units of the reciprocal lattice vectors, got shape "
            f"{np.shape(k_points)}, or numbers that are none or beyond {_LARGEST_K:g}"
        )
    if k_levels is not None:
        of_spins = calculation.spin_polarised
        _check_ascending("eigenvalues at k-points", np.asarray(k_levels), n, 3 if of_spins else 2)
        per_spin = k_levels[0] if of_spins and len(k_levels) == 2 else k_levels
        if k_points is None or len(per_spin) != len(k_points):
            raise InputError(
                f"expected eigenvalues for {0 if k_points is None else len(k_points)} k-points, got {len(per_spin)}"
            )


def _check_ascending(what: str, levels: np.ndarray, n: int, dimensions: int) -> None:
    if levels.ndim != dimensions or levels.shape[-1] > n:
        raise InputError(f"expected at most {n} {what}, as many as orbitals, got an array of shape {levels.shape}")
    if not (np.isfinite(levels) & (np.abs(levels) < LARGEST["H"])).all():
        raise InputError(f"expected finite {what} in eV, got others")
    if (np.diff(levels, axis=-1) < 0).any():
        raise InputError(f"expected {what} in ascending order, got another")
