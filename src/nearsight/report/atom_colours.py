"""What is known of the atoms of a file, to colour them by."""

from __future__ import annotations

import numpy as np

from nearsight.electronic.broadening import broadened
from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.eigen import solve_states
from nearsight.electronic.matrix_errors import atom_errors, expected_errors
from nearsight.electronic.populations import atom_populations, charges_of, orbital_populations
from nearsight.operators.calculation import Calculation
from nearsight.report.structure_view import Colouring
from nearsight.units import ev_to_millihartree

ALL_STATES = 6000
"""Orbitals up to which all states are computed unasked."""
WIDTH = 0.1
"""eV, of the local density of states."""
STEP = 0.1
"""eV, between the energies of the slider."""


def colourings(
    calculation: Calculation, reference: Calculation | None, energies: tuple[float, float], states: bool = True
) -> list[Colouring]:
    """Return what the atoms of a calculation can be coloured by.

    Parameters
    ----------
    calculation : Calculation
        The structure with H: charges and local densities of states need S, expected errors a prediction that has them.
    reference : Calculation or None
        A calculation of the same structure with the exact H, for errors.
    energies : (float, float)
        The window of the local density of states, eV from the Fermi level.
    states : bool, optional
        Whether all states are computed, which charges and local densities need.
    """
    found = []
    if states and calculation.overlap is not None:
        found += _of_states(calculation, energies)
    h = calculation.hamiltonian
    if reference is not None and h is not None:
        unit = ev_to_millihartree(1.0)
        on_site, between = atom_errors(h, reference.require_hamiltonian())
        found += [
            Colouring(
                "error on site",
                np.nan_to_num(on_site) * unit,
                "mE_h",
                "sequential",
                "Mean absolute error of the atom's own block of H.",
            ),
            Colouring(
                "error between atoms",
                np.nan_to_num(between) * unit,
                "mE_h",
                "sequential",
                "Mean absolute error of the blocks of H between the atom and others.",
            ),
        ]
    if h is not None and calculation.error_estimate is not None:
        expected = expected_errors(h, np.nan_to_num(calculation.error_estimate)) * ev_to_millihartree(1.0)
        found.append(
            Colouring(
                "expected error",
                expected,
                "mE_h",
                "sequential",
                "What the model expects its r.m.s. error to be in the atom's row of H.",
            )
        )
    return found


def _of_states(calculation: Calculation, energies: tuple[float, float]) -> list[Colouring]:
    s, numbers, basis = calculation.require_overlap(), calculation.structure.numbers, calculation.basis
    states = solve_states(
        calculation.require_hamiltonian(),
        s,
        calculation.n_electrons,
        method="dense",
        threshold=overlap_threshold(calculation),
    )
    filling = states.spectrum.filling()
    atoms = atom_populations(orbital_populations(states, s), numbers, basis)
    grid = np.arange(energies[0], energies[1] + STEP / 2, STEP)
    zero = filling.fermi if np.isfinite(filling.fermi) else 0.0
    local = np.clip(broadened(states.levels, 2 * atoms, grid + zero, WIDTH).T, 0.0, None)
    return [
        Colouring(
            "charge",
            charges_of(states, filling, s, calculation, "mulliken"),
            "e",
            "diverging",
            "Mulliken charge: valence electrons minus those on the atom; red atoms have given some away.",
        ),
        Colouring(
            "local density of states",
            local,
            "electrons/eV",
            "sequential",
            "How much of the states at the energy of the slider is on the atom (Mulliken populations, "
            f"Gaussians of {WIDTH} eV). In the gap, what lights up is a defect.",
            grid,
        ),
    ]
