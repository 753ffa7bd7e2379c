"""Small molecules with PySCF's matrices, and their orbitals in the order of other codes, by PySCF's labels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

NUMBERS = np.array([8, 1, 1])
POSITIONS = np.array([[0.03, 0.02, 0.11], [0.1, 0.77, -0.45], [-0.2, -0.71, -0.5]])
SHELLS = {1: (0, 0, 1), 8: (0, 0, 0, 1, 1, 2)}

OURS = ("s", "py", "pz", "px", "dxy", "dyz", "dz^2", "dxz", "dx2-y2")
IN_ORCA = ("s", "pz", "px", "py", "dz^2", "dxz", "dyz", "dx2-y2", "dxy")
"""As PhiSNet (transform_hamiltonians.py) and QHNet (ori_dataset.py) take ORCA's matrices."""


@dataclass(frozen=True)
class Molecule:
    """H and S in Hartree, in PySCF's order, with PySCF's labels."""

    numbers: np.ndarray
    positions: np.ndarray
    hamiltonian: np.ndarray
    overlap: np.ndarray
    energy: float
    labels: tuple[tuple[int, str, str], ...]

    def in_order(self, matrix: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        """A matrix with the functions of each shell in the order of `names`."""
        order = sorted(range(len(self.labels)), key=lambda k: self._key(k, names))
        return np.ascontiguousarray(matrix[np.ix_(order, order)])

    def _key(self, k: int, names: tuple[str, ...]) -> tuple[int, int, str, int]:
        atom, shell, name = self.labels[k]
        return atom, "spd".index(name[0]), shell, names.index(name)


@cache
def water() -> Molecule:
    """Water in PBE/def2-SVP."""
    from pyscf import dft, gto

    mol = gto.M(atom=list(zip(NUMBERS.tolist(), POSITIONS.tolist())), basis="def2-svp", verbose=0)
    field = dft.RKS(mol, xc="PBE")
    energy = field.kernel()
    labels = tuple((atom, shell[:-1], shell[-1] + name) for atom, _, shell, name in mol.ao_labels(fmt=None))
    return Molecule(NUMBERS, POSITIONS, field.get_fock(), field.get_ovlp(), float(energy), labels)
