"""Evaluation: a predicted calculation against its reference, everything at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.eigen import solve, solve_states
from nearsight.electronic.matrix_errors import MatrixErrors, Parity, matrix_errors, parity
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import (
    GAP_WINDOW,
    LevelErrors,
    SpectrumErrors,
    StateErrors,
    level_errors,
    spectrum_errors,
    state_errors,
)
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import hermitian_part, hermiticity_error
from nearsight.progress import Event, Progress, silent
from nearsight.structures.structure import Structure
from nearsight.units import ev_to_millihartree

STATES_UP_TO = 3000
"""Orbitals up to which states and charges are compared without being asked for: that takes seconds."""
SAME_PLACE = 1e-3
"""Distance (Å) within which atoms are at the same place; coordinates in text files have three or more decimals."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A prediction against its reference.

    Attributes
    ----------
    matrix : MatrixErrors
        Errors of the matrix elements.
    parity : Parity
        Elements side by side.
    hermiticity_error : float
        max |H − H†| of the prediction, in eV; its Hermitian part gave the spectrum.
    spectrum : SpectrumErrors or None
        Errors of the eigenvalues. None where they were not asked for or there is no overlap.
    prediction, reference : Spectrum or None
        The spectra.
    missing_overlap : bool
        Whether eigenvalues were asked for, but neither calculation holds an overlap.
    levels : LevelErrors or None
        What the levels say of gap, Fermi level and density of states.
    states : StateErrors or None
        Errors of wavefunctions and charges. None where they were not asked for.
    """

    matrix: MatrixErrors
    parity: Parity
    hermiticity_error: float
    spectrum: SpectrumErrors | None = None
    prediction: Spectrum | None = None
    reference: Spectrum | None = None
    missing_overlap: bool = False
    levels: LevelErrors | None = None
    states: StateErrors | None = None

    def __str__(self) -> str:
        """Return the numbers that matter most, in lines."""
        m, s = self.matrix, self.spectrum
        eps = (f"{ev_to_millihartree(value):.4f} mE_h" for value in (m.eps_n, m.eps_e, m.eps_tot))
        lines = ["ε_n {}, ε_e {}, ε_tot {}".format(*eps)]
        if s is not None:
            lines += [
                f"gap {s.gap_prediction:.3f} eV, reference {s.gap_reference:.3f} eV",
                f"levels, mean error: all {1e3 * s.mean_absolute:.1f}, occupied {1e3 * s.mean_absolute_occupied:.1f}, "
                f"within {GAP_WINDOW:g} eV of the gap {1e3 * s.mean_absolute_near_gap:.1f} meV",
            ]
        if self.states is not None:
            lines.append(f"Mulliken charges, r.m.s. error {self.states.rms_charge:.4f} e")
        return "\n".join(lines)


def evaluate(
    prediction: Calculation,
    reference: Calculation,
    eigenvalues: bool = True,
    states: bool | None = False,
    progress: Progress = silent,
) -> Evaluation:
    """Compute the errors of a predicted Hamiltonian, of its spectrum and of its states.

    Both spectra use the reference's overlap, or the prediction's where the reference has none. Directions in which the
    prediction says nothing (`electronic.conditioning`) are projected out of its spectrum, not of the reference's.

    Parameters
    ----------
    prediction, reference : Calculation
        Of one structure.
    eigenvalues : bool
        Whether the spectra are compared.
    states : bool or None
        Whether wavefunctions and charges are compared, too, which takes several times as long; None is up to
        `STATES_UP_TO` orbitals.
    progress : callable, optional
        Told what is under way.

    Returns
    -------
    Evaluation
        With None for what was not compared.

    Raises
    ------
    InputError
        If the structures differ, a Hamiltonian is missing, or `solve` refuses the matrices.
    """
    check_same_structure(prediction, reference)
    progress(Event("matrix elements"))
    predicted, exact = prediction.require_hamiltonian(), reference.require_hamiltonian()
    errors = matrix_errors(predicted, exact, prediction.structure)
    sample = parity(predicted, exact)
    deviation = hermiticity_error(predicted)
    overlap = reference.overlap if reference.overlap is not None else prediction.overlap
    if not eigenvalues or overlap is None:
        return Evaluation(errors, sample, deviation, missing_overlap=eigenvalues)
    electrons = _electrons(prediction, reference)
    states = predicted.n_orbitals <= STATES_UP_TO if states is None else states
    progress(Event("states of both" if states else "eigenvalues of both"))
    predicted, threshold = hermitian_part(predicted), overlap_threshold(prediction)
    if not states:
        ours, theirs = solve(predicted, overlap, electrons, threshold=threshold), solve(exact, overlap, electrons)
        found = None
    else:
        first = solve_states(predicted, overlap, electrons, method="dense", threshold=threshold)
        second = solve_states(exact, overlap, electrons, method="dense")
        ours, theirs = first.spectrum, second.spectrum
        known = reference if _knows_valence(reference) else prediction
        found = state_errors(first, second, overlap, known)
    return Evaluation(
        errors,
        sample,
        deviation,
        spectrum_errors(ours, theirs),
        ours,
        theirs,
        levels=level_errors(ours, theirs, len(reference.structure)),
        states=found,
    )


def spectrum_of(
    calculation: Calculation, overlap: BlockOperator | None = None, n_electrons: int | None = None
) -> Spectrum:
    """Compute the spectrum of one calculation at Γ.

    Parameters
    ----------
    calculation : Calculation
        With a Hamiltonian.
    overlap : BlockOperator, optional
        Instead of the calculation's own.
    n_electrons : int, optional
        Instead of the calculation's own, its valence electrons less its charge.

    Returns
    -------
    Spectrum
        All levels.

    Raises
    ------
    InputError
        If there is no Hamiltonian or no overlap, a valence is unknown, or `solve` refuses the matrices.
    """
    hamiltonian = calculation.require_hamiltonian()
    s = overlap if overlap is not None else calculation.require_overlap()
    if n_electrons is None:
        n_electrons = calculation.n_electrons
    return solve(hamiltonian, s, n_electrons, threshold=overlap_threshold(calculation))


def check_same_structure(prediction: Calculation, reference: Calculation) -> None:
    """Check that two calculations have the same atoms in the same order and places, and the same cell.

    Atoms may differ by lattice vectors where a Hamiltonian is folded to Γ, which does not know them.

    Raises
    ------
    InputError
        If they do not.
    """
    ours, theirs = prediction.structure, reference.structure
    if len(ours) != len(theirs) or ours.formula != theirs.formula:
        raise InputError(
            f"expected prediction and reference of the same structure, got {ours.formula} and {theirs.formula}"
        )
    if not np.array_equal(ours.numbers, theirs.numbers):
        first = int(np.argmin(ours.numbers == theirs.numbers))
        raise InputError(f"expected the atoms in the same order, got another element at atom {first} (counted from 0)")
    _check_cells(ours, theirs)
    _check_positions(ours, theirs, _any_folded(prediction, reference))


def _check_cells(ours: Structure, theirs: Structure) -> None:
    if not np.array_equal(ours.pbc, theirs.pbc):
        raise InputError(
            f"expected the same periodic directions, got {ours.pbc.tolist()} in the prediction "
            f"and {theirs.pbc.tolist()} in the reference"
        )
    periodic = ours.pbc
    if not np.allclose(ours.cell[periodic], theirs.cell[periodic], rtol=0, atol=SAME_PLACE):
        raise InputError(
            f"expected the same cell, got {ours.cell.tolist()} Å in the prediction and "
            f"{theirs.cell.tolist()} Å in the reference"
        )


def _check_positions(ours: Structure, theirs: Structure, modulo_cell: bool) -> None:
    difference = ours.positions - theirs.positions
    whole = np.zeros_like(difference)
    if ours.pbc.any():
        fractional = difference @ np.linalg.pinv(theirs.cell)
        whole = np.where(theirs.pbc, np.round(fractional), 0.0) @ theirs.cell
    distance = np.linalg.norm(difference - whole, axis=1)
    atom = int(np.argmax(distance))
    if distance[atom] > SAME_PLACE:
        raise InputError(
            f"expected the atoms at the same places (within {SAME_PLACE} Å), got atom {atom} "
            f"(counted from 0) {distance[atom]:.4f} Å away; are these two structures?"
        )
    if not modulo_cell and np.abs(whole).max(initial=0.0) > SAME_PLACE:
        atom = int(np.argmax(np.abs(whole).max(axis=1)))
        raise InputError(
            f"expected the atoms in the same cells, got atom {atom} (counted from 0) moved by a "
            "lattice vector; predict from the reference's own positions, wrapped alike"
        )


def _any_folded(*calculations: Calculation) -> bool:
    return any(c.hamiltonian is not None and c.hamiltonian.folded for c in calculations)


def _electrons(prediction: Calculation, reference: Calculation) -> int:
    """Valence electrons from the reference's basis, or the prediction's where it does not know them."""
    return (reference if _knows_valence(reference) else prediction).n_electrons


def _knows_valence(calculation: Calculation) -> bool:
    return all(int(z) in calculation.basis.valence for z in np.unique(calculation.structure.numbers))
