"""A run of FHI-aims with `output_rs_matrices plain`, made of any calculation without FHI-aims."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nearsight.elements import symbol_of
from nearsight.formats.real_space_blocks import elements_of
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import AIMS, from_internal_order
from nearsight.units import HARTREE_IN_EV


def light(calculation: Calculation) -> Calculation:
    """The same matrices with neon instead of hafnium, all of whose electrons have room in the basis."""
    numbers = np.where(calculation.structure.numbers == 72, 10, calculation.structure.numbers)
    structure = replace(calculation.structure, numbers=numbers)
    basis = BasisSet("light", {10: calculation.basis.shells[72], 8: calculation.basis.shells[8]}, {})
    h, s = (
        replace(o, numbers=numbers, basis=basis)
        for o in (calculation.require_hamiltonian(), calculation.require_overlap())
    )
    return replace(calculation, structure=structure, basis=basis, hamiltonian=h, overlap=s)


def write_run(folder: Path, calculation: Calculation) -> Path:
    """The five files, of the pairs of H."""
    structure, basis = calculation.structure, calculation.basis
    folder.mkdir(exist_ok=True)
    geometry = ["lattice_vector " + " ".join(map(repr, row)) for row in structure.cell.tolist()]
    for z, row in zip(structure.numbers.tolist(), structure.positions.tolist()):
        geometry.append("atom " + " ".join(map(repr, row)) + f" {symbol_of(z)}")
    (folder / "geometry.in").write_text("\n".join(geometry) + "\n")
    lines = ["", "  fn.   type   at.   n   l   m"]
    count = 0
    for atom, z in enumerate(structure.numbers.tolist(), 1):
        for l in basis.shells[z]:
            for m in range(-l, l + 1):
                count += 1
                lines.append(f" {count} hydro {atom} {l + 1} {l} {m}")
    (folder / "basis-indices.out").write_text("\n".join(lines) + "\n")
    h = calculation.require_hamiltonian()
    s = calculation.require_overlap().on_pairs(h.source, h.target, h.shift)
    index, sign = from_internal_order(AIMS, basis, structure.numbers)
    place, own = np.argsort(index), np.empty_like(sign)
    own[index] = sign
    parts = [
        {cell.cell: cell for cell in elements_of(o, place, own, unit, zeros_too=True)}
        for o, unit in ((h, 1 / HARTREE_IN_EV), (s, 1.0))
    ]
    cells = sorted(parts[0], key=lambda c: (any(c), c))
    n = h.n_orbitals
    first, last, columns = np.zeros((2, len(cells) + 1, n), dtype=int), None, []
    last = first[1]
    last[:] = -1
    numbers: tuple[list[float], list[float]] = ([], [])
    for k, cell in enumerate(cells):
        there = [part[(-cell[0], -cell[1], -cell[2])] for part in parts]
        kept = there[0].columns <= there[0].rows
        rows = there[0].rows[kept]
        for row in np.unique(rows):
            first[0, k, row] = len(columns) + 1
            columns += (there[0].columns[kept][rows == row] + 1).tolist()
            last[k, row] = len(columns)
            for out, part in zip(numbers, there):
                out += part.values[kept][rows == row].tolist()
    for name, out in zip(("rs_hamiltonian.out", "rs_overlap.out"), numbers):
        (folder / name).write_text("".join(f"  {x!r}\n" for x in [*out, 0.0]))
    text = [
        f"n_hamiltonian_matrix_size: {len(columns) + 1}",
        f"n_cells_in_hamiltonian: {len(cells) + 1}",
        f"n_basis: {n}",
    ]
    text += ["cell_index", *("{} {} {}".format(*cell) for cell in cells), "999999999 999999999 999999999"]
    for title, table in (("1", first[0]), ("2", last)):
        text += [f"index_hamiltonian({title},:,:)", *(" ".join(map(str, row)) for row in table.tolist())]
    text += ["column_index_hamiltonian", *map(str, columns), "0"]
    (folder / "rs_indices.out").write_text("\n".join(text) + "\n")
    return folder
