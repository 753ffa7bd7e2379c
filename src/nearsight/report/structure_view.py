"""The structure in 3D inside a page, its atoms coloured by what is known of them.

The viewer is 3Dmol.js (Rego and Koes, Bioinformatics 31, 1322, 2015; BSD licence, `assets/3Dmol.LICENSE`), which is
copied into the page, so that nothing is loaded when the page is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from nearsight.electronic.conditioning import overlap_threshold
from nearsight.electronic.density_of_states import broadened
from nearsight.electronic.eigen import solve_states
from nearsight.electronic.matrix_errors import atom_errors, expected_errors
from nearsight.electronic.populations import atom_populations, charges_of, orbital_populations
from nearsight.elements import GHOST, symbol_of
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.report.html import Section, StructureBlock
from nearsight.structures.structure import Structure
from nearsight.units import ev_to_millihartree

SHRINK = 0.62
"""Factor of covalent radii, so that atoms do not hide each other."""
DIGITS = 4
"""Digits of the values that are kept in a page."""
GHOST_RADIUS, GHOST_COLOUR = 0.35, "#9fb0c6"
ALL_STATES = 6000
"""Number of orbitals up to which all states are computed unasked."""
WIDTH = 0.1
"""eV, of the local density of states."""
STEP = 0.1
"""eV, between the energies of the slider."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """Values of every atom that its colour can show.

    Attributes
    ----------
    name : str
        The name by which it is chosen, such as `charge`.
    values : ndarray, shape (N,) or (E, N)
        The values of the atoms, for every one of `energies` where there are such.
    unit : str
        The unit of the values.
    kind : 'sequential' or 'diverging'
        The scale of colours: from the smallest to the largest value, or with zero white.
    caption : str
        What is seen.
    energies : ndarray or None, shape (E,)
        The energies of the rows of the values, eV from the Fermi level.
    """

    name: str
    values: np.ndarray
    unit: str
    kind: Literal["sequential", "diverging"]
    caption: str
    energies: np.ndarray | None = None


def structure_section(structure: Structure, colourings: Sequence[Colouring] = ()) -> Section:
    """Return a section of a page with the structure in it; a page may have one.

    Parameters
    ----------
    structure : Structure
        The atoms and the cell.
    colourings : sequence of Colouring, optional
        What the atoms can be coloured by besides their element.
    """
    return Section("Structure", (StructureBlock(structure.formula, _data(structure, colourings)),))


def _data(structure: Structure, colourings: Sequence[Colouring]) -> dict[str, Any]:
    """Return what `assets/structure_view.js` draws."""
    symbols = [symbol_of(int(z)) for z in structure.numbers]
    kinds = {symbol_of(int(z)): int(z) for z in np.unique(structure.numbers)}
    return {
        "symbols": symbols,
        "kinds": list(kinds),
        "positions": np.round(_inside(structure), 3).tolist(),
        "cell": structure.cell.tolist() if structure.pbc.any() else None,
        "radii": {symbol: _radius(z) for symbol, z in kinds.items()},
        "colours": {symbol: _colour(z) for symbol, z in kinds.items()},
        "colourings": [{"name": "element", "kind": "element", "unit": "", "caption": ""}, *map(_coloured, colourings)],
    }


def _coloured(colouring: Colouring) -> dict[str, Any]:
    keys: dict[str, Any] = {
        "name": colouring.name,
        "kind": colouring.kind,
        "unit": colouring.unit,
        "caption": colouring.caption,
        "values": _short(colouring.values),
    }
    if colouring.energies is not None:
        keys["energies"] = np.round(colouring.energies, 3).tolist()
    return keys


def _short(values: np.ndarray) -> Any:
    """Return nested lists of numbers with `DIGITS` digits."""
    if values.ndim == 2:
        return [_short(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") for value in values]


def _inside(structure: Structure) -> np.ndarray:
    """Return (N, 3) positions, Å, wrapped into the cell along periodic directions."""
    if not structure.pbc.any():
        return structure.positions
    fractional = structure.positions @ np.linalg.pinv(structure.cell)
    return structure.positions - np.where(structure.pbc, np.floor(fractional), 0.0) @ structure.cell


def _radius(number: int) -> float:
    return GHOST_RADIUS if number == GHOST else round(SHRINK * float(covalent_radii[number]), 3)


def _colour(number: int) -> str:
    if number == GHOST:
        return GHOST_COLOUR
    return "#" + "".join(f"{round(255 * x):02x}" for x in jmol_colors[number])


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
    found = _of_states(calculation, energies) if states and calculation.overlap is not None else []
    h = calculation.hamiltonian
    if h is None:
        return found
    if reference is not None:
        found += _of_errors(h, reference.require_hamiltonian())
    if calculation.error_estimate is not None:
        expected = expected_errors(h, np.nan_to_num(calculation.error_estimate)) * ev_to_millihartree(1.0)
        caption = "What the model expects its r.m.s. error to be in the atom's row of H."
        found.append(Colouring("expected error", expected, "mE_h", "sequential", caption))
    return found


def _of_errors(h: BlockOperator, exact: BlockOperator) -> list[Colouring]:
    """Return the errors of each atom's matrix elements; atoms without blocks have none."""
    captions = {
        "error on site": "Mean absolute error of the atom's own block of H.",
        "error between atoms": "Mean absolute error of the blocks of H between the atom and others.",
    }
    unit = ev_to_millihartree(1.0)
    return [
        Colouring(name, np.nan_to_num(values) * unit, "mE_h", "sequential", caption)
        for (name, caption), values in zip(captions.items(), atom_errors(h, exact))
    ]


def _of_states(calculation: Calculation, energies: tuple[float, float]) -> list[Colouring]:
    """Return charges and local densities of states."""
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
