"""How many atoms a state is on: the inverse participation ratio.

    IPR_n = Σ_a p_an² / (Σ_a p_an)²,    participation = 1 / IPR

with the populations p of the atoms. A state on one atom has an IPR of 1, one spread evenly over N atoms of 1/N; states
in the gap of an oxide that belong to a defect stand out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.electronic.matrices import Matrix
from nearsight.electronic.populations import atom_populations, orbital_populations
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.states import States
from nearsight.orbitals.basis import BasisSet


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
