"""Matrices of a structure as users hold them: H or S, with the atoms and the basis they belong to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from scipy import sparse

from nearsight.operators.bloch import bloch, to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import annotate_out_of_distribution, write_calculation, write_matrices
from nearsight.operators.store_writer import StoreWriter
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Matrix(ABC):
    """A matrix of a structure.

    Attributes
    ----------
    calculation : Calculation
        The structure, its basis and its operators.
    """

    calculation: Calculation

    @property
    @abstractmethod
    def operator(self) -> BlockOperator:
        """The matrix as blocks of pairs of atoms."""

    @property
    def structure(self) -> Structure:
        """The atoms."""
        return self.calculation.structure

    @property
    def basis(self) -> BasisSet:
        """The orbitals of the elements."""
        return self.calculation.basis

    def to_csr(self, k: Sequence[float] = (0.0, 0.0, 0.0)) -> sparse.csr_matrix:
        """Return the matrix at a point of the Brillouin zone.

        Parameters
        ----------
        k : sequence of float
            Three numbers, in units of the reciprocal lattice vectors. At Γ the matrix is real.

        Returns
        -------
        scipy.sparse.csr_matrix
            In eV (H) or dimensionless (S); the order of the orbitals is that of the page on conventions.

        Raises
        ------
        InputError
            Another point than Γ, of a matrix that is folded to Γ.
        """
        if not any(k):
            return to_csr(self.operator)
        return bloch(self.operator, np.asarray(k, dtype=np.float64))

    def write(self, path: str | PathLike[str]) -> None:
        """Write an .h5 file with everything; it takes an older one's place when it is complete.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        write_calculation(Path(path), self.calculation)


@dataclass(frozen=True, eq=False)
class Overlap(Matrix):
    """The overlap matrix of a structure; what `nearsight.overlap` returns."""

    @property
    def operator(self) -> BlockOperator:
        """S as blocks of pairs of atoms, dimensionless."""
        return self.calculation.require_overlap()


@dataclass(frozen=True, eq=False)
class Hamiltonian(Matrix):
    """A Hamiltonian of a structure, maybe with its overlap; what `Model.predict` returns.

    Attributes
    ----------
    calculation : Calculation
        The structure, its basis and its operators (H in eV).
    expected_errors : tuple of float or None
        Expected mean absolute errors of the matrix elements (eV), on site and between atoms, where a calibrated model
        made it.
    out_of_distribution : ndarray or None
        (N,) bool, atoms in environments unlike those of the model's training data.
    charges : ndarray or None
        (N,) e, Löwdin charges that a self-consistent prediction agrees with.
    potential : ndarray or None
        (N,) eV, the mean on-site element of each atom minus the mean over all atoms of its element.
    """

    expected_errors: tuple[float, float] | None = None
    out_of_distribution: np.ndarray | None = None
    charges: np.ndarray | None = None
    potential: np.ndarray | None = None

    @property
    def operator(self) -> BlockOperator:
        """H as blocks of pairs of atoms, eV."""
        return self.calculation.require_hamiltonian()

    def write(self, path: str | PathLike[str]) -> None:
        """Write an .h5 file with everything, charges and potential too; it takes an older one's place when complete.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        with StoreWriter(Path(path), self.calculation) as writer:
            write_matrices(writer, self.calculation)
            if self.charges is not None and self.potential is not None:
                writer.annotate("charges", self.charges, "e", "Löwdin charges that H agrees with")
                writer.annotate("potential", self.potential, "eV", POTENTIAL_MEANING)
            if self.out_of_distribution is not None:
                annotate_out_of_distribution(writer, self.out_of_distribution)


POTENTIAL_MEANING = "each atom's mean on-site element minus the mean of its element"
