"""Geometry: distances between atoms, ghosts, cells in which periodic images fold into one block, and other meanings of
R.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import covalent_radii

from nearsight.checks.subject import Finding, Subject
from nearsight.elements import GHOST, symbol_of
from nearsight.operators.blocks import BlockOperator
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

CHECK = "geometry"
GHOSTS = "ghosts"
TOO_NEAR = 0.5
"""Share of the sum of the covalent radii below which atoms are too near."""
GHOST_TOO_NEAR = 0.5
"""Distance (Å) between a ghost and any other site below which they are too near."""
REACH = 3.0
"""Largest distance (Å) that is looked at; half of the largest sum of covalent radii is 2.6 Å."""
TOO_FAR = 1.5
"""Share of the sum of the covalent radii up to which there are bonds in anything but rare gases."""
FAR_REACH = 8.0
"""Distance (Å) that is looked at where there are no bonds."""
RARE_GASES = (2, 10, 18, 36, 54, 86)
MOST_FINDINGS = 3
"""Number of pairs that are told."""


def check_geometry(subject: Subject) -> Iterator[Finding]:
    """Find pairs of sites that are too near."""
    structure = subject.calculation.structure
    if subject.coincidence:
        yield subject.finding(
            "error",
            CHECK,
            subject.coincidence,
            "Two sets of functions at one place make S singular.",
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
            "error",
            GHOSTS if ghost[k] else CHECK,
            f"expected at least {limit[k]:.2f} Å between {symbol_of(int(zi[k]))} (atom {i}) and "
            f"{symbol_of(int(zj[k]))} (atom {j}), got {graph.distance[k]:.3f} Å ({len(wrong)} such pairs)",
            "A ghost on top of an atom doubles its functions."
            if ghost[k]
            else "No bond is so short: an atom is there twice, or cell or positions are in Bohr (or wrong).",
            "Check the structure, its cell and the unit of length.",
        )


def check_bonds(subject: Subject) -> Iterator[Finding]:
    """Find structures in which no two atoms are as near as in a bond: lengths in Bohr, taken for Å."""
    structure = subject.calculation.structure
    real = structure.numbers != GHOST
    if subject.coincidence or real.sum() < 2 or np.isin(structure.numbers[real], RARE_GASES).all():
        return
    for reach in (REACH, FAR_REACH):
        graph = build_graph(structure, reach)
        near = real[graph.source] & real[graph.target]
        i, j = structure.numbers[graph.source[near]], structure.numbers[graph.target[near]]
        ratio = graph.distance[near] / (covalent_radii[i] + covalent_radii[j])
        if (ratio < TOO_FAR).any():
            return
    if not len(ratio):
        return
    nearest = int(np.argmin(ratio))
    yield subject.finding(
        "warning",
        CHECK,
        f"expected bonds, got {graph.distance[near][nearest]:.2f} Å between the nearest atoms, "
        f"{symbol_of(int(i[nearest]))} and {symbol_of(int(j[nearest]))}, {ratio[nearest]:.2f} times the sum of their "
        "covalent radii",
        "Cell and positions may be in Bohr (then it is 1.89 times too large), or of another scale.",
        "Check the unit of length; nothing where the atoms are meant to be apart.",
    )


def check_ghosts(subject: Subject) -> Iterator[Finding]:
    """Check the functions and the electrons of ghosts."""
    structure, basis = subject.calculation.structure, subject.calculation.basis
    if GHOST not in structure.elements:
        return
    others = {z: basis.shells[z] for z in structure.elements if z != GHOST}
    if basis.shells[GHOST] not in others.values():
        yield subject.finding(
            "warning",
            GHOSTS,
            "expected ghosts with the shells of an element of the structure "
            f"({basis.restricted(others).describe()}), got l = {basis.shells[GHOST]}",
            "A vacancy carries the functions of the missing atom as a rule.",
            "Nothing where this is meant; otherwise check the basis given for the ghost.",
        )
    electrons = basis.valence.get(GHOST, 0)
    if electrons != 0:
        yield subject.finding(
            "error",
            GHOSTS,
            f"expected ghosts without electrons, got {electrons} for each",
            "The levels are filled with too many electrons.",
            "Set the valence of the ghost (X) to 0.",
        )


IMAGES = "images"
NEARER = 0.85
"""Another meaning of R is the right one where it brings the matrix' weight to less than this share of its distance."""


def check_images(subject: Subject) -> Iterator[Finding]:
    """Check the images of H and of a real-space S."""
    h = subject.hamiltonian
    if h is not None and h.folded and subject.unfolded_radius < subject.cutoff:
        yield subject.finding(
            "note",
            IMAGES,
            f"expected a cell of at least {2 * subject.cutoff:g} Å for a cutoff of {subject.cutoff:g} "
            f"Å, got a smallest height of {2 * subject.unfolded_radius:.2f} Å with matrices folded to Γ",
            "Sums over images are learnt, which tell less about single blocks; they are treated exactly.",
            "Prefer larger cells or real-space data.",
        )
    for name, operator in (("H", h), ("S", subject.overlap)):
        if operator is not None and not operator.folded and operator.shift.any():
            yield from _meaning(subject, name, operator)


def _meaning(subject: Subject, name: str, operator: BlockOperator) -> Iterator[Finding]:
    structure = subject.calculation.structure
    weight = np.add.reduceat(operator.values.astype(np.float64) ** 2, operator.offsets[:-1])
    reach = {text: _reach(weight, vectors) for text, vectors in _meanings(structure, operator).items()}
    best = min(reach, key=lambda text: reach[text])
    if best and reach[best] < NEARER * reach[""]:
        yield subject.finding(
            "error",
            IMAGES,
            f"expected R of {name} such that near atoms have the large blocks, got blocks at a mean "
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
    wraps = {
        "with atoms wrapped to −½ … ½ (as in CP2K)": np.round(fractional),
        "with atoms wrapped to 0 … 1": np.floor(fractional),
    }
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
