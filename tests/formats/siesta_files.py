"""SIESTA's file .HSX with .EIG and .KP beside it, as SIESTA 5 leaves them, made of any calculation without SIESTA."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.elements import symbol_of
from nearsight.formats.fortran_records import Records, record
from nearsight.formats.siesta import RYDBERG_IN_EV, write
from nearsight.operators.calculation import Calculation
from nearsight.units import BOHR_IN_ANGSTROM

I4 = np.int32


def write_hsx(path: Path, calculation: Calculation, version: int = 2) -> Path:
    """The records of a .TSHS in the order of a .HSX, with species and shells."""
    tshs, xv = write(path.with_suffix(".TSHS"), calculation)
    parts = [bytes(part) for part in records(tshs)]
    tshs.unlink()
    xv.unlink()
    n_atoms, size, supercell, spins, _ = np.frombuffer(parts[1], I4)
    places, per_row = parts[3], parts[9]
    body, offsets = parts[10 : 10 + 3 * size], parts[10 + 3 * size]
    columns, s, h = body[:size], body[size : 2 * size], body[2 * size :]
    structure, basis = calculation.structure, calculation.basis
    elements = list(dict.fromkeys(structure.numbers.tolist()))
    kinds = np.array([elements.index(z) + 1 for z in structure.numbers.tolist()], I4)
    last = np.frombuffer(parts[8], I4)[1:]
    species = [
        symbol_of(z).ljust(20).encode()
        + np.float64(basis.valence.get(z, 0)).tobytes()
        + I4(basis.n_orbitals(z)).tobytes()
        for z in elements
    ]
    fermi = np.array([(calculation.fermi or 0) / RYDBERG_IN_EV, 0.0, 0.0])
    written = [
        record(np.array([version], I4)),
        record(np.array([-1], I4)),
        record(np.array([n_atoms, size, spins, len(elements)], I4), np.frombuffer(parts[2], I4)),
        record(places[:72], fermi),
        record(offsets, places[72:], kinds, last),
        record(*species),
        *(record(_shells(basis.shells[z])) for z in elements),
        *([record(np.eye(3, dtype=I4), np.zeros(3))] if version == 2 else []),
        record(per_row),
        *(record(part) for part in (*columns, *h, *s)),
    ]
    path.write_bytes(b"".join(written))
    _write_levels(path, calculation)
    assert supercell == size * len(offsets) // 12
    return path


def records(path: Path) -> list[memoryview]:
    """All records of a file."""
    file, found = Records(path, "a file"), []
    while not file.at_end:
        found.append(file.bytes("anything"))
    return found


def _shells(momenta: tuple[int, ...]) -> np.ndarray:
    seen: dict[int, int] = {}
    rows = []
    for l in momenta:
        seen[l] = seen.get(l, 0) + 1
        rows += [[3, l, seen[l]]] * (2 * l + 1)
    return np.array(rows, I4)


def _write_levels(path: Path, calculation: Calculation) -> None:
    if calculation.k_points is None or calculation.k_eigenvalues is None:
        return
    k, levels = calculation.k_points, calculation.k_eigenvalues
    cartesian = k @ np.linalg.inv(calculation.structure.cell).T * 2 * np.pi * BOHR_IN_ANGSTROM
    lines = [f"{calculation.fermi!r}", f"{levels.shape[1]} 1 {len(k)}"]
    lines += [f"{n} " + " ".join(map(repr, row)) for n, row in enumerate(levels.tolist(), 1)]
    path.with_suffix(".EIG").write_text("\n".join(lines) + "\n")
    rows = [f"{n} " + " ".join(map(repr, row)) + " 0.5" for n, row in enumerate(cartesian.tolist(), 1)]
    path.with_suffix(".KP").write_text("\n".join([str(len(k)), *rows]) + "\n")
