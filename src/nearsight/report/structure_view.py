"""The structure in 3D inside a page: atoms to turn around, coloured by what is known of them.

The viewer is 3Dmol.js (Rego and Koes, Bioinformatics 31, 1322, 2015; BSD licence, `assets/3Dmol.LICENSE`), which is
copied into the page, so that nothing is loaded when the page is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from nearsight.elements import GHOST, symbol_of
from nearsight.report.html import section
from nearsight.structures.structure import Structure

SHRINK = 0.62
"""Of covalent radii, so that atoms do not hide each other."""
DIGITS = 4
"""Of the values that are kept in a page."""
GHOST_RADIUS, GHOST_COLOUR = 0.35, "#9fb0c6"


@dataclass(frozen=True, eq=False)
class Colouring:
    """Something known of every atom.

    Attributes:
        name: as it is chosen, such as `charge`.
        values: (N,), or (E, N) with `energies`.
        unit: of the values.
        kind: sequential: from the smallest to the largest; diverging: zero is white.
        caption: what is seen.
        energies: (E,) eV from the Fermi level, of the rows of the values; None without.
    """

    name: str
    values: np.ndarray
    unit: str
    kind: Literal["sequential", "diverging"]
    caption: str
    energies: np.ndarray | None = None


def structure_section(structure: Structure, colourings: Sequence[Colouring] = ()) -> str:
    """A section of a page with the structure in it; a page may have one."""
    data = json.dumps(_data(structure, colourings), separators=(",", ":")).replace("</", "<\\/")
    return section(
        "Structure",
        f"""<div class="view-controls">
<label>coloured by <select id="structure-colour"></select></label> <label>energy <input id="structure-energy"
type="range" min="0" max="1" value="0" step="1"> <output id="structure-energy-text"
for="structure-energy"></output></label> <div id="structure-legend" class="view-legend"></div></div> <div
id="structure-view" class="view" role="img" aria-label="{escape(structure.formula)}, three-dimensional"></div> <p
id="structure-info" class="note">Turn with the mouse, zoom with the wheel; atoms under the pointer are described
here.</p> <p id="structure-caption"></p> <script type="application/json" id="structure-data">{data}</script>
<script>{_asset("3Dmol-min.js")}</script>
<script>{_asset("structure_view.js")}</script>""",
    )


def _data(structure: Structure, colourings: Sequence[Colouring]) -> dict[str, Any]:
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
    """Nested lists of numbers with `DIGITS` digits."""
    if values.ndim == 2:
        return [_short(row) for row in values]
    return [float(f"{value:.{DIGITS}g}") for value in values]


def _inside(structure: Structure) -> np.ndarray:
    """(N, 3) Å, wrapped into the cell along periodic directions."""
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


@cache
def _asset(name: str) -> str:
    text = files("nearsight.report").joinpath("assets", name).read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script")
