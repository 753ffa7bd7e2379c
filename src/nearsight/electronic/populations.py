"""Where a state is: its populations of orbitals, and sums of them over elements, shells or atoms.

    Mulliken: p_μn = Re c*_μn (S c)_μn,    Löwdin: p_μn = |(S^½ c)_μn|²,    Σ_μ p_μn = 1

Mulliken's may be a little negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.density_of_states import broadened
from nearsight.electronic.matrices import Matrix, hermitian_dense, sparse_hermitian
from nearsight.electronic.states import States
from nearsight.elements import symbol_of
from nearsight.errors import InputError
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


def projected_densities(states: States, populations: np.ndarray, groups: Mapping[str, np.ndarray],
                        energies: np.ndarray, width: float) -> dict[str, np.ndarray]:
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
