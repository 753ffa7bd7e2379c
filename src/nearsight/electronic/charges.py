"""Atomic charges from H and S at Γ: valence electrons minus the populations of an atom's orbitals.

    Mulliken: N_μ = (P S)_μμ,    Löwdin: N_μ = (S^½ P S^½)_μμ,    P = Σ_n f_n c_n c_nᵀ

with levels filled from below, two electrons to each. Levels that are the same within `occupation.DEGENERATE` share
their electrons, so that charges have the symmetry of the structure.
"""

from __future__ import annotations

import numpy as np

from nearsight.electronic.density import fill
from nearsight.electronic.eigen import solve_states
from nearsight.electronic.matrices import Matrix
from nearsight.electronic.occupation import Filling
from nearsight.electronic.populations import KINDS, Kind, orbital_populations
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.states import States
from nearsight.errors import InputError
from nearsight.operators.calculation import Calculation


def atomic_charges(calculation: Calculation, kind: Kind = "loewdin", charge: int = 0,
                   temperature: float | None = None) -> np.ndarray:
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
    electrons = calculation.basis.n_electrons(calculation.structure.numbers) - charge
    states = solve_states(h, s, electrons, method="dense")
    return charges_of(states, fill(states.spectrum, temperature), s, calculation, kind)


def charges_of(states: States, filling: Filling, overlap: Matrix, calculation: Calculation,
               kind: Kind = "loewdin") -> np.ndarray:
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
    return Spectrum(spectrum.eigenvalues[:number], spectrum.n_occupied, spectrum.overlap_condition, spectrum.residual,
                    spectrum.singly_occupied, spectrum.hermiticity_error, 0, spectrum.n_levels, spectrum.left_out)
