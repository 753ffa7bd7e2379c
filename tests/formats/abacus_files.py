"""A run of ABACUS as its versions before 3.11 leave it, made of any calculation without ABACUS."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.elements import symbol_of
from nearsight.formats import abacus
from nearsight.formats.abacus_csr import AbacusMatrix, read_abacus_csr
from nearsight.formats.abacus_log import PRINTED_EV
from nearsight.operators.calculation import Calculation
from nearsight.progress import silent
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM
from tests.formats.samples import levels

MESH = np.array([[0.0, 0, 0], [0.5, 0, 0]])
LEVELS = 6


def write_run(folder: Path, calculation: Calculation) -> Path:
    """OUT.x in a folder, with H and S in 16 digits, the log and istate.info."""
    out = folder / "OUT.x"
    abacus.write(out, calculation)
    structure = None
    for new, old, letter in zip(abacus.HAMILTONIANS[:1] + abacus.OVERLAPS[:1], ("HR", "SR"), "HS"):
        matrix = read_abacus_csr(out / new, silent)
        structure = matrix.structure
        (out / f"data-{old}-sparse_SPIN0.csr").write_text(former(matrix, letter))
        (out / new).unlink()
    assert structure is not None
    (out / "running_scf.log").write_text(log(structure, calculation))
    (out / "istate.info").write_text(istate(calculation))
    return out


def former(matrix: AbacusMatrix, letter: str) -> str:
    """The layout of versions before 3.11."""
    lines = [
        "STEP: 0",
        f"Matrix Dimension of {letter}(R): {matrix.size}",
        f"Matrix number of {letter}(R): {len(matrix.cells)}",
    ]
    for cell in matrix.cells:
        lines.append("{} {} {} {}".format(*cell.cell, len(cell.values)))
        if len(cell.values):
            pointers = np.concatenate([[0], np.cumsum(np.bincount(cell.rows, minlength=matrix.size))])
            lines += [" ".join(map(repr, numbers.tolist())) for numbers in (cell.values, cell.columns, pointers)]
    return "\n".join(lines) + "\n"


def log(structure: Structure, calculation: Calculation) -> str:
    """running_scf.log."""
    lines = [
        "ABACUS v3.10.0",
        " READING UNITCELL INFORMATION",
        f" lattice constant (Bohr) = {1 / BOHR_IN_ANGSTROM!r}",
        "",
    ]
    numbers = structure.numbers.tolist()
    for k, z in enumerate(dict.fromkeys(numbers), 1):
        shells = calculation.basis.shells[z]
        lines += [f" READING ATOM TYPE {k}", f"                 atom label = {symbol_of(z)}"]
        lines += [f"      L={l}, number of zeta = {shells.count(l)}" for l in sorted(set(shells))]
        lines += [f" number of atom for this type = {numbers.count(z)}", ""]
    lines += ["CARTESIAN COORDINATES ( UNIT = 1 Bohr ).", "  atom  x  y  z"]
    lines += [
        f"tauc_{symbol_of(z)}1 {x!r} {y!r} {w!r} 0.0" for z, (x, y, w) in zip(numbers, structure.positions.tolist())
    ]
    lines += [" Lattice vectors: (Cartesian coordinate: in unit of a_0)"]
    lines += [" ".join(f"{x:+.12g}" for x in row) for row in structure.cell.tolist()]
    for z in dict.fromkeys(numbers):
        if z in calculation.basis.valence:
            lines.append(f" electron number of element {symbol_of(z)} = {calculation.basis.valence[z]}")
    lines += ["                 nspin = 1", f" EFERMI = {(calculation.fermi or 0) / PRINTED_EV!r} eV", ""]
    return "\n".join(lines)


def istate(calculation: Calculation) -> str:
    """istate.info with the lowest levels at two k-points, or those that are known."""
    mesh, known = calculation.k_points, calculation.k_eigenvalues
    if mesh is None or known is None:
        mesh, known = MESH, levels(calculation, MESH)[:, :LEVELS]
    lines = []
    for k, (point, own) in enumerate(zip(mesh, known), 1):
        x, y, z = point.tolist()
        lines.append(f"BAND    Energy(ev)    Occupation    Kpoint = {k}    ({x} {y} {z})")
        lines += [f" {n} {e / PRINTED_EV!r} 1" for n, e in enumerate(own.tolist(), 1)]
        lines += ["", ""]
    return "\n".join(lines)
