"""How far a predicted spectrum is from the reference, and what that does to what is measured: gap, Fermi level, density
of states, frontier states, charges.

A small mean error of matrix elements can hide a wrong gap, and a large common shift of all levels changes nothing that
is measured. docs/metrics.md says what each number means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.density_matrix import band_energy
from nearsight.electronic.density_of_states import REACH, broadened
from nearsight.electronic.matrices import Matrix, sparse_hermitian
from nearsight.electronic.populations import charges_of
from nearsight.electronic.spectrum import Spectrum, States
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation

GAP_WINDOW = 3.0
"""Energy (eV) below the HOMO and above the LUMO within which levels count as near the gap."""


@dataclass(frozen=True)
class SpectrumErrors:
    """Errors of the eigenvalues, level by level (the k-th with the k-th).

    Attributes
    ----------
    relative_l1, relative_l2 : float
        ‖E_pred − E_ref‖_p / ‖E_ref‖_p over all levels (paper, Fig. 5; not squared). They depend on the zero of energy.
    relative_l1_occupied, relative_l2_occupied : float
        As above over the occupied levels.
    mean_absolute, mean_absolute_occupied, mean_absolute_near_gap : float
        Mean |E_pred − E_ref|, in eV; the last over levels at most `GAP_WINDOW` below the reference's HOMO or above its
        LUMO.
    mean_occupied : float
        Mean of E_pred − E_ref over the occupied levels, in eV: their common shift.
    largest : float
        max |E_pred − E_ref|, in eV.
    gap_prediction, gap_reference : float
        In eV.
    """

    relative_l1: float
    relative_l2: float
    relative_l1_occupied: float
    relative_l2_occupied: float
    mean_absolute: float
    mean_absolute_occupied: float
    mean_absolute_near_gap: float
    mean_occupied: float
    largest: float
    gap_prediction: float
    gap_reference: float


def spectrum_errors(prediction: Spectrum, reference: Spectrum) -> SpectrumErrors:
    """Compute the errors of predicted eigenvalues.

    Parameters
    ----------
    prediction, reference : Spectrum
        All levels, with the same number of electrons.

    Returns
    -------
    SpectrumErrors
        In eV where not relative.

    Raises
    ------
    InputError
        If the numbers of levels or electrons differ.
    """
    ours, exact = common_levels(prediction, reference)
    filled = reference.n_filled
    error = ours - exact
    absolute = np.abs(error)
    near = (exact >= reference.homo - GAP_WINDOW) & (exact <= reference.lumo + GAP_WINDOW)
    return SpectrumErrors(
        _relative(error, exact, 1),
        _relative(error, exact, 2),
        _relative(error[:filled], exact[:filled], 1),
        _relative(error[:filled], exact[:filled], 2),
        float(absolute.mean()),
        mean(absolute[:filled]),
        mean(absolute[near]),
        mean(error[:filled]),
        float(absolute.max()),
        prediction.gap,
        reference.gap,
    )


def common_levels(prediction: Spectrum, reference: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels that are compared, the k-th with the k-th.

    The highest levels have no partner where directions were projected out.

    Parameters
    ----------
    prediction, reference : Spectrum
        All levels.

    Returns
    -------
    prediction, reference : ndarray of shape (m,)
        In eV.

    Raises
    ------
    InputError
        If the numbers of orbitals or electrons differ, or one is a window of levels.
    """
    sizes = [s.n_levels + s.projected_out for s in (prediction, reference)]
    if sizes[0] != sizes[1] or prediction.n_electrons != reference.n_electrons:
        raise InputError(
            f"expected two spectra of {sizes[1]} levels and {reference.n_electrons} electrons, got a "
            f"prediction of {sizes[0]} levels and {prediction.n_electrons} electrons"
        )
    if not prediction.complete or not reference.complete:
        raise InputError("expected all levels of both, got a window of them")
    number = min(prediction.n_levels, reference.n_levels)
    return prediction.eigenvalues[:number], reference.eigenvalues[:number]


def level_changes(levels: Spectrum, exact: Spectrum) -> np.ndarray:
    """Return |E − E_exact| of the levels that both spectra have, the k-th with the k-th.

    Parameters
    ----------
    levels, exact : Spectrum
        Complete spectra; directions of the basis may be projected out of either.

    Returns
    -------
    (n,) array of float
        eV, from the lowest level on.
    """
    number = min(len(levels.eigenvalues), len(exact.eigenvalues))
    return np.abs(levels.eigenvalues[:number] - exact.eigenvalues[:number])


def _relative(error: np.ndarray, exact: np.ndarray, order: int) -> float:
    scale = float(np.linalg.norm(exact, order)) if len(exact) else 0.0
    return float(np.linalg.norm(error, order)) / scale if scale > 0 else float("nan")


DOS_WIDTH = 0.1
"""Width (eV) of the Gaussians of densities that are compared."""
FRONTIER = 0.1
"""Distance (eV) from HOMO or LUMO within which reference states count as the frontier: levels nearer than this mix
freely.
"""


@dataclass(frozen=True)
class LevelErrors:
    """Errors that follow from levels alone: prediction − reference, in eV, where not said otherwise.

    Attributes
    ----------
    homo, lumo, gap, fermi : float
        Errors of these levels and of the gap.
    shift : float
        Common shift of the occupied levels.
    occupied_shifted : float
        Mean |error| of the occupied levels after that shift is subtracted.
    dos, dos_occupied : float
        ∫|g − g'| / ∫g' of densities of states with Gaussians of `DOS_WIDTH`, 0 (the same) to 2 (apart), of all levels
        and of the occupied ones.
    dos_shifted : float
        `dos_occupied` after the shift is subtracted.
    band_energy : float
        Error of Σ f ε, in eV per atom.
    """

    homo: float
    lumo: float
    gap: float
    fermi: float
    shift: float
    occupied_shifted: float
    dos: float
    dos_occupied: float
    dos_shifted: float
    band_energy: float


@dataclass(frozen=True)
class StateErrors:
    """Errors of wavefunctions and of what follows from them.

    Attributes
    ----------
    homo_overlap, lumo_overlap : float
        Share of the predicted state in the reference's states of the same filling within `FRONTIER` of its HOMO or
        LUMO, 0 to 1. It does not depend on the choice among degenerate states.
    misplaced : float
        Share of the electrons that are outside the reference's occupied space, 1 − Tr P S P' S / 4N with N levels.
    charge : float
        Mean |q − q'| of Mulliken's charges, in e.
    largest_charge : float
        Largest |q − q'|, in e.
    rms_charge : float
        √(mean of (q − q')²), in e.
    """

    homo_overlap: float
    lumo_overlap: float
    misplaced: float
    charge: float
    largest_charge: float
    rms_charge: float


def level_errors(prediction: Spectrum, reference: Spectrum, n_atoms: int) -> LevelErrors:
    """Compute the errors of complete spectra.

    Parameters
    ----------
    prediction, reference : Spectrum
        With the same number of electrons.
    n_atoms : int
        For the band energy per atom.

    Returns
    -------
    LevelErrors
        Prediction − reference.

    Raises
    ------
    InputError
        If the numbers of electrons differ, or one is a window of levels.
    """
    ours, theirs = common_levels(prediction, reference)
    filled = reference.n_filled
    error = ours[:filled] - theirs[:filled]
    shift = float(error.mean()) if filled else float("nan")
    energies = (band_energy(s, s.filling()) for s in (prediction, reference))
    return LevelErrors(
        prediction.homo - reference.homo,
        prediction.lumo - reference.lumo,
        prediction.gap - reference.gap,
        prediction.fermi - reference.fermi,
        shift,
        float(np.abs(error - shift).mean()) if filled else float("nan"),
        dos_distance(ours, theirs),
        dos_distance(ours[:filled], theirs[:filled]),
        dos_distance(ours[:filled] - shift, theirs[:filled]),
        (next(energies) - next(energies)) / n_atoms,
    )


def dos_distance(prediction: np.ndarray, reference: np.ndarray, width: float = DOS_WIDTH) -> float:
    """Compute ∫|g − g'| / ∫g' of the densities of states of two lists of levels.

    Parameters
    ----------
    prediction, reference : ndarray of shape (n,)
        Levels in eV.
    width : float
        Standard deviation of the Gaussians, in eV.

    Returns
    -------
    float
        0 to 2 for lists of the same length; NaN of none.
    """
    if len(reference) == 0:
        return float("nan")
    lower = min(prediction.min(), reference.min()) - REACH * width
    upper = max(prediction.max(), reference.max()) + REACH * width
    energies = np.arange(lower, upper + width / 5, width / 5)
    ours, theirs = (
        broadened(levels, np.ones((1, len(levels))), energies, width)[0] for levels in (prediction, reference)
    )
    return float(np.abs(ours - theirs).sum() / theirs.sum())


def state_errors(prediction: States, reference: States, overlap: Matrix, calculation: Calculation) -> StateErrors:
    """Compute the errors of all states.

    Parameters
    ----------
    prediction, reference : States
        All states, with the same S and number of electrons.
    overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        S.
    calculation : Calculation
        Atoms, basis and valence.

    Returns
    -------
    StateErrors
        Of frontier states, occupied space and charges.

    Raises
    ------
    InputError
        If the numbers of orbitals differ, or one is a window of states.
    """
    if len(prediction.coefficients) != len(reference.coefficients):
        raise InputError(
            f"expected states of the same orbitals, got {len(prediction.coefficients)} and "
            f"{len(reference.coefficients)}"
        )
    if prediction.spectrum.first or reference.spectrum.first:
        raise InputError("expected all states, got a window of them")
    s = sparse_hermitian(overlap, "S")
    filled, spectrum = reference.spectrum.n_filled, reference.spectrum
    ours, theirs = prediction.coefficients, s @ reference.coefficients
    shares = np.abs(theirs[:, :filled].conj().T @ ours[:, :filled]) ** 2
    charges = [
        charges_of(states, states.spectrum.filling(), overlap, calculation, "mulliken")
        for states in (prediction, reference)
    ]
    difference = np.abs(charges[0] - charges[1])
    occupied = np.flatnonzero(spectrum.eigenvalues[:filled] >= spectrum.homo - FRONTIER)
    empty = spectrum.n_occupied + np.flatnonzero(
        spectrum.eigenvalues[spectrum.n_occupied :] <= spectrum.lumo + FRONTIER
    )
    return StateErrors(
        _share(theirs, ours, occupied, prediction.spectrum.n_filled - 1),
        _share(theirs, ours, empty, prediction.spectrum.n_occupied),
        float(1 - shares.sum() / filled) if filled else float("nan"),
        float(difference.mean()),
        float(difference.max()),
        float(np.sqrt((difference**2).mean())),
    )


def _share(theirs: np.ndarray, ours: np.ndarray, among: np.ndarray, state: int) -> float:
    """Of a predicted state, in the span of some reference states."""
    if not 0 <= state < ours.shape[1] or len(among) == 0:
        return float("nan")
    return float((np.abs(theirs[:, among].conj().T @ ours[:, state]) ** 2).sum())


def mean(values: np.ndarray) -> float:
    """Return the mean of some values; NaN where there are none."""
    return float(values.mean()) if len(values) else float("nan")
