"""The density of states of structures too large to be diagonalised: stochastic kernel polynomials.

Moments μ_n = Tr T_n of the scaled pencil follow from a few random vectors (Weiße et al., Rev. Mod. Phys. 78, 275,
2006), and Jackson's kernel makes a positive density of them. H and S are first brought to Ĥ = G H Gᵀ, Ŝ = G S Gᵀ with
a sparse G that makes Ŝ well-conditioned (`approximate_inverse`), and P ≈ Ŝ⁻¹ is a short Chebyshev series in Ŝ. Ĥ P has
the levels of H and S and is symmetric in the inner product of P. With u₀ = P^(−½) z and E z zᵀ = 1,

    u_n = T_n u₀,    μ_n = E u₀ᵀ P u_n,    μ_2n = 2 u_nᵀ P u_n − μ₀,    μ_2n+1 = 2 u_nᵀ P u_n+1 − μ₁

Time and memory are linear in the number of atoms.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.optimize import brentq

from nearsight.electronic.approximate_inverse import approximate_inverse_factor
from nearsight.electronic.chebyshev import Interval, apply_series, extremes, series
from nearsight.electronic.mapped_product import Parts, bytes_of, mapped_product
from nearsight.electronic.matrices import AT_ONCE, Matrix, SparseProduct, check_same_size, sparse_hermitian
from nearsight.errors import InputError
from nearsight.progress import Event, Progress, silent

RESOLUTION = 0.2
"""Default resolution, in eV."""
LARGE = 20_000
"""Number of orbitals from which on products are in single precision and small elements are left out."""
TOLERANCE = 1e-4
"""Relative error of P: it moves a level by this times its energy."""
SMALL_H, SMALL_S = 1 / 150, 1 / 7500
"""Elements of H below this times the resolution are left out, of S below this times the resolution over 1 eV. In
amorphous HfO₂ both change no level by more than a quarter of the resolution."""
MARGIN = 0.02
"""Margin on either side of the spectrum, relative to its width."""
STEPS = 40
"""Number of Lanczos steps for the bounds of the spectra of H and S."""


@dataclass(frozen=True, eq=False)
class StochasticDensity:
    """A density of states by its Chebyshev moments.

    Attributes
    ----------
    moments : ndarray of shape (r, N)
        Estimate of Tr T_n by each of r random vectors.
    interval : Interval
        Energies (eV) to which the levels were scaled; all lie inside.
    n_levels : int
        Number of levels in all.
    """

    moments: np.ndarray
    interval: Interval
    n_levels: int

    @property
    def n_vectors(self) -> int:
        """Number of random vectors."""
        return len(self.moments)

    @property
    def resolution(self) -> float:
        """Standard deviation of Jackson's kernel in the middle of the spectrum, in eV; smaller towards its ends."""
        return float(np.pi * self.interval.half_width / self.moments.shape[1])

    @property
    def bounds(self) -> tuple[float, float]:
        """Energies (eV) between which all levels lie."""
        return self.interval.lower, self.interval.upper

    def density(self, energies: np.ndarray) -> np.ndarray:
        """Compute how many electrons per eV levels at these energies (eV) can hold, two to a level; zero outside the
        bounds.
        """
        return np.asarray(self._densities(energies).mean(axis=0))

    def error(self, energies: np.ndarray) -> np.ndarray:
        """Estimate the standard error of `density` from the scatter of the random vectors; NaN of one vector."""
        if self.n_vectors == 1:
            return np.full(len(energies), np.nan)
        return np.asarray(self._densities(energies).std(axis=0, ddof=1) / np.sqrt(self.n_vectors))

    def count(self, energies: np.ndarray) -> np.ndarray:
        """Compute how many electrons levels below these energies (eV) can hold."""
        angle = np.arccos(np.clip(self._scaled(energies), -1, 1))
        damped = self._damped().mean(axis=0)
        n = np.arange(1, len(damped))
        return np.asarray(2 / np.pi * (damped[0] * (np.pi - angle) - 2 * (np.sin(np.outer(angle, n)) / n) @ damped[1:]))

    def count_error(self, energies: np.ndarray) -> np.ndarray:
        """Bound the standard error of `count`.

        A count is the trace of twice a projector Θ on m of n orthonormal orbitals. By random vectors of ±1 its variance
        is 8 (‖Θ‖² − Σ Θ_ii²) ≤ 8 m (1 − m/n), for ‖Θ‖² = m, and Σ Θ_ii² ≥ m²/n. The scatter of a few vectors would say
        less: that of four is half as large every other time.
        """
        levels = np.clip(self.count(energies) / 2, 0, self.n_levels)
        return np.asarray(np.sqrt(8 * levels * (1 - levels / self.n_levels) / self.n_vectors))

    def fermi_bracket(self, n_electrons: float) -> tuple[float, float]:
        """Find between which energies the Fermi level is, as far as the moments tell.

        In a gap the count of electrons hardly changes, so that a small error of it moves the Fermi level through the
        whole gap, and beyond.

        Parameters
        ----------
        n_electrons : float
            Number of electrons, 0 to twice the number of levels.

        Returns
        -------
        low, high : float
            eV: where the count differs from the electrons by no more than two standard errors (`count_error`), widened
            by the resolution on both sides.
        """
        fermi, (low, high) = self.fermi(n_electrons), self.bounds
        energies = np.unique(np.append(np.arange(low, high, self.resolution / 4), [fermi, high]))
        some = np.array_split(energies, len(energies) // 256 + 1)
        counts, errors = (np.concatenate([of(part) for part in some]) for of in (self.count, self.count_error))
        possible = energies[np.abs(counts - n_electrons) <= 2 * errors]
        first, last = (min(possible.min(), fermi), max(possible.max(), fermi)) if len(possible) else (fermi, fermi)
        return max(low, float(first) - self.resolution), min(high, float(last) + self.resolution)

    def fermi(self, n_electrons: float) -> float:
        """Find the energy below which there is room for so many electrons.

        Parameters
        ----------
        n_electrons : float
            Number of electrons, 0 to twice the number of levels.

        Returns
        -------
        float
            Fermi level in eV.

        Raises
        ------
        InputError
            If there is no room for the electrons, or their number is negative.
        """
        if not 0 <= n_electrons <= 2 * self.n_levels:
            raise InputError(
                f"expected 0 to {2 * self.n_levels} electrons in {self.n_levels} levels, got {n_electrons}"
            )
        low, high = self.bounds

        def surplus(energy: float) -> float:
            return float(self.count(np.array([energy]))[0]) - n_electrons

        if surplus(low) >= 0 or surplus(high) <= 0:
            return low if surplus(low) >= 0 else high
        return float(brentq(surplus, low, high, xtol=1e-6))

    def _densities(self, energies: np.ndarray) -> np.ndarray:
        x = self._scaled(energies)
        inside = np.abs(x) < 1
        angle = np.arccos(np.where(inside, x, 0.0))
        damped = self._damped()
        values = damped[:, :1] + 2 * damped[:, 1:] @ np.cos(np.outer(np.arange(1, damped.shape[1]), angle))
        weight = 2 / (np.pi * self.interval.half_width * np.sin(angle))
        return np.where(inside, values * weight, 0.0)

    def _scaled(self, energies: np.ndarray) -> np.ndarray:
        return (np.asarray(energies, dtype=np.float64) - self.interval.centre) / self.interval.half_width

    def _damped(self) -> np.ndarray:
        """(r, N) with Jackson's kernel; μ₀ is known exactly."""
        moments = self.moments.copy()
        moments[:, 0] = self.n_levels
        return moments * jackson(moments.shape[1])


def jackson(number: int) -> np.ndarray:
    """Return Jackson's factors (N,) that damp moments (Weiße et al., Rev. Mod. Phys. 78, 275 (2006), eq. 71)."""
    n, turn = np.arange(number), np.pi / (number + 1)
    return np.asarray(((number - n + 1) * np.cos(turn * n) + np.sin(turn * n) / np.tan(turn)) / (number + 1))


def kernel_polynomial(
    hamiltonian: Matrix,
    overlap: Matrix,
    *,
    resolution: float = RESOLUTION,
    vectors: int = AT_ONCE,
    seed: int = 0,
    progress: Progress = silent,
) -> StochasticDensity:
    """Estimate the density of states of H ψ = ε S ψ at Γ.

    Parameters
    ----------
    hamiltonian : BlockOperator, sparse matrix or ndarray of shape (n, n)
        H in eV, real symmetric. The images of blocks are summed.
    overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        S, real symmetric and positive definite.
    resolution : float
        Standard deviation (eV) of what a level becomes.
    vectors : int
        Number of random vectors, rounded up to a multiple of four. The error falls as 1/√(n · vectors).
    seed : int
        Of the random vectors.
    progress : callable, optional
        Told what is under way and the time that is left.

    Returns
    -------
    StochasticDensity
        Density, its statistical error, and Fermi levels.

    Raises
    ------
    InputError
        If matrices are complex or of different sizes, S is not positive definite, or the resolution is not positive.
    """
    _check(resolution, vectors)
    h, s = sparse_hermitian(hamiltonian, "H"), sparse_hermitian(overlap, "S")
    check_same_size(h, s)
    if np.iscomplexobj(h.data) or np.iscomplexobj(s.data):
        raise InputError("expected real matrices (at Γ), got complex ones; H(k) can be diagonalised")
    progress(Event("preparing S"))
    pencil = Pencil.of(h, s, resolution)
    return density_from(pencil, random_vectors(pencil.size, vectors, seed), resolution, progress)


def kernel_polynomial_on_disk(
    hamiltonian: Parts,
    overlap: Parts,
    folder: Path,
    *,
    resolution: float = RESOLUTION,
    vectors: int = AT_ONCE,
    seed: int = 0,
    progress: Progress = silent,
) -> StochasticDensity:
    """Estimate the density of states of matrices that come part by part and are multiplied from disk.

    Parameters
    ----------
    hamiltonian, overlap : callable
        Give the parts of H (eV) and S.
    folder : Path
        Where the matrices are written, in single precision.
    resolution, vectors, seed, progress
        As of `kernel_polynomial`.

    Raises
    ------
    InputError
        If a number is not finite, the disk has no room, S is not positive definite, or the resolution is not positive.
    """
    _check(resolution, vectors)
    progress(Event("writing H and S as sparse matrices"))
    drop = _left_out(next(iter(hamiltonian())).n_orbitals, resolution)
    h, s = mapped_product(folder, "H", hamiltonian, drop[0]), mapped_product(folder, "S", overlap, drop[1])
    progress(Event(f"preparing S; on disk {bytes_of(h.n_elements + s.n_elements) / 1e9:.1f} GB"))
    pencil = Pencil.of_products(h, s, approximate_inverse_factor(s))
    return density_from(pencil, random_vectors(pencil.size, vectors, seed), resolution, progress)


def random_vectors(size: int, number: int, seed: int) -> np.ndarray:
    """Return vectors (size, r) of ±1; r is the number, rounded up to a multiple of `AT_ONCE`."""
    width = AT_ONCE * -(-number // AT_ONCE)
    return np.asarray(np.random.default_rng(seed).integers(0, 2, (size, width)) * 2.0 - 1.0)


def _left_out(size: int, resolution: float) -> tuple[float, float]:
    """Elements of H (eV) and S that are left out, of so many orbitals."""
    return (SMALL_H * resolution, SMALL_S * resolution) if size >= LARGE else (0.0, 0.0)


def _check(resolution: float, vectors: int) -> None:
    if not resolution > 0 or vectors < 1:
        raise InputError(f"expected a resolution above 0 eV and at least one vector, got {resolution:g} and {vectors}")


@dataclass(frozen=True, eq=False)
class Pencil:
    """Ĥ and Ŝ as products, and P ≈ Ŝ⁻¹.

    Attributes
    ----------
    h, s : SparseProduct
        H and S.
    g, gt : SparseProduct
        G and Gᵀ.
    metric : Interval
        Where the eigenvalues of Ŝ are.
    inverse, root : ndarray
        Chebyshev coefficients of P and of P^(−½) = Ŝ^½.
    """

    h: SparseProduct
    s: SparseProduct
    g: SparseProduct
    gt: SparseProduct
    metric: Interval
    inverse: np.ndarray
    root: np.ndarray

    @classmethod
    def of(cls, h: sparse.csr_matrix, s: sparse.csr_matrix, resolution: float, tolerance: float = TOLERANCE) -> Pencil:
        """Prepare H and S (real, symmetric) for a resolution in eV."""
        n = h.shape[0]
        kind = np.dtype(np.float32 if n >= LARGE else np.float64)
        drop = _left_out(n, resolution)
        g = approximate_inverse_factor(SparseProduct(s.indptr, s.indices, s.data))
        return cls.of_products(SparseProduct.of(h, kind, drop[0]), SparseProduct.of(s, kind, drop[1]), g, tolerance)

    @classmethod
    def of_products(
        cls, times_h: SparseProduct, times_s: SparseProduct, g: sparse.csr_matrix, tolerance: float = TOLERANCE
    ) -> Pencil:
        """Prepare H and S, with the approximate inverse factor of S."""
        n, kind = times_h.size, times_h.values.dtype
        times_g, times_gt = SparseProduct.of(g, kind), SparseProduct.of(g.T.tocsr(), kind)
        start = np.random.default_rng(1).standard_normal((n, AT_ONCE)).astype(kind)
        found = extremes(lambda x: times_g @ (times_s @ (times_gt @ x)), start, min(STEPS, n))
        if found.upper <= 0:
            raise InputError("expected a positive definite overlap S, got one without positive eigenvalues")
        lower = max(0.9 * found.lower, 1e-5 * found.upper)
        metric = Interval(lower, 1.05 * found.upper)
        inverse, root = series(lambda x: 1 / x, metric, tolerance), series(np.sqrt, metric, tolerance)
        return cls(times_h, times_s, times_g, times_gt, metric, inverse, root)

    @property
    def size(self) -> int:
        """Number of orbitals."""
        return self.h.size

    def times_h(self, x: np.ndarray) -> np.ndarray:
        """Return Ĥ x."""
        return self.g @ (self.h @ (self.gt @ x))

    def times_s(self, x: np.ndarray) -> np.ndarray:
        """Return Ŝ x."""
        return self.g @ (self.s @ (self.gt @ x))

    def divided_by_s(self, x: np.ndarray) -> np.ndarray:
        """Return P x."""
        return apply_series(self.times_s, self.metric, self.inverse, x)

    def start(self, random: np.ndarray) -> np.ndarray:
        """Return u₀ = Ŝ^½ z."""
        return apply_series(self.times_s, self.metric, self.root, random.astype(self.h.values.dtype))

    def bounds(self) -> Interval:
        """Estimate where the levels are, in eV, with a margin."""
        random = np.random.default_rng(2).standard_normal((self.size, AT_ONCE)).astype(self.h.values.dtype)
        found = extremes(self.times_h, random, min(STEPS, self.size), self.divided_by_s)
        margin = MARGIN * (found.upper - found.lower) + 1e-6
        return Interval(found.lower - margin, found.upper + margin)


def density_from(pencil: Pencil, random: np.ndarray, resolution: float, progress: Progress) -> StochasticDensity:
    """Compute a density of states from random vectors.

    Parameters
    ----------
    pencil : Pencil
        H and S.
    random : ndarray of shape (n, r)
        Vectors z, each with E z zᵀ = 1; r is a multiple of `AT_ONCE`.
    resolution : float
        In eV.
    progress : callable
        Told what is under way and the time that is left.

    Returns
    -------
    StochasticDensity
        With one estimate of the moments for each vector.
    """
    elements = pencil.h.n_elements + pencil.s.n_elements
    progress(
        Event(f"bounds of the spectrum ({elements:,} elements, {len(pencil.inverse)} products with S for each with H)")
    )
    interval = pencil.bounds()
    number = max(8, int(np.ceil(np.pi * interval.half_width / resolution)))
    moments = np.empty((random.shape[1], number))
    u = pencil.start(random)
    before = np.zeros_like(u)
    begun = time.monotonic()
    for n in range(0, number, 2):
        y = pencil.divided_by_s(u)
        following = _following(pencil, interval, y, u, before, first=n == 0)
        moments[:, n] = _dots(y, u)
        if n + 1 < number:
            moments[:, n + 1] = _dots(y, following)
        before, u = u, following
        _tell(progress, begun, n + 2, number)
    moments[:, 2::2] = 2 * moments[:, 2::2] - moments[:, :1]
    moments[:, 3::2] = 2 * moments[:, 3::2] - moments[:, 1:2]
    return StochasticDensity(moments, interval, pencil.size)


def _following(
    pencil: Pencil, interval: Interval, y: np.ndarray, u: np.ndarray, before: np.ndarray, first: bool
) -> np.ndarray:
    """u_n+1 = 2 Ã u_n − u_n−1, or Ã u_0."""
    kind = u.dtype.type
    result = pencil.times_h(y)
    result -= kind(interval.centre) * u
    result *= kind((1 if first else 2) / interval.half_width)
    return result if first else result - before


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("nr,nr->r", x, y, dtype=np.float64))


def _tell(progress: Progress, begun: float, done: int, number: int) -> None:
    spent = time.monotonic() - begun
    if done % 50 == 0 and spent > 1:
        left = spent / done * (number - done)
        message = f"moment {min(done, number)} of {number}, {left / 60:.1f} minutes left"
        progress(Event(message, min(done, number), number))
