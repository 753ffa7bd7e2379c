"""Calculation: a structure with its basis, its operators, and what a DFT code (or a network) said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Calculation:
    """One structure and its matrices.

    Attributes:
        structure: atoms and cell, Å.
        basis: orbitals of each element.
        hamiltonian: eV, or None.
        overlap: dimensionless, or None.
        initial_hamiltonian: the Kohn-Sham matrix of superposed atomic densities (H₀), eV, or None.
        cutoff: Å, beyond which blocks were not predicted or not kept; None where nothing was cut.
        energy: total energy, eV, or None.
        fermi: Fermi level, eV, or None.
        eigenvalues: (n,) eV at Γ, as the code printed them, ascending, maybe only the lowest; or None.
        provenance: where it comes from: plain text by key (`code`, `source`, `settings`, `model` …).
        k_points: (k, 3) mesh of the calculation, in units of the reciprocal lattice vectors; None: Γ alone.
        k_eigenvalues: (k, n) eV, as the code printed them at `k_points`; or None.
        error_estimate: (P,) eV, expected r.m.s. error of the elements of each block of the Hamiltonian; None where
            nobody said, as for DFT's own.
    """

    structure: Structure
    basis: BasisSet
    hamiltonian: BlockOperator | None = None
    overlap: BlockOperator | None = None
    cutoff: float | None = None
    energy: float | None = None
    fermi: float | None = None
    eigenvalues: np.ndarray | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    h0: BlockOperator | None = None
    k_points: np.ndarray | None = None
    k_eigenvalues: np.ndarray | None = None
    error_estimate: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.basis.check(self.structure.numbers)
        for name, operator in (("H", self.hamiltonian), ("S", self.overlap), ("H₀", self.h0)):
            if operator is None:
                continue
            if not np.array_equal(operator.numbers, self.structure.numbers):
                raise InputError(
                    f"expected {name} on the {len(self.structure)} atoms of {self.structure.formula}, "
                    f"got an operator on {operator.n_atoms} atoms or in another order"
                )
            if operator.basis != self.basis.restricted(operator.basis.shells):
                raise InputError(f"expected {name} in {self.basis.describe()}, got {operator.basis.describe()}")
            if operator.n_values and not np.isfinite(operator.values).all():
                raise InputError(
                    f"expected finite numbers in {name}, got "
                    f"{int((~np.isfinite(operator.values)).sum())} that are NaN or infinite"
                )
        blocks = 0 if self.hamiltonian is None else self.hamiltonian.n_pairs
        if self.error_estimate is not None and len(self.error_estimate) != blocks:
            raise InputError(
                f"expected {blocks} error estimates, one for each block of H, got {len(self.error_estimate)}"
            )

    @property
    def n_electrons(self) -> int:
        """Number of valence electrons of the neutral structure, those that the pseudopotentials leave.

        Raises
        ------
        InputError
            If the valence of an element is not known in the basis, as where no pseudopotential was named.
        """
        return self.basis.n_electrons(self.structure.numbers)

    def require_hamiltonian(self) -> BlockOperator:
        """H, or an InputError that says it is missing."""
        if self.hamiltonian is None:
            raise InputError("expected a Hamiltonian, got a file without one")
        return self.hamiltonian

    def require_overlap(self) -> BlockOperator:
        """S, or an InputError that says it is missing."""
        if self.overlap is None:
            raise InputError(
                "expected an overlap matrix S, got a file without one; eigenvalues of a non-orthogonal "
                "basis need it: give a file that holds S (option --overlap)"
            )
        return self.overlap

    def require_h0(self) -> BlockOperator:
        """H₀, or an InputError that says it is missing."""
        if self.h0 is None:
            raise InputError(
                "expected the Kohn-Sham matrix of superposed atomic densities (H₀), got a file without "
                "one; add it with `nearsight import SOURCE --h0 FILE -o OUTPUT`"
            )
        return self.h0
