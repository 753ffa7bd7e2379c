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

from nearsight.elements import GHOST, symbol_of
from nearsight.report.html import Section, StructureBlock
from nearsight.structures.structure import Structure

SHRINK = 0.62
"""Factor of covalent radii, so that atoms do not hide each other."""
DIGITS = 4
"""Digits of the values that are kept in a page."""
GHOST_RADIUS, GHOST_COLOUR = 0.35, "#9fb0c6"


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
