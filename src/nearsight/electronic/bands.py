"""Bands: levels along a path of k-points, from real-space operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.eigen import solve
from nearsight.electronic.k_points import KPath
from nearsight.electronic.matrices import sparse_hermitian
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, silent

CLOSED_SHELL = 2


@dataclass(frozen=True, eq=False)
class Bands:
    """Levels along a path of k-points.

    Attributes
    ----------
    path : KPath
        The K points.
    levels : ndarray of shape (K, n)
        Levels in eV, ascending at every k.
    n_occupied : int
        Number of filled bands of an insulator: half the electrons, rounded up. 0 where their number is not known.
    residual : float
        Largest residual of all points in eV (`eigen.solve`).
    """

    path: KPath
    levels: np.ndarray
    n_occupied: int
    residual: float

    @property
    def highest_occupied(self) -> tuple[float, int]:
        """Top of the filled bands in eV, and the index of its point of the path. NaN and −1 without electrons."""
        if self.n_occupied == 0:
            return float("nan"), -1
        band = self.levels[:, self.n_occupied - 1]
        return float(band.max()), int(band.argmax())

    @property
    def lowest_empty(self) -> tuple[float, int]:
        """Bottom of the empty bands in eV, and the index of its point of the path. NaN and −1 where there are none."""
        if self.n_occupied >= self.levels.shape[1]:
            return float("nan"), -1
        band = self.levels[:, self.n_occupied]
        return float(band.min()), int(band.argmin())

    @property
    def gap(self) -> float:
        """Smallest difference of an empty and a filled level at any two points of the path, in eV. Negative for a
        metal.
        """
        return self.lowest_empty[0] - self.highest_occupied[0]

    @property
    def direct_gap(self) -> float:
        """Smallest difference of an empty and a filled level at one point of the path, in eV."""
        if not 0 < self.n_occupied < self.levels.shape[1]:
            return float("nan")
        return float((self.levels[:, self.n_occupied] - self.levels[:, self.n_occupied - 1]).min())


@dataclass(frozen=True)
class BandErrors:
    """Differences of levels along one path, in eV.

    Attributes
    ----------
    largest, mean : float
        Largest and mean absolute difference of all levels that both hold.
    largest_occupied : float
        Largest absolute difference of the filled bands.
    """

    largest: float
    mean: float
    largest_occupied: float


def band_errors(bands: Bands, reference: np.ndarray) -> BandErrors:
    """Compare bands with other levels at the same k-points, the lowest with the lowest.

    Parameters
    ----------
    bands : Bands
        K points, n levels.
    reference : ndarray of shape (K, m)
        Levels in eV, ascending at every k.

    Returns
    -------
    BandErrors
        Of the lowest min(n, m) levels.

    Raises
    ------
    InputError
        If there are other numbers of k-points.
    """
    if len(reference) != len(bands.levels):
        raise InputError(f"expected reference levels at {len(bands.levels)} k-points, got {len(reference)}")
    common = min(bands.levels.shape[1], reference.shape[1])
    difference = np.abs(bands.levels[:, :common] - reference[:, :common])
    filled = difference[:, : bands.n_occupied]
    return BandErrors(float(difference.max()), float(difference.mean()), float(filled.max(initial=0)))


def bands(calculation: Calculation, path: KPath, progress: Progress = silent) -> Bands:
    """Diagonalise H(k) c = ε S(k) c at every point of a path.

    Parameters
    ----------
    calculation : Calculation
        H and S in real space; without the valence of every element nothing is filled.
    path : KPath
        The points.
    progress : callable, optional
        Told the number of points done.

    Returns
    -------
    Bands
        Levels at every point.

    Raises
    ------
    InputError
        If an operator is folded to Γ, there is no S, or `eigen.solve` refuses the matrices.
    """
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    known = all(z in calculation.basis.valence for z in calculation.structure.elements)
    electrons, threshold = calculation.n_electrons if known else 0, overlap_threshold(calculation)
    levels: list[np.ndarray] = []
    residual = 0.0
    for done, k in enumerate(path.points):
        spectrum = solve(hamiltonian_at(h, k), hamiltonian_at(s, k), electrons, threshold=threshold)
        if levels and len(levels[0]) != spectrum.n_levels:
            raise InputError(
                f"expected as many levels at every k-point, got {len(levels[0])} and {spectrum.n_levels}: "
                "directions that S does not resolve; use a smaller or less diffuse basis"
            )
        levels.append(spectrum.eigenvalues)
        residual = max(residual, spectrum.residual)
        progress(Event(done=done + 1, total=len(path.points)))
    return Bands(path, np.stack(levels), -(-electrons // CLOSED_SHELL), residual)


def hamiltonian_at(operator: BlockOperator, k: np.ndarray) -> sparse.csr_matrix:
    """Return H(k) or S(k).

    Parameters
    ----------
    operator : BlockOperator
        In real space.
    k : ndarray of shape (3,)
        In units of the reciprocal lattice vectors.

    Returns
    -------
    sparse matrix of shape (n, n)
        Complex and Hermitian.

    Raises
    ------
    InputError
        If the operator is folded to Γ, or not Hermitian.
    """
    if operator.folded:
        raise InputError(
            "expected a real-space operator for bands, got one folded to Γ; such a matrix knows no k. "
            "Predictions are in real space, and so is a CP2K run with &KPOINTS and REAL_SPACE "
            "(docs/formats.md), or a PySCF one with kpoints"
        )
    return sparse_hermitian(bloch(operator, k), "H(k)")
