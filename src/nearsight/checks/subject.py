"""Subject: a calculation under examination, with what checks need computed once. Finding: what a check noticed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy import linalg

from nearsight.electronic.matrix_errors import pair_distances
from nearsight.errors import InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import SPINS, Calculation, Spin
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import MINIMUM_DISTANCE

Level = Literal["error", "warning", "note"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""Levels of findings, worst first."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check noticed.

    Attributes
    ----------
    level : {"error", "warning", "note"}
        An error means that a model trained on this is wrong; a warning that it may be worse than it could be; a note is
        good to know, such as what could not be checked.
    check : str
        Name of the check.
    file : str
        Where, as the user named it; several are separated by commas.
    message : str
        Expected … got ….
    meaning : str
        What follows from it.
    advice : str
        What to do.
    """

    level: Level
    check: str
    file: str
    message: str
    meaning: str
    advice: str


def sorted_by_level(findings: list[Finding]) -> list[Finding]:
    """Sort findings, worst first; otherwise as they came."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def of_either_spin(calculation: Calculation) -> list[tuple[Spin, Calculation]]:
    """Return either spin of a calculation as one of its own, with its levels, which are not filled.

    Parameters
    ----------
    calculation : Calculation
        With H of two spins.
    """
    levels = calculation.k_eigenvalues
    return [
        (
            spin,
            replace(
                calculation,
                hamiltonian=h,
                hamiltonian_up=None,
                hamiltonian_down=None,
                fermi=None,
                k_eigenvalues=None if levels is None else levels[k],
            ),
        )
        for k, (spin, h) in enumerate(zip(SPINS, (calculation.hamiltonian_up, calculation.hamiltonian_down)))
    ]


DENSE_ORBITALS = 4000
"""Number of orbitals up to which matrices are factorised as a whole; 4000 orbitals take about 10 s and 0.5 GB."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A calculation under examination.

    Attributes
    ----------
    name : str
        The file, as the user named it.
    calculation : Calculation
        What is examined.
    cutoff : float
        Range of the network to be trained, in Å.
    quick : bool
        Whether dense diagonalisations are skipped.
    """

    name: str
    calculation: Calculation
    cutoff: float = 8.0
    quick: bool = False

    def finding(self, level: Level, check: str, message: str, meaning: str, advice: str) -> Finding:
        """Make a finding about this file."""
        return Finding(level, check, self.name, message, meaning, advice)

    @property
    def hamiltonian(self) -> BlockOperator | None:
        """H in eV, or None."""
        return self.calculation.hamiltonian

    @property
    def overlap(self) -> BlockOperator | None:
        """S, or None."""
        return self.calculation.overlap

    @property
    def n_orbitals(self) -> int:
        """Size of the matrices."""
        return int(self.calculation.basis.offsets(self.calculation.structure.numbers)[-1])

    @cached_property
    def dense_hamiltonian(self) -> np.ndarray | None:
        """½(H + H†) at Γ in eV, of shape (n, n); None without H or where it is too large."""
        return self._dense(self.hamiltonian)

    @cached_property
    def dense_overlap(self) -> np.ndarray | None:
        """½(S + S†) at Γ, of shape (n, n); None without S or where it is too large."""
        return self._dense(self.overlap)

    def _dense(self, operator: BlockOperator | None) -> np.ndarray | None:
        if operator is None or self.n_orbitals > DENSE_ORBITALS:
            return None
        matrix = to_csr(operator).toarray().astype(np.float64)
        return np.asarray((matrix + matrix.T) / 2)

    @cached_property
    def levels(self) -> np.ndarray | None:
        """Eigenvalues of H ψ = ε S ψ at Γ in eV, of shape (n,); None in quick mode, or where they cannot be had."""
        h, s = self.dense_hamiltonian, self.dense_overlap
        if self.quick or h is None or s is None:
            return None
        return levels_of(h, s)

    @cached_property
    def coincidence(self) -> str:
        """Which atoms lie on top of each other, in words; empty where none do (else neighbours cannot be listed)."""
        try:
            build_graph(self.calculation.structure, MINIMUM_DISTANCE)
        except InputError as error:
            return str(error)
        return ""

    @cached_property
    def n_electrons(self) -> int | None:
        """Valence electrons, less the charge; None where the basis does not say."""
        try:
            return self.calculation.n_electrons
        except InputError:
            return None

    @cached_property
    def hamiltonian_distances(self) -> np.ndarray:
        """Distances (Å) of the P pairs of H; to the nearest image where it is folded."""
        return pair_distances(self.calculation.require_hamiltonian(), self.calculation.structure)

    @cached_property
    def unfolded_radius(self) -> float:
        """Radius (Å) up to which no pair has two images within reach: half of the cell's smallest height; infinite
        without periodic directions.
        """
        structure = self.calculation.structure
        if not structure.pbc.any():
            return float("inf")
        heights = 1 / np.linalg.norm(np.linalg.pinv(structure.cell[structure.pbc]), axis=0)
        return float(heights.min() / 2)


def levels_of(hamiltonian: np.ndarray, overlap: np.ndarray) -> np.ndarray | None:
    """Compute ascending eigenvalues (eV) of dense H and S; None where S is not positive definite."""
    try:
        return np.asarray(linalg.eigh(hamiltonian, overlap, eigvals_only=True, driver="gv", check_finite=False))
    except linalg.LinAlgError:
        return None
