"""Matrices of a structure as users hold them: H or S, with the atoms and the basis they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from nearsight.operators.bloch import bloch, to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import write_calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Hamiltonian:
    """A Hamiltonian, and maybe an overlap, of a structure; what `Model.predict` returns.

    Attributes
    ----------
    calculation : Calculation
        The structure, its basis and its operators (eV).
    expected_errors : tuple of float or None
        Expected mean absolute errors of the matrix elements (eV), on site and between atoms, where a model made it that
        is calibrated.
    out_of_distribution : ndarray or None
        (N,) bool, atoms in environments unlike those of the model's training data.
    """

    calculation: Calculation
    expected_errors: tuple[float, float] | None = None
    out_of_distribution: np.ndarray | None = None

    @property
    def structure(self) -> Structure:
        """The atoms."""
        return self.calculation.structure

    @property
    def basis(self) -> BasisSet:
        """The orbitals of its elements."""
        return self.calculation.basis

    @property
    def operator(self) -> BlockOperator:
        """H as blocks of pairs of atoms, eV."""
        return self.calculation.require_hamiltonian()

    def to_csr(
        self, k: Sequence[float] = (0.0, 0.0, 0.0), which: Literal["hamiltonian", "overlap"] = "hamiltonian"
    ) -> sparse.csr_matrix:
        """Return H(k), or S(k), as a sparse matrix.

        Parameters
        ----------
        k : sequence of float
            Three numbers, in units of the reciprocal lattice vectors. At Γ the matrix is real.
        which : {"hamiltonian", "overlap"}
            Which matrix.

        Returns
        -------
        scipy.sparse.csr_matrix
            In eV (H) or dimensionless (S); orbitals in the order of `docs/conventions.md`.
        """
        operator = self.operator if which == "hamiltonian" else self.calculation.require_overlap()
        if not any(k):
            return to_csr(operator)
        return bloch(operator, np.asarray(k, dtype=np.float64))

    def write(self, path: str | PathLike[str]) -> None:
        """Write an .h5 file with everything; it takes an older one's place when it is complete.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        write_calculation(Path(path), self.calculation)
