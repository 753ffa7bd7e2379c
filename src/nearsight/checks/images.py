"""Periodic images: cells in which they fold into one block, and other meanings of R."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nearsight.checks.finding import Finding
from nearsight.checks.subject import Subject
from nearsight.operators.blocks import BlockOperator
from nearsight.structures.structure import Structure

CHECK = "images"
NEARER = 0.85
"""Another meaning of R is the right one where it brings the matrix' weight to less than this part of its distance."""


def check_images(subject: Subject) -> Iterator[Finding]:
    """H, and S where it is resolved in R."""
    h = subject.hamiltonian
    if h is not None and h.folded and subject.unfolded_radius < subject.cutoff:
        yield subject.finding(
            "note", CHECK, f"expected a cell of at least {2 * subject.cutoff:g} Å for a cutoff of {subject.cutoff:g} "
            f"Å, got a smallest height of {2 * subject.unfolded_radius:.2f} Å with matrices folded to Γ",
            "Sums over images are learnt, which tell less about single blocks; they are treated exactly.",
            "Prefer larger cells or data resolved in R.",
        )
    for name, operator in (("H", h), ("S", subject.overlap)):
        if operator is not None and not operator.folded and operator.shift.any():
            yield from _meaning(subject, name, operator)


def _meaning(subject: Subject, name: str, operator: BlockOperator) -> Iterator[Finding]:
    structure = subject.calculation.structure
    weight = np.add.reduceat(operator.values.astype(np.float64)**2, operator.offsets[:-1])
    reach = {text: _reach(weight, vectors) for text, vectors in _meanings(structure, operator).items()}
    best = min(reach, key=lambda text: reach[text])
    if best and reach[best] < NEARER * reach[""]:
        yield subject.finding(
            "error", CHECK, f"expected R of {name} such that near atoms have the large blocks, got blocks at a mean "
            f"distance of {reach['']:.2f} Å, and of {reach[best]:.2f} Å {best}",
            "Blocks are assigned to other pairs of images than they belong to.",
            "Change R of every block accordingly, or import the code's own files.",
        )


def _meanings(structure: Structure, operator: BlockOperator) -> dict[str, np.ndarray]:
    """(P, 3) Å vectors of the pairs, by what R may mean; the empty text is ours."""
    between = structure.positions[operator.target] - structure.positions[operator.source]
    shift = operator.shift @ structure.cell
    result = {"": between + shift, "with R and −R exchanged": between - shift}
    fractional = structure.positions @ np.linalg.pinv(structure.cell)
    wraps = {"with atoms wrapped to −½ … ½ (as in CP2K)": np.round(fractional),
             "with atoms wrapped to 0 … 1": np.floor(fractional)}
    for text, whole in wraps.items():
        moved = structure.positions - np.where(structure.pbc, whole, 0.0) @ structure.cell
        result[text] = moved[operator.target] - moved[operator.source] + shift
    return result


def _reach(weight: np.ndarray, vectors: np.ndarray) -> float:
    """Å, mean distance weighted by squares of the elements, without the on-site blocks."""
    distance = np.linalg.norm(vectors, axis=1)
    off = distance > 1e-6
    total = float(weight[off].sum())
    return float((weight * distance)[off].sum() / total) if total > 0 else 0.0
