"""Good calculations, and the same with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from nearsight.checks.subject import Finding
from nearsight.formats.h0 import read_h0
from nearsight.formats.registry import read_any
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.rotations import bond_frames, orbital_frames, wigner_d
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure
from tests.formats.files import DATA, MHFO2
from tests.random_cases import HFO2_SZV, pairs_of

SHIPPED = Path(__file__).parents[2] / "data"
A96 = SHIPPED / "aHfO2_96_A.h5"
C372 = SHIPPED / "aHfO2_372_C.h5"
H0_OF_A96 = DATA / "aHfO2_96_A_H0.npz"
PYSCF_P = (np.array([1, 2, 0]), np.ones(3))
"""Of y, z, x in the order x, y, z."""


@cache
def good() -> Calculation:
    """96 atoms of amorphous HfO₂, folded; pairs nearer than 3.5 Å have one image that counts."""
    return read_any(A96)


@cache
def crystal() -> Calculation:
    """12 atoms in a cell of 5 Å: every block is a sum of several images."""
    return read_any(MHFO2 / "binary_upper")


@cache
def initial() -> BlockOperator:
    """H₀ of `good`, eV."""
    return read_h0(H0_OF_A96, good())


def serious(findings: list[Finding]) -> list[Finding]:
    """Errors and warnings."""
    return [finding for finding in findings if finding.level != "note"]


def errors_of(findings: list[Finding]) -> set[str]:
    """Names of the checks with errors."""
    return {finding.check for finding in findings if finding.level == "error"}


def message_of(findings: list[Finding], check: str) -> str:
    """Message and meaning of the only finding of a check."""
    (found,) = [finding for finding in findings if finding.check == check]
    return f"{found.message} {found.meaning}"


def with_blocks(operator: BlockOperator, change: Callable[[np.ndarray], np.ndarray]) -> BlockOperator:
    """All blocks but those on site changed."""
    result = operator.with_values(operator.values.copy())
    for pairs in operator.element_pairs.values():
        off = pairs[~operator.on_site[pairs]]
        if len(off):
            result.put(off, change(operator.stack(off)))
    return result


def in_other_order(operator: BlockOperator, l: int, where: np.ndarray, sign: np.ndarray) -> BlockOperator:
    """The functions of all shells of an l listed in another order (function k of the shell is ours of `where⁻¹`)."""
    result = operator.with_values(np.empty_like(operator.values))
    matrices = {}
    for z, shells in operator.basis.shells.items():
        matrices[z] = np.eye(operator.basis.n_orbitals(z))
        for degree, start in zip(shells, operator.basis.shell_offsets(z)):
            if degree == l:
                part = slice(start, start + 2 * l + 1)
                matrices[z][part, part] = (np.eye(2 * l + 1)[where] * sign[:, None]).T
    for (a, b), pairs in operator.element_pairs.items():
        result.put(pairs, matrices[a] @ operator.stack(pairs) @ matrices[b].T)
    return result


def both_in_other_order(calculation: Calculation, l: int, where: np.ndarray, sign: np.ndarray) -> Calculation:
    """H and S."""
    h, s = (in_other_order(x, l, where, sign) for x in (calculation.hamiltonian, calculation.overlap) if x)
    return replace(calculation, hamiltonian=h, overlap=s)


def two_centre_calculation(structure: Structure, cutoff: float = 5.0) -> Calculation:
    """H and S resolved in R, exactly axially symmetric about every bond, H = −20 eV · S."""
    graph = build_graph(structure, cutoff)
    overlap = zeros(structure.numbers, HFO2_SZV, *pairs_of(graph), False)
    for (a, b), pairs in overlap.element_pairs.items():
        on_site = overlap.on_site[pairs]
        if on_site.any():
            overlap.put(pairs[on_site], np.tile(np.eye(HFO2_SZV.n_orbitals(a)), (int(on_site.sum()), 1, 1)))
        off = pairs[~on_site]
        vectors = (
            structure.positions[overlap.target[off]]
            + overlap.shift[off] @ structure.cell
            - structure.positions[overlap.source[off]]
        )
        frames = wigner_d(bond_frames(vectors), 2)
        left, right = orbital_frames(HFO2_SZV, a, frames), orbital_frames(HFO2_SZV, b, frames)
        size = 0.05 * np.exp(-np.linalg.norm(vectors, axis=1))
        local = _local_block(a, b)[None] * size[:, None, None]
        overlap.put(off, left.transpose(0, 2, 1) @ local @ right)
    return Calculation(structure, HFO2_SZV, overlap.with_values(-20.0 * overlap.values), overlap)


def _local_block(a: int, b: int) -> np.ndarray:
    """A block in the frame of a bond: m with m; odd l₁ + l₂ change sign with the direction, as parity asks."""
    rows, columns = (_labels(z) for z in (a, b))
    same = np.array([[float(m == n) for _, _, n in columns] for _, _, m in rows])
    strength = np.array([[1.0 + 0.1 * (s + t) + 0.2 * l * k for t, k, _ in columns] for s, l, _ in rows])
    sign = np.array([[(-1.0) ** k if (l + k) % 2 else 1.0 for _, k, _ in columns] for _, l, _ in rows])
    return same * strength * sign


def _labels(z: int) -> list[tuple[int, int, int]]:
    """(shell, l, m) of every orbital."""
    return [(k, l, m) for k, l in enumerate(HFO2_SZV.shells[z]) for m in range(-l, l + 1)]
