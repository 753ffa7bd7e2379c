"""Where a state is: its populations of orbitals, and sums of them over elements, shells or atoms.

    Mulliken: p_μn = Re c*_μn (S c)_μn,    Löwdin: p_μn = |(S^½ c)_μn|²,    Σ_μ p_μn = 1

Mulliken's may be a little negative.

Atomic charges from H and S at Γ: valence electrons minus the populations of an atom's orbitals.

    Mulliken: N_μ = (P S)_μμ,    Löwdin: N_μ = (S^½ P S^½)_μμ,    P = Σ_n f_n c_n c_nᵀ

with levels filled from below, two electrons to each. Levels that are the same within `filling.DEGENERATE` share
their electrons, so that charges have the symmetry of the structure.

How many atoms a state is on: the inverse participation ratio.

    IPR_n = Σ_a p_an² / (Σ_a p_an)²,    participation = 1 / IPR

with the populations p of the atoms. A state on one atom has an IPR of 1, one spread evenly over N atoms of 1/N; states
in the gap of an oxide that belong to a defect stand out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.broadening import broadened
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
    """(n, m) populations of the n orbitals in the m states.

    Args:
        states: of H and S.
        overlap: S, (n, n) or blocks.
        kind: Löwdin's need all eigenvectors of S.

    Raises:
        InputError: another size or kind.
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
    """Label → the orbitals of a group, ascending; every orbital is in one group.

    Args:
        numbers: (N,) atomic numbers.
        basis: their orbitals.
        by: element (`Hf`), shell (`Hf d`: all shells of one angular momentum), or atom (`17 Hf`, counted from 0).

    Raises:
        InputError: another grouping.
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


def projected_densities(
    states: States, populations: np.ndarray, groups: Mapping[str, np.ndarray], energies: np.ndarray, width: float
) -> dict[str, np.ndarray]:
    """The density of states of each group, (e,) electrons per eV; they add up to that of the states.

    Args:
        states: m of them.
        populations: (n, m), as `orbital_populations` gives them.
        groups: label → orbitals.
        energies: (e,) eV, ascending.
        width: standard deviation of the Gaussians, eV.
    """
    weights = np.stack([populations[orbitals].sum(axis=0) for orbitals in groups.values()])
    return dict(zip(groups, broadened(states.levels, 2 * weights, energies, width)))


def atom_populations(populations: np.ndarray, numbers: np.ndarray, basis: BasisSet) -> np.ndarray:
    """(N, m) populations of the atoms, from (n, m) of the orbitals."""
    return np.add.reduceat(populations, basis.offsets(numbers)[:-1], axis=0)


def _square_root(overlap: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(overlap, check_finite=False)
    if values[0] <= 0:
        raise InputError(f"expected a positive definite overlap S, got one with smallest eigenvalue {values[0]:.6g}")
    return np.asarray((vectors * np.sqrt(values)) @ vectors.conj().T)


def atomic_charges(
    calculation: Calculation, kind: Kind = "loewdin", charge: int = 0, temperature: float | None = None
) -> np.ndarray:
    """(N,) e, of the atoms; they add up to `charge`. Blocks resolved in R are summed to Γ.

    Takes about ten times as long as the eigenvalues alone.

    Args:
        calculation: with H, S and the valence of every element.
        kind: whose populations.
        charge: e, of the cell.
        temperature: K, of the electrons; None: levels filled from below.

    Raises:
        InputError: H, S or a valence is missing, S is not positive definite, more electrons than the levels hold, or
            another kind.
    """
    if kind not in KINDS:
        raise InputError(f"expected charges by {' or '.join(KINDS)}, got {kind!r}")
    h, s = calculation.require_hamiltonian(), calculation.require_overlap()
    electrons = calculation.n_electrons - charge
    states = solve_states(h, s, electrons, method="dense")
    return charges_of(states, states.spectrum.filling(temperature), s, calculation, kind)


def charges_of(
    states: States, filling: Filling, overlap: Matrix, calculation: Calculation, kind: Kind = "loewdin"
) -> np.ndarray:
    """(N,) e, of the atoms, from all occupied states.

    Args:
        states: all, or all that are occupied.
        filling: of these states.
        overlap: S of the states.
        calculation: the atoms and the valence of every element.
        kind: whose populations.

    Raises:
        InputError: states that leave out occupied ones below, or another kind.
    """
    if states.spectrum.first > 0:
        raise InputError(f"expected all occupied states for charges, got those from level {states.spectrum.first} on")
    numbers, basis = calculation.structure.numbers, calculation.basis
    some = int(np.count_nonzero(filling.occupations > 0))
    populations = np.zeros(len(states.coefficients))
    if some:
        occupied = States(_lowest(states.spectrum, some), states.coefficients[:, :some])
        populations = orbital_populations(occupied, overlap, kind) @ filling.occupations[:some]
    valence = np.array([basis.valence[int(z)] for z in numbers], dtype=np.float64)
    return np.asarray(valence - np.add.reduceat(populations, basis.offsets(numbers)[:-1]))


def _lowest(spectrum: Spectrum, number: int) -> Spectrum:
    return Spectrum(
        spectrum.eigenvalues[:number],
        spectrum.n_occupied,
        spectrum.overlap_condition,
        spectrum.residual,
        spectrum.singly_occupied,
        spectrum.hermiticity_error,
        0,
        spectrum.n_levels,
        spectrum.projected_out,
    )


@dataclass(frozen=True, eq=False)
class Localisation:
    """Where the states of a spectrum are.

    Attributes:
        spectrum: m levels.
        ratio: (m,) inverse participation ratios, 1/N to 1.
        atom: (m,) the atom with the largest population.
        share: (m,) that population.
    """

    spectrum: Spectrum
    ratio: np.ndarray
    atom: np.ndarray
    share: np.ndarray

    @property
    def participation(self) -> np.ndarray:
        """(m,) atoms that a state is on."""
        return 1 / self.ratio


def localisation(states: States, overlap: Matrix, numbers: np.ndarray, basis: BasisSet) -> Localisation:
    """Inverse participation ratios of states, from Mulliken populations of atoms (negative ones count as none).

    Args:
        states: m of them.
        overlap: S, (n, n) or blocks.
        numbers: (N,) atomic numbers.
        basis: their orbitals.
    """
    atoms = np.clip(atom_populations(orbital_populations(states, overlap), numbers, basis), 0.0, None)
    ratio = (atoms**2).sum(axis=0) / atoms.sum(axis=0) ** 2
    largest = atoms.argmax(axis=0)
    return Localisation(states.spectrum, ratio, largest, np.take_along_axis(atoms, largest[None], axis=0)[0])
