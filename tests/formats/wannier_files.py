"""Wannier90's files, made of any calculation without Wannier90."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nearsight.api.exports import export
from nearsight.formats.real_space_blocks import unit_overlap
from nearsight.operators.calculation import Calculation


def orthonormal(calculation: Calculation) -> Calculation:
    """The same H with S = 1."""
    unit = unit_overlap(calculation.structure.numbers, calculation.basis)
    return replace(calculation, overlap=unit, provenance={})


def write_tb(folder: Path, calculation: Calculation, moved: np.ndarray | None = None, spread: float = 0.0) -> Path:
    """`_tb.dat` of the oxygen of HfO₂, centres at the atoms or Å apart, maybe in other cells; projections say its l."""
    known = orthonormal(calculation)
    h = known.require_hamiltonian()
    keep = (h.numbers[h.source] == 8) & (h.numbers[h.target] == 8)
    atoms = np.array([1, 2])
    small = h.select(keep)
    basis = known.basis.restricted([8])
    own = replace(small, numbers=np.array([8, 8]), basis=basis, source=small.source - 1, target=small.target - 1)
    structure = known.structure.permuted(atoms)
    structure = replace(structure, numbers=structure.numbers[:2], positions=structure.positions[:2])
    oxygen = replace(
        known,
        structure=structure,
        basis=basis,
        hamiltonian=own,
        overlap=unit_overlap(own.numbers, basis),
        eigenvalues=None,
        k_points=None,
        k_eigenvalues=None,
    )
    export(oxygen, folder, "wannier90")
    lines = (folder / "wannier90_hr.dat").read_text().splitlines()
    n, count = int(lines[1]), int(lines[2])
    head = -(-count // 15)
    rows = np.array([[float(word) for word in line.split()] for line in lines[3 + head :]]).reshape(count, n * n, 7)
    cells = np.zeros((n, 3), dtype=int) if moved is None else moved
    text = ["tb", *(" ".join(map(repr, row)) for row in structure.cell.tolist()), str(n)]
    blocks: dict[tuple[int, ...], np.ndarray] = {}
    for own_rows in rows:
        for row in own_rows:
            i, j = int(row[3]) - 1, int(row[4]) - 1
            shift = tuple((row[:3].astype(int) - cells[j] + cells[i]).tolist())
            blocks.setdefault(shift, np.zeros((n, n)))[i, j] = row[5]
    text += [str(len(blocks)), " ".join("2" for _ in blocks)]
    for shift, block in blocks.items():
        text += ["", " ".join(map(str, shift))]
        text += [f"{i + 1} {j + 1} {2 * float(block[i, j])!r} 1e-9" for j in range(n) for i in range(n)]
    centres = np.repeat(structure.positions, n // 2, axis=0) + cells @ structure.cell
    centres[:, 2] += spread * np.arange(n)
    for shift in blocks:
        text += ["", " ".join(map(str, shift))]
        for j in range(n):
            for i in range(n):
                x, y, z = centres[i].tolist() if i == j and not any(shift) else (0.0, 0.0, 0.0)
                text.append(f"{i + 1} {j + 1} {x!r} 0.0 {y!r} 0.0 {z!r} 0.0")
    (folder / "wannier90_tb.dat").write_text("\n".join(text) + "\n")
    return folder
