"""Names and texts that pages show of a structure, and of where a prediction and a reference come from."""

from __future__ import annotations

import numpy as np

from nearsight.operators.calculation import Calculation
from nearsight.structures.structure import Structure

Facts = list[tuple[str, str]]


def structure_facts(calculation: Calculation) -> Facts:
    """Return formula, number of atoms, cell and basis."""
    structure, basis = calculation.structure, calculation.basis
    return [
        ("structure", f"{structure.formula}, {len(structure):,} atoms"),
        ("cell", _cell(structure)),
        ("basis", f"{basis.name}: {basis.describe()}"),
    ]


def prediction_facts(prediction: Calculation) -> Facts:
    """Return the facts of the structure, the cutoff of H, and where the prediction comes from."""
    cutoff = [] if prediction.cutoff is None else [("cutoff", f"{prediction.cutoff:g} Å")]
    return [*structure_facts(prediction), *cutoff, *_provenance(prediction)]


def reference_facts(reference: Calculation, file: str = "") -> Facts:
    """Return the name of the reference's file, where there is one, and where it comes from."""
    return [*([("file", file)] if file else []), *_provenance(reference)]


def _provenance(calculation: Calculation) -> Facts:
    return [(key.replace("_", " "), text) for key, text in calculation.provenance.items()]


def _cell(structure: Structure) -> str:
    if not structure.pbc.any():
        return "none: an isolated structure"
    lengths = np.linalg.norm(structure.cell[structure.pbc], axis=1)
    return " × ".join(f"{length:.3f}" for length in lengths) + " Å, periodic"
