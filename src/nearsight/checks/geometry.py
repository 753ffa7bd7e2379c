"""Geometry: distances between atoms, and ghosts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import covalent_radii

from nearsight.checks.finding import Finding
from nearsight.checks.subject import Subject
from nearsight.elements import GHOST, symbol_of
from nearsight.structures.graph import build_graph

CHECK = "geometry"
GHOSTS = "ghosts"
TOO_NEAR = 0.5
"""Of the sum of the covalent radii."""
GHOST_TOO_NEAR = 0.5
"""Å, between a ghost and any other site."""
REACH = 3.0
"""Å; half of the largest sum of covalent radii is 2.6."""
MOST_FINDINGS = 3


def check_geometry(subject: Subject) -> Iterator[Finding]:
    """Pairs of sites that are too near."""
    structure = subject.calculation.structure
    if subject.coincidence:
        yield subject.finding(
            "error", CHECK, subject.coincidence, "Two sets of functions at one place make S singular.",
            "Check the structure, its cell and the unit of length.",
        )
        return
    graph = build_graph(structure, REACH)
    zi, zj = structure.numbers[graph.source], structure.numbers[graph.target]
    ghost = (zi == GHOST) | (zj == GHOST)
    once = graph.source <= graph.target
    limit = np.where(ghost, GHOST_TOO_NEAR, TOO_NEAR * (covalent_radii[zi] + covalent_radii[zj]))
    wrong = np.flatnonzero(once & (graph.distance < limit))
    for k in wrong[np.argsort(graph.distance[wrong])][:MOST_FINDINGS]:
        i, j = int(graph.source[k]), int(graph.target[k])
        yield subject.finding(
            "error", GHOSTS if ghost[k] else CHECK,
            f"expected at least {limit[k]:.2f} Å between {symbol_of(int(zi[k]))} (atom {i}) and "
            f"{symbol_of(int(zj[k]))} (atom {j}), got {graph.distance[k]:.3f} Å ({len(wrong)} such pairs)",
            "A ghost on top of an atom doubles its functions." if ghost[k] else
            "No bond is so short: an atom is there twice, or cell or positions are in Bohr (or wrong).",
            "Check the structure, its cell and the unit of length.",
        )


def check_ghosts(subject: Subject) -> Iterator[Finding]:
    """Functions and electrons of ghosts."""
    structure, basis = subject.calculation.structure, subject.calculation.basis
    if GHOST not in structure.elements:
        return
    others = {z: basis.shells[z] for z in structure.elements if z != GHOST}
    if basis.shells[GHOST] not in others.values():
        yield subject.finding(
            "warning", GHOSTS, "expected ghosts with the shells of an element of the structure "
            f"({basis.restricted(others).describe()}), got l = {basis.shells[GHOST]}",
            "A vacancy carries the functions of the missing atom as a rule.",
            "Nothing where this is meant; otherwise check the basis given for the ghost.")
    electrons = basis.valence.get(GHOST, 0)
    if electrons != 0:
        yield subject.finding(
            "error", GHOSTS, f"expected ghosts without electrons, got {electrons} for each",
            "The levels are filled with too many electrons.", "Set the valence of the ghost (X) to 0.")
