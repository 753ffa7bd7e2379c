"""Window: the levels of H ψ = ε S ψ in an interval of energies, with their states, none missed.

H − σS is factorised at an energy σ in the window, which also counts the levels below it; block Lanczos finds the levels
next to σ; and factorisations just outside the two ends of the window count again. A window is returned only if it holds
as many levels as lie between its ends. That takes three factorisations where the first guess of σ serves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse
from scipy.sparse.linalg import ArpackNoConvergence, eigsh

from nearsight.electronic.elimination import Elimination, elimination
from nearsight.electronic.factorisation import (
    Factorisation,
    Method,
    SingularMatrixError,
    constrained,
    factorise,
    is_full,
)
from nearsight.electronic.krylov import Krylov
from nearsight.errors import InputError
from nearsight.progress import Event, Progress, silent

TOLERANCE = 1e-8
"""Bound (eV) on the error of a level at which Lanczos stops. Levels made from H and S with its states are far better.
"""
OUTER = 1e-4
"""Bound (eV) on the error of levels beyond the window."""
BEYOND = 4
"""Number of levels found beyond each end of the window, so that there are gaps to count in."""
APART = 1e-6
"""Distance (eV) from a shift within which a level is in the way."""
CLEAR = 10 * OUTER
"""Width (eV) of the narrowest gap that is counted in."""
SAFE = 100.0
"""Number of errors of a factorisation that levels must be away from its shift to be on the right side for certain."""
NUDGES = (0.0, 3.0, -3.0, 9.0, -9.0)
"""Where to count instead when a level is in the way, in units of `APART`."""
SMALL = 400
"""Number of orbitals up to which all levels are found densely."""
SHARE = 0.2
"""Share of all levels from which on they are found densely, all of them."""
CLUSTER = 600
"""Number of orbitals in a cluster whose levels are a sample of all."""
BLUR = 1e-3
"""Added to S of a cluster where directions are projected out; a sample need not be exact."""
ATTEMPTS = 12
"""Number of shifts that are tried, and of rounds of Lanczos and counting."""
SLACK = 16
"""Number of levels that a shift may be outside the window."""


class Window(NamedTuple):
    """Levels in an interval of energies.

    Attributes
    ----------
    eigenvalues : ndarray of shape (m,)
        In eV, ascending.
    coefficients : ndarray of shape (n, m)
        Columns c with c† S c = 1.
    first : int
        Number of levels below `eigenvalues[0]`, or below the interval where it is empty.
    residual : float
        Every eigenvalue is at most this far (eV) from an exact one.
    """

    eigenvalues: np.ndarray
    coefficients: np.ndarray
    first: int
    residual: float


def solve_window(
    h: sparse.csr_matrix,
    s: sparse.csr_matrix,
    *,
    filled: int | None = None,
    number: int | None = None,
    centre: float | None = None,
    range: tuple[float, float] | None = None,
    method: Method = "auto",
    projected_out: np.ndarray | None = None,
    progress: Progress = silent,
) -> Window:
    """Find levels around a gap or an energy, half of them on each side, or all in a range of energies.

    Parameters
    ----------
    h : sparse matrix of shape (n, n)
        H in eV, Hermitian, real or complex, both triangles stored.
    s : sparse matrix of shape (n, n)
        S, Hermitian and positive definite.
    filled : int, optional
        Number of levels below the gap.
    number : int, optional
        Number of levels; fewer are returned where the spectrum ends. Needed unless there is a range.
    centre : float, optional
        The energy (eV) they are around; with `filled`, a guess of an energy in the gap.
    range : (float, float), optional
        Lowest and highest energy in eV; a level within 1e-5 eV of an end may be in or out.
    method : {"auto", "sparse", "superlu", "dense"}
        As for `factorise`.
    projected_out : ndarray of shape (n, m), optional
        Orthonormal eigenvectors of S, directions that are projected out (`ill_conditioned_directions`); n − m levels
        are left.
    progress : callable, optional
        Told in a line each what is done and how long it takes.

    Returns
    -------
    Window
        Levels and states.

    Raises
    ------
    InputError
        If arguments do not fit, S is not positive definite, or the number of levels cannot be confirmed.
    """
    kind = np.result_type(h.dtype, s.dtype, np.float64)
    problem = _Problem(
        sparse.csr_matrix(h, dtype=kind),
        sparse.csr_matrix(s, dtype=kind),
        method,
        np.zeros((h.shape[0], 0), kind) if projected_out is None else projected_out,
        progress,
    )
    _check(problem, filled, number, centre, range)
    n = problem.n
    if n <= SMALL or (number or 0) >= SHARE * n:
        return _dense(problem, filled, number or 0, centre, range)
    if not problem.projected_out.shape[1]:
        lowest = lowest_of_overlap(problem.s)
        if lowest is not None and lowest <= 0:
            raise not_positive()
    if range is not None:
        return _in_range(problem, *range)
    assert number is not None
    if filled is not None:
        first, last = _around(filled, number, n)
        return _search(problem, _shift_near(problem, filled, first, last, centre), first, last)
    assert centre is not None
    shift = problem.factorised(centre)
    return _search(problem, shift, *_around(shift.below, number, n))


@dataclass(frozen=True, eq=False)
class _Shift:
    """H − energy S, and the levels below this energy, eV."""

    energy: float
    factors: Factorisation
    below: int


@dataclass(eq=False)
class _Problem:
    """H and S, and how many levels lie below some energies.

    Attributes
    ----------
    counts : dict[float, int]
        Energy, eV → levels below it.
    """

    h: sparse.csr_matrix
    s: sparse.csr_matrix
    method: Method
    projected_out: np.ndarray
    progress: Progress
    counts: dict[float, int] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Levels."""
        return int(self.h.shape[0]) - self.projected_out.shape[1]

    @cached_property
    def plan(self) -> Elimination | None:
        """For the sparse factors at every energy."""
        if self.method not in ("auto", "sparse"):
            return None
        both = sparse.csr_matrix(abs(self.h) + abs(self.s))
        both.sort_indices()
        return None if self.method == "auto" and is_full(both) else elimination(both)

    def say(self, message: str) -> None:
        """Tell what was done."""
        self.progress(Event(message))

    def project(self, x: np.ndarray) -> np.ndarray:
        """Take the directions that are projected out from vectors."""
        return np.asarray(x - self.projected_out @ (self.projected_out.conj().T @ x))

    def try_at(self, energy: float) -> _Shift | None:
        """Factors at an energy; None where they do not tell for certain how many levels are below it."""
        start = time.perf_counter()
        try:
            matrix = sparse.csr_matrix(self.h - energy * self.s)
            factors = factorise(matrix, self.method, self.plan)
            if self.projected_out.shape[1]:
                factors = constrained(matrix, factors, self.projected_out)
        except SingularMatrixError:
            return None
        known = "no count" if factors.below is None else f"{factors.below} levels below"
        self.say(f"factorised at {energy:.6f} eV: {known} ({factors.name}, {time.perf_counter() - start:.1f} s)")
        if factors.below is None or factors.nearest < max(APART / 2, SAFE * factors.error):
            return None
        self.counts[energy] = factors.below
        return _Shift(energy, factors, factors.below)

    def factorised(self, energy: float) -> _Shift:
        """Factors at an energy, or next to it where a level is in the way."""
        for nudge in NUDGES:
            shift = self.try_at(energy + nudge * APART)
            if shift is not None:
                return shift
        raise InputError(
            f"expected to count levels near {energy:.6f} eV, got factors of H − σS that are too inexact; "
            "use the dense solution"
        )


def _check(
    problem: _Problem, filled: int | None, number: int | None, centre: float | None, limits: tuple[float, float] | None
) -> None:
    h, s, n = problem.h, problem.s, problem.n
    if h.shape != s.shape or h.shape[0] != h.shape[1] or n <= 0:
        raise InputError(f"expected square H and S of the same size, got {h.shape} and {s.shape}")
    if limits is not None:
        if (filled, number, centre) != (None, None, None) or not limits[0] <= limits[1]:
            raise InputError(
                f"expected a range from a lower to a higher energy and nothing else, got {limits}, "
                f"filled {filled}, number {number}, centre {centre}"
            )
        return
    if number is None or number < 1 or (filled is None and centre is None):
        raise InputError(f"expected a number of levels, and filled or centre, got {number}, {filled}, {centre}")
    if filled is not None and not 0 <= filled <= n:
        raise InputError(f"expected 0 to {n} filled levels, got {filled}")


def lowest_of_overlap(s: sparse.csr_matrix) -> float | None:
    """Estimate the lowest eigenvalue of S, from above.

    A negative eigenvalue of any size shows within a hundred vectors; to prove that there is none is not tried.

    Returns
    -------
    float or None
        None where a hundred vectors do not give an estimate.
    """
    start = np.random.default_rng(0).standard_normal(s.shape[0]).astype(s.dtype)
    try:
        lowest = eigsh(s, 1, which="SA", ncv=20, maxiter=5, tol=0.1, v0=start, return_eigenvectors=False)[0]
    except ArpackNoConvergence:
        return None
    return float(lowest.real)


def _around(middle: int, number: int, n: int) -> tuple[int, int]:
    """First level, and one past the last, of `number` levels around the gap below level `middle`."""
    first = middle - number // 2
    return max(0, first), min(n, first + number)


def _dense(
    problem: _Problem, filled: int | None, number: int, centre: float | None, limits: tuple[float, float] | None
) -> Window:
    """The same from all levels."""
    start, h, s, kept = time.perf_counter(), problem.h.toarray(), problem.s.toarray(), None
    if problem.projected_out.shape[1]:
        kept = linalg.null_space(problem.projected_out.conj().T)
        h, s = kept.conj().T @ h @ kept, kept.conj().T @ s @ kept
    try:
        levels, states = linalg.eigh(h, s, driver="gvd", check_finite=False)
    except linalg.LinAlgError:
        raise not_positive() from None
    problem.say(f"all {problem.n} levels by LAPACK in {time.perf_counter() - start:.1f} s")
    if limits is not None:
        first, last = int(np.searchsorted(levels, limits[0])), int(np.searchsorted(levels, limits[1], side="right"))
    else:
        middle = int(np.searchsorted(levels, centre or 0.0)) if filled is None else filled
        first, last = _around(middle, number, problem.n)
    levels, states = levels[first:last], states[:, first:last]
    rest = h @ states - (s @ states) * levels
    squares = (rest.conj() * linalg.solve(s, rest, assume_a="pos", check_finite=False)).sum(axis=0).real
    return Window(levels, states if kept is None else kept @ states, first, float(np.sqrt(squares.max(initial=0.0))))


def not_positive() -> InputError:
    """Make the error of an S that is not positive definite."""
    return InputError(
        "expected a positive definite overlap S, got another one; is it complete (all neighbours, both "
        "triangles) and of this structure, and no atom there twice?"
    )


def _in_range(problem: _Problem, lower: float, upper: float) -> Window:
    """All levels from an energy to another."""
    first, last = problem.factorised(lower).below, problem.factorised(upper).below
    if last - first >= SHARE * problem.n:
        return _dense(problem, None, 0, None, (lower, upper))
    if last <= first:
        return _empty(problem, first)
    return _search(problem, problem.factorised((lower + upper) / 2), first, last)


def _empty(problem: _Problem, first: int) -> Window:
    return Window(np.zeros(0), np.zeros((len(problem.projected_out), 0), problem.s.dtype), first, 0.0)


def _shift_near(problem: _Problem, filled: int, first: int, last: int, guess: float | None) -> _Shift:
    """Factors at an energy in the window: at the guess, or where the levels of clusters suggest it."""
    sample = _sample(problem)
    energy = _quantile(sample, filled / problem.n) if guess is None else guess
    for attempt in range(ATTEMPTS):
        shift = problem.factorised(energy)
        if first - SLACK <= shift.below <= last + SLACK:
            return shift
        energy = _next_energy(problem, sample, shift, filled, 0.1 * 2**attempt)
    raise InputError(
        f"expected an energy with {filled} levels below it, found none in {ATTEMPTS} counts; is S "
        "positive definite? Give a guess as centre, or use the dense solution"
    )


def _next_energy(problem: _Problem, sample: np.ndarray, shift: _Shift, filled: int, step: float) -> float:
    """Where the sample has as many more levels, between what is known to be too low and too high."""
    missing = (filled - shift.below) / problem.n
    there = _quantile(sample, np.searchsorted(sample, shift.energy) / len(sample) + missing)
    sign = np.sign(missing)
    there = shift.energy + sign * max(sign * (there - shift.energy), step)
    low = max((e for e, count in problem.counts.items() if count < filled), default=-np.inf)
    high = min((e for e, count in problem.counts.items() if count > filled), default=np.inf)
    if not np.isfinite(high - low):
        return float(there)
    return float(np.clip(there, low + 0.1 * (high - low), high - 0.1 * (high - low)))


def _sample(problem: _Problem) -> np.ndarray:
    """Ascending levels of three clusters: the orbitals that overlap most with one orbital each."""
    levels = []
    for row in (problem.n // 6, problem.n // 2, 5 * problem.n // 6):
        weight = sum(
            np.abs(m[[row]].toarray()[0]) / max(np.abs(m[[row]].data).max(initial=0.0), 1e-300)
            for m in (problem.h, problem.s)
        )
        near = np.sort(np.argsort(-weight, kind="stable")[: min(CLUSTER, np.count_nonzero(weight))])
        s = problem.s[near][:, near].toarray()
        if problem.projected_out.shape[1]:
            s += BLUR * np.eye(len(s))  # what is projected out may have a norm below zero, by rounding
        try:
            levels.append(linalg.eigh(problem.h[near][:, near].toarray(), s, eigvals_only=True, check_finite=False))
        except linalg.LinAlgError:
            raise not_positive() from None
    return np.sort(np.concatenate(levels))


def _quantile(sample: np.ndarray, share: float) -> float:
    return float(np.interp(share * len(sample), np.arange(len(sample)) + 0.5, sample))


def _search(problem: _Problem, shift: _Shift, first: int, last: int) -> Window:
    """Levels `first` … `last` − 1 by Lanczos at the shift, until counts confirm that none is missed."""
    if last <= first:
        return _empty(problem, first)
    start = time.perf_counter()
    krylov, beyond = Krylov(shift.factors, problem.s), BEYOND
    for _ in range(ATTEMPTS):
        lanczos = time.perf_counter()
        found = _Found.by(krylov, shift, max(0, first - beyond), min(problem.n, last + beyond), first, last)
        problem.say(
            f"levels {found.first} to {found.last - 1} by {krylov.applied} Lanczos vectors "
            f"({time.perf_counter() - lanczos:.1f} s)"
        )
        verdicts = [_confirmed(problem, shift, found, first, last, upper) for upper in (False, True)]
        if all(v is True for v in verdicts):
            window = _finished(problem, shift, krylov, found, first, last)
            problem.say(
                f"{last - first} levels confirmed, within {window.residual:.1e} eV "
                f"({time.perf_counter() - start:.1f} s)"
            )
            return window
        if any(v is False for v in verdicts):
            problem.say("levels are missing; Lanczos goes on with new vectors")
            krylov.refresh()
            krylov.grow(1 + krylov.applied // 2 // krylov.block)
        if any(v is None for v in verdicts):
            beyond *= 2
    raise InputError(
        f"expected the levels {first} to {last - 1}, got others than are counted {ATTEMPTS} times; is S "
        "positive definite? Use the dense solution"
    )


@dataclass(frozen=True, eq=False)
class _Found:
    """Levels that Lanczos found, numbered as if none were missed.

    Attributes
    ----------
    first : int
        Number of the lowest.
    levels : ndarray
        eV, ascending.
    ritz : ndarray
        Which Ritz values they are.
    """

    first: int
    levels: np.ndarray
    ritz: np.ndarray

    @classmethod
    def by(cls, krylov: Krylov, shift: _Shift, first: int, last: int, inner: int, outer: int) -> _Found:
        """Grow the basis until the levels next to the shift, from `first` to `last` − 1, are known.

        Those from `inner` to `outer` − 1 and all between them and the shift are to `TOLERANCE`, others to `OUTER`.
        """
        below, above = max(0, shift.below - first), max(0, last - shift.below)
        good = max(0, shift.below - inner), max(0, outer - shift.below)
        bounds = np.full(below + above, OUTER)
        bounds[below - good[0] : below + good[1]] = TOLERANCE
        while True:
            low, high = np.count_nonzero(krylov.theta < 0), np.count_nonzero(krylov.theta > 0)
            if low >= below and high >= above and len(krylov.theta):
                ritz = np.concatenate([np.arange(below)[::-1], len(krylov.theta) - 1 - np.arange(above)]).astype(int)
                if np.all(krylov.errors[ritz] <= bounds * krylov.theta[ritz] ** 2):
                    levels = shift.energy + 1 / krylov.theta[ritz]
                    return cls(shift.below - below, levels, ritz)
            if krylov.complete:
                raise InputError(
                    f"expected {below} levels below and {above} above {shift.energy:.6f} eV, got {low} "
                    f"and {high} in all; is S positive definite?"
                )
            krylov.grow(max(4, krylov.applied // 16 // krylov.block))

    @property
    def last(self) -> int:
        """One past the number of the highest."""
        return self.first + len(self.levels)

    def below(self, energy: float) -> int:
        """Levels below an energy, if none is missed."""
        return self.first + int(np.searchsorted(self.levels, energy))

    def reaches(self, energy: float, n: int) -> bool:
        """Whether all levels between the shift and this energy are meant to be among these."""
        low = self.first == 0 or (len(self.levels) > 0 and self.levels[0] < energy)
        high = self.last == n or (len(self.levels) > 0 and energy < self.levels[-1])
        return low and high


def _confirmed(problem: _Problem, shift: _Shift, found: _Found, first: int, last: int, upper: bool) -> bool | None:
    """Whether no level is missed between the shift and this end of the window; None: no place to count was found."""
    if (upper and found.last == problem.n) or (not upper and found.first == 0):
        return True  # all there are on this side
    inside = found.levels[first - found.first : last - found.first]
    for energy, count in list(problem.counts.items()):
        outside = energy > inside[-1] if upper else energy < inside[0]
        if outside and (energy == shift.energy or found.reaches(energy, problem.n)):
            return count == found.below(energy)
    energy_of_end = _widest_gap(
        found.levels[last - found.first - 1 :] if upper else found.levels[: first - found.first + 1]
    )
    if energy_of_end is None:
        return None
    end = problem.try_at(energy_of_end)
    return None if end is None else end.below == found.below(end.energy)


def _widest_gap(levels: np.ndarray) -> float | None:
    """Its middle, eV, or None where all are narrow."""
    gaps = np.diff(levels)
    if gaps.max(initial=0.0) < CLEAR:
        return None
    k = int(np.argmax(gaps))
    return float(levels[k] + levels[k + 1]) / 2


def _finished(problem: _Problem, shift: _Shift, krylov: Krylov, found: _Found, first: int, last: int) -> Window:
    """Levels and states from H and S in the space of the states found.

    With y = (H − σS)⁻¹ (H − εS) c an exact level is within |ε − σ| ‖y‖ / (1 − ‖y‖) of ε, in the norm of S.
    """
    states = problem.project(krylov.states(found.ritz[first - found.first : last - found.first]))
    hx, sx = problem.h @ states, problem.s @ states
    levels, turn = linalg.eigh(states.conj().T @ hx, states.conj().T @ sx, check_finite=False)
    states, hx, sx = states @ turn, hx @ turn, sx @ turn
    rest = shift.factors.solve(hx - sx * levels)
    size = np.sqrt((rest.conj() * (problem.s @ rest)).sum(axis=0).real)
    distance = np.abs(levels - shift.energy) * size / np.maximum(1 - size, np.finfo(float).tiny)
    return Window(levels, states, first, float(distance.max(initial=0.0)))
