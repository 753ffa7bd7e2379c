"""How fast, and in how much memory, is a large CP2K matrix read?

Writes a matrix of a 3,000-atom a-HfO2-like structure (18,000 orbitals, 28 million entries) in CP2K's text and
binary form to a temporary folder, then reads each in a fresh process: entries, and entries assembled into
blocks. The numbers are made up (symmetric, 14 digits, ten orders of magnitude); the pattern of pairs is that
of a structure.

    python benchmarks/reading.py [--lines 28000000] [--triangle full|upper] [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nearsight.formats.cp2k_csr import read_csr
from nearsight.formats.triplets import assemble
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

TARGETS = {"text": (60.0, 3.0), "binary": (10.0, 3.0)}
"""Seconds and GB that reading and assembling 28 million entries may take."""

BASIS = "SZV-MOLOPT-SR-GTH"
LINE_BYTES = 40
ROWS_AT_ONCE = 200


def main() -> None:
    """Write the files, read them, print the figures."""
    options = _options()
    if options.read:
        print(json.dumps(measure(Path(options.read), structure_of(options.atoms))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="nearsight-reading-") as folder:
        start = time.perf_counter()
        n_lines = write_files(Path(folder), options.atoms, options.lines, options.triangle)
        seconds = time.perf_counter() - start
        results = {kind: _in_fresh_process(Path(folder) / f"{kind}.csr", options.atoms) for kind in TARGETS}
    report = {"lines": n_lines, "triangle": options.triangle, "seconds_to_write": round(seconds, 1), **results}
    print(json.dumps(report, indent=1) if options.json else _table(report))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=28_000_000, help="about how many entries")
    parser.add_argument("--atoms", type=int, default=3000)
    parser.add_argument("--triangle", choices=("full", "upper"), default="full")
    parser.add_argument("--folder", help="where the temporary folder is made (needs 2 GB)")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    return parser.parse_args()


def structure_of(n_atoms: int) -> Structure:
    """A jittered lattice with the density of a-HfO2 (12.17 Å³ per atom), a third of it Hf."""
    generator = np.random.default_rng(7)
    n_x, n_y = max(1, round((n_atoms * 2) ** (1 / 3))), max(1, round((n_atoms / 4) ** (1 / 3)))
    spacing = 12.17 ** (1 / 3)
    n_z = -(-n_atoms // (n_x * n_y))
    sites = np.array(np.unravel_index(np.arange(n_atoms), (n_x, n_y, n_z))).T * spacing
    cell = np.diag(np.array([n_x, n_y, n_z]) * spacing)
    numbers = np.where(np.arange(n_atoms) < n_atoms // 3, 72, 8)
    positions = generator.permutation(sites) + generator.uniform(-0.4, 0.4, (n_atoms, 3))
    return Structure(numbers, positions, cell, np.ones(3, dtype=bool))


def write_files(folder: Path, n_atoms: int, lines: int, triangle: str) -> int:
    """`text.csr` and `binary.csr` with the same entries; how many there are."""
    structure = structure_of(n_atoms)
    basis = basis_named(BASIS).restricted(structure.elements)
    pairs = _pairs(structure, basis, lines if triangle == "full" else 2 * lines)
    count = 0
    with open(folder / "text.csr", "wb") as text, open(folder / "binary.csr", "wb") as binary:
        for rows, columns in _rows(structure, basis, pairs):
            if triangle == "upper":
                rows, columns = rows[rows <= columns], columns[rows <= columns]
            mantissa, exponent = _numbers(rows, columns)
            text.write(_as_text(rows, columns, mantissa, exponent).tobytes())
            binary.write(_as_records(rows, columns, mantissa, exponent).tobytes())
            count += len(rows)
    return count


def _pairs(structure: Structure, basis: BasisSet, lines: int) -> np.ndarray:
    """(N, N) bool: the nearest pairs of atoms, as many as make `lines` entries."""
    sizes = basis.sizes(structure.numbers)
    graph = build_graph(structure, 14.0)
    order = np.argsort(graph.distance, kind="stable")
    first = np.unique((graph.source * len(sizes) + graph.target)[order], return_index=True)[1]
    chosen = order[np.sort(first)]
    source, target = graph.source[chosen], graph.target[chosen]
    entries = np.cumsum(sizes[source] * sizes[target]) + int((sizes**2).sum())
    keep = int(np.searchsorted(entries, lines)) + 1
    near = np.eye(len(sizes), dtype=bool)
    near[source[:keep], target[:keep]] = True
    return near | near.T


def _rows(structure: Structure, basis: BasisSet, pairs: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row and column (from 0) of the entries in CP2K's order, some rows at a time."""
    atom = np.repeat(np.arange(len(pairs)), basis.sizes(structure.numbers))
    for start in range(0, len(atom), ROWS_AT_ONCE):
        some = np.arange(start, min(start + ROWS_AT_ONCE, len(atom)))
        row, column = np.nonzero(pairs[atom[some]][:, atom])
        yield some[row], column


def _numbers(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signed 14-digit mantissa and decimal exponent, the same for (i, j) and (j, i)."""
    low, high = np.minimum(rows, columns).astype(np.uint64), np.maximum(rows, columns).astype(np.uint64)
    mixed = (low * np.uint64(18_000) + high) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mantissa = (10**13 + mixed % np.uint64(9 * 10**13)).astype(np.int64)
    sign = np.where((mixed >> np.uint64(60)) & np.uint64(1), -1, 1)
    exponent = np.where(low == high, 1, -((mixed >> np.uint64(40)) % np.uint64(10)).astype(np.int64))
    return mantissa * sign, exponent


def _as_records(rows: np.ndarray, columns: np.ndarray, mantissa: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    records = np.zeros(len(rows), dtype="<i4,<i4,<i4,<f8,<i4")
    records["f0"] = records["f4"] = 16
    records["f1"], records["f2"] = rows + 1, columns + 1
    records["f3"] = mantissa / 10.0 ** (14 - exponent)
    return records


def _as_text(rows: np.ndarray, columns: np.ndarray, mantissa: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """(n, 40) bytes: Fortran's (2(I8),E23.14E3) and a line end."""
    lines = np.full((len(rows), LINE_BYTES), ord(" "), dtype=np.uint8)
    _digits(lines, 7, rows + 1, 8, blank=True)
    _digits(lines, 15, columns + 1, 8, blank=True)
    lines[mantissa < 0, 17] = ord("-")
    lines[:, 18:20] = list(b"0.")
    _digits(lines, 33, np.abs(mantissa), 14)
    lines[:, 34] = ord("E")
    lines[:, 35] = np.where(exponent < 0, ord("-"), ord("+"))
    _digits(lines, 38, np.abs(exponent), 3)
    lines[:, 39] = ord("\n")
    return lines


def _digits(lines: np.ndarray, last: int, numbers: np.ndarray, count: int, blank: bool = False) -> None:
    """Right-aligned decimal digits that end in column `last`; leading zeros are blank if wanted."""
    rest = numbers
    for column in range(last, last - count, -1):
        shown = rest > 0 if blank else slice(None)
        rest, digit = np.divmod(rest, 10)
        lines[shown, column] = digit[shown] + ord("0")


def measure(path: Path, structure: Structure) -> dict[str, float]:
    """Seconds to the entries and to the blocks, and the process's peak memory."""
    basis = basis_named(BASIS).restricted(structure.elements)
    before = _peak()
    start = time.perf_counter(), time.process_time()
    entries, _ = read_csr(path)
    read = time.perf_counter()
    operator, _ = assemble(entries, structure.numbers, basis)
    done = time.perf_counter(), time.process_time()
    return {
        "entries": len(entries),
        "pairs": operator.n_pairs,
        "values": operator.n_values,
        "seconds_read": round(read - start[0], 2),
        "seconds_assembled": round(done[0] - read, 2),
        "seconds": round(done[0] - start[0], 2),
        "cpu_seconds": round(done[1] - start[1], 2),
        "peak_GB": round(_peak(), 3),
        "peak_GB_before": round(before, 3),
        "checksum": float(np.abs(operator.values).sum()),
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _in_fresh_process(path: Path, n_atoms: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--read", str(path), "--atoms", str(n_atoms)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _table(report: dict[str, object]) -> str:
    lines = [
        f"{report['lines']:,} entries ({report['triangle']}), written in {report['seconds_to_write']} s",
        "",
        f"{'':8}{'read s':>9}{'blocks s':>10}{'total s':>9}{'CPU s':>8}{'peak GB':>9}{'target':>16}",
    ]
    for kind, (seconds, memory) in TARGETS.items():
        found = report[kind]
        assert isinstance(found, dict)
        lines.append(
            f"{kind:8}{found['seconds_read']:9.1f}{found['seconds_assembled']:10.1f}{found['seconds']:9.1f}"
            f"{found['cpu_seconds']:8.1f}{found['peak_GB']:9.2f}{f'< {seconds:.0f} s, {memory:.0f} GB':>16}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
