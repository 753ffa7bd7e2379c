"""Where states are: populations of orbitals, sums of them over elements, shells or atoms, charges, and localisation.

    Mulliken: p_μn = Re c*_μn (S c)_μn,    Löwdin: p_μn = |(S^½ c)_μn|²,    Σ_μ p_μn = 1

Mulliken's may be a little negative. The charge of an atom is its valence electrons minus the populations of its
orbitals,

    Mulliken: N_μ = (P S)_μμ,    Löwdin: N_μ = (S^½ P S^½)_μμ,    P = Σ_n f_n c_n c_nᵀ

with levels filled from below, two electrons to each. Levels that are the same within `filling.DEGENERATE` share their
electrons, so that charges have the symmetry of the structure.

On how many atoms a state is follows from the inverse participation ratio of the populations p of the atoms,

    IPR_n = Σ_a p_an² / (Σ_a p_an)²,    participation = 1 / IPR

A state on one atom has an IPR of 1, one spread evenly over N atoms of 1/N; states in the gap of an oxide that belong to
a defect stand out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.eigen import solve_states
from nearsight.electronic.filling import Filling
from nearsight.electronic.matrices import Matrix, hermitian_dense, sparse_hermitian
from nearsight.electronic.spectrum import Spectrum, States
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet

Kind = Literal["mulliken", "loewdin"]
Grouping = Literal["element", "shell", "atom"]
KINDS = ("mulliken", "loewdin")
GROUPINGS = ("element", "shell", "atom")


def orbital_populations(states: States, overlap: Matrix, kind: Kind = "mulliken") -> np.ndarray:
    """Compute the populations of the n orbitals in m states.

    Parameters
    ----------
    states : States
        Of H and S.
    overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        S.
    kind : {"mulliken", "loewdin"}
        Löwdin's need all eigenvectors of S.

    Returns
    -------
    ndarray of shape (n, m)
        The sum over orbitals is 1 for every state.

    Raises
    ------
    InputError
        If S has another size, or there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"expected populations by {' or '.join(KINDS)}, got {kind!r}")
    c = states.coefficients
    s: sparse.csr_matrix | np.ndarray
    s = sparse_hermitian(overlap, "S") if kind == "mulliken" else _square_root(hermitian_dense(overlap, "S"))
    if s.shape[0] != len(c):
        raise InputError(f"expected an overlap of {len(c)} orbitals, got {s.shape[0]}")
    other = s @ c
    return np.asarray((c.conj() * other).real if kind == "mulliken" else np.abs(other) ** 2)


def orbital_groups(numbers: np.ndarray, basis: BasisSet, by: Grouping = "element") -> dict[str, np.ndarray]:
    """Group the orbitals of a structure; every orbital is in one group.

    Parameters
    ----------
    numbers : ndarray of shape (N,)
        Atomic numbers.
    basis : BasisSet
        Their orbitals.
    by : {"element", "shell", "atom"}
        Labels are an element (``Hf``), a shell (``Hf d``: all shells of one angular momentum), or an atom (``17 Hf``,
        counted from 0).

    Returns
    -------
    dict of str to ndarray
        The orbitals of each label, ascending.

    Raises
    ------
    InputError
        If there is no such grouping.
    """
    if by not in GROUPINGS:
        raise InputError(f"expected groups by {', '.join(GROUPINGS)}, got {by!r}")
    labels: list[str] = []
    for atom, z in enumerate(int(z) for z in numbers):
        symbol = symbol_of(z)
        for l in basis.shells[z]:
            label = {"element": symbol, "shell": f"{symbol} {SHELL_LETTERS[l]}", "atom": f"{atom} {symbol}"}[by]
            labels += [label] * (2 * l + 1)
    places = np.array(labels)
    return {label: np.flatnonzero(places == label) for label in dict.fromkeys(labels)}


def atom_populations(populations: np.ndarray, numbers: np.ndarray, basis: BasisSet) -> np.ndarray:
    """Sum the populations of orbitals over each atom.

    Parameters
    ----------
    populations : ndarray of shape (n, m)
        Of the n orbitals in m states.
    numbers : ndarray of shape (N,)
        Atomic numbers.
    basis : BasisSet
        Their orbitals.

    Returns
    -------
    ndarray of shape (N, m)
        Of the atoms.
    """
    return np.add.reduceat(populations, basis.offsets(numbers)[:-1], axis=0)


def _square_root(overlap: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(overlap, check_finite=False)
    if values[0] <= 0:
        raise InputError(f"expected a positive definite overlap S, got one with smallest eigenvalue {values[0]:.6g}")
    return np.asarray((vectors * np.sqrt(values)) @ vectors.conj().T)


def atomic_charges(
    calculation: Calculation, kind: Kind = "loewdin", charge: float | None = None, temperature: float | None = None
) -> np.ndarray:
    """Compute the charges of the atoms; they add up to the cell's charge. Real-space blocks are summed to Γ.

    This takes about ten times as long as the eigenvalues alone.

    Parameters
    ----------
    calculation : Calculation
        With H, S and the valence of every element.
    kind : {"mulliken", "loewdin"}
        How electrons are shared among atoms.
    charge : float, optional
        Of the cell, in e; the calculation's own by default.
    temperature : float, optional
        In K, of the electrons. By default levels are filled from below.

    Returns
    -------
    ndarray of shape (N,)
        In e.

    Raises
    ------
    InputError
        If H, S or a valence is missing, S is not positive definite, there are more electrons than the levels hold, or
        there is no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"expected charges by {' or '.join(KINDS)}, got {kind!r}")
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    electrons = calculation.electrons(charge)
    states = solve_states(h, s, electrons, method="dense")
    return charges_of(states, states.spectrum.filling(temperature), s, calculation, kind)


def charges_of(
    states: States, filling: Filling, overlap: Matrix, calculation: Calculation, kind: Kind = "loewdin"
) -> np.ndarray:
    """Compute the charges of the atoms from all occupied states.

    Parameters
    ----------
    states : States
        All, or all that are occupied.
    filling : Filling
        Occupations of these states.
    overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        S of the states.
    calculation : Calculation
        The atoms and the valence of every element.
    kind : {"mulliken", "loewdin"}
        How electrons are shared among atoms.

    Returns
    -------
    ndarray of shape (N,)
        In e.

    Raises
    ------
    InputError
        If occupied states below are not among the states, or there is no such kind.
    """
    if states.spectrum.first > 0:
        raise InputError(f"expected all occupied states for charges, got those from level {states.spectrum.first} on")
    numbers, basis = calculation.structure.numbers, calculation.basis
    some = int(np.count_nonzero(filling.occupations > 0))
    populations = np.zeros(len(states.coefficients))
    if some:
        spectrum = states.spectrum
        lowest = replace(spectrum, eigenvalues=spectrum.eigenvalues[:some], total=spectrum.n_levels)
        occupied = States(lowest, states.coefficients[:, :some])
        populations = orbital_populations(occupied, overlap, kind) @ filling.occupations[:some]
    valence = np.array([basis.valence[int(z)] for z in numbers], dtype=np.float64)
    return np.asarray(valence - np.add.reduceat(populations, basis.offsets(numbers)[:-1]))


@dataclass(frozen=True, eq=False)
class Localisation:
    """On which atoms the states of a spectrum are.

    Attributes
    ----------
    spectrum : Spectrum
        m levels.
    inverse_participation_ratio : ndarray of shape (m,)
        1/N to 1.
    largest_atom : ndarray of shape (m,)
        The atom with the largest population.
    largest_population : ndarray of shape (m,)
        The population of that atom.
    """

    spectrum: Spectrum
    inverse_participation_ratio: np.ndarray
    largest_atom: np.ndarray
    largest_population: np.ndarray

    @property
    def participation(self) -> np.ndarray:
        """Number of atoms that each state is on, shape (m,)."""
        return 1 / self.inverse_participation_ratio


def localisation(states: States, overlap: Matrix, numbers: np.ndarray, basis: BasisSet) -> Localisation:
    """Compute on how many atoms states are, from Mulliken populations of atoms (negative ones count as none).

    Parameters
    ----------
    states : States
        m of them.
    overlap : BlockOperator, sparse matrix or ndarray of shape (n, n)
        S.
    numbers : ndarray of shape (N,)
        Atomic numbers.
    basis : BasisSet
        Their orbitals.

    Returns
    -------
    Localisation
        For each state.
    """
    atoms = np.clip(atom_populations(orbital_populations(states, overlap), numbers, basis), 0.0, None)
    ratio = (atoms**2).sum(axis=0) / atoms.sum(axis=0) ** 2
    largest = atoms.argmax(axis=0)
    return Localisation(states.spectrum, ratio, largest, np.take_along_axis(atoms, largest[None], axis=0)[0])
