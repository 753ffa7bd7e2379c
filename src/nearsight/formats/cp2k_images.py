"""H and S per cell vector, as CP2K writes them with KPOINTS and REAL_SPACE: one .csr file for each R.

`PROJECT-FILE-KS_SPIN_1_R_<n>-1_0.csr` has the blocks of image n; the output's table after `KS CSR write|` says which
cell vector that is. Cell vectors refer to atoms wrapped by CP2K: r_i − n_i·cell with n_i the fractional coordinates of
r_i rounded, halves away from zero. Ours refer to the positions as given: R = R_CP2K + n_i − n_j.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.cp2k_csr import read_csr
from nearsight.formats.options import Progress
from nearsight.formats.triplets import ASYMMETRY, Triplets
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.symmetry import hermitian_part, hermiticity_error
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import pair_order
from nearsight.structures.structure import Structure

NAMES = {"KS": "*-KS_SPIN_1_R_*-1_0.csr", "S": "*-S_SPIN_1_R_*-1_0.csr"}

_NUMBER = re.compile(r"_R_(\d+)-1_0\.csr$")
_TITLE = re.compile(r"^\s*(KS|S) CSR write\|\s+(\d+) periodic images")
_ROW = re.compile(r"^\s*(\d+)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)\s*$")
_TIE = 1e-8
_OVERLAPS = 1e-3
"""Pairs with smaller overlaps say nothing about where their atoms are."""


@dataclass(frozen=True, eq=False)
class ImageMatrices:
    """H (E_h) and S, resolved in R, exactly Hermitian.

    Attributes:
        hamiltonian, overlap: the overlap None where there are no files.
        asymmetry: largest |H_ij(R) − H_ji(−R)ᵀ| in the files, E_h.
        n_images: cell vectors of H.
    """

    hamiltonian: BlockOperator
    overlap: BlockOperator | None
    asymmetry: float
    n_images: int


def has_images(folder: Path) -> bool:
    """Whether a folder holds matrices per cell vector."""
    return any(folder.glob(NAMES["KS"]))


def read_images(
    folder: Path, output: Path | None, structure: Structure, basis: BasisSet, progress: Progress | None = None
) -> ImageMatrices:
    """H and S of a run.

    Raises:
        FormatError: no output, images that are missing, left over or damaged, a matrix that is not Hermitian, or
            overlaps at distances that cannot be (another structure).
    """
    if output is None:
        raise FormatError(folder, "expected CP2K's output beside the matrices per cell vector (it says which cell "
                                  "vector each is), got none; give it (--output-file)")
    tables = read_tables(output)
    wraps = wrapping(structure)
    hamiltonian, asymmetry, n_images = _operator(folder, output, "KS", tables, structure, basis, wraps, progress)
    overlap = None
    if any(folder.glob(NAMES["S"])):
        overlap, _, _ = _operator(folder, output, "S", tables, structure, basis, wraps, progress)
        _check_places(folder, overlap, structure)
    return ImageMatrices(hamiltonian, overlap, asymmetry, n_images)


def read_tables(output: Path) -> dict[str, dict[int, tuple[int, int, int]]]:
    """For KS and S: image number → cell vector, from the last such tables of the output."""
    tables: dict[str, dict[int, tuple[int, int, int]]] = {}
    current: dict[int, tuple[int, int, int]] | None = None
    left = 0
    with output.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if title := _TITLE.match(line):
                current = tables[title[1]] = {}
                left = int(title[2])
            elif current is not None and left and (row := _ROW.match(line)):
                current[int(row[1])] = (int(row[2]), int(row[3]), int(row[4]))
                left -= 1
    if left:
        raise FormatError(output, f"expected a whole table of periodic images, got one that lacks {left}; is the "
                                  "output truncated?")
    return tables


def wrapping(structure: Structure) -> np.ndarray:
    """(N, 3) int64, the cell vectors that CP2K takes off each atom."""
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    away = np.abs(fractional)
    # A coordinate that is a half but for rounding: CP2K's own rounding decides, which nobody can know from here.
    rounded = np.where(np.abs(away % 1 - 0.5) < _TIE, np.floor(away + 0.5 + _TIE), np.floor(away + 0.5))
    wraps = (np.sign(fractional) * rounded).astype(np.int64)
    wraps[:, ~structure.pbc] = 0
    return wraps


def _operator(
    folder: Path, output: Path, kind: str, tables: Mapping[str, Mapping[int, tuple[int, int, int]]],
    structure: Structure, basis: BasisSet, wraps: np.ndarray, progress: Progress | None,
) -> tuple[BlockOperator, float, int]:
    files = _files(folder, output, kind, tables)
    # A far image whose elements are all below CP2K's THRESHOLD is an empty file.
    filled = [(path, cell) for path, cell in files if path.stat().st_size]
    if not filled:
        raise FormatError(folder, f"expected a matrix in {NAMES[kind]}, got empty files")
    pieces = [_blocks(read_csr(path, progress)[0], cell, structure, basis, wraps) for path, cell in filled]
    source, target = (np.concatenate([piece[k] for piece in pieces]) for k in (0, 1))
    shift = np.concatenate([piece[2] for piece in pieces])
    values = np.concatenate([piece[3] for piece in pieces])
    unsorted = BlockOperator(structure.numbers, basis, source, target, shift, values, False)
    order = pair_order(source, target, shift)
    starts, lengths = unsorted.offsets[:-1][order], unsorted.lengths[order]
    own = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    whole = BlockOperator(structure.numbers, basis, source[order], target[order], shift[order],
                          values[np.repeat(starts, lengths) + own], False)
    asymmetry = hermiticity_error(whole)
    if asymmetry > ASYMMETRY * float(np.abs(values).max()):
        raise FormatError(folder, f"expected {kind} with H_ij(R) = H_ji(−R)ᵀ, got a difference of {asymmetry:.3g}; are "
                                  "the images of several runs mixed, or UPPER_TRIANGULAR T (write F)?")
    return hermitian_part(whole), asymmetry, len(files)


def _files(
    folder: Path, output: Path, kind: str, tables: Mapping[str, Mapping[int, tuple[int, int, int]]]
) -> list[tuple[Path, tuple[int, int, int]]]:
    """The files of a matrix with their cell vectors, none missing and none too many."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(NAMES[kind])):
        match = _NUMBER.search(path.name)
        number = int(match[1]) if match else 0
        if number in found:
            raise FormatError(folder, f"expected one file of image {number}, got {found[number].name} and {path.name}: "
                                      "are two runs in one folder?")
        found[number] = path
    table = tables.get(kind)
    if table is None:
        raise FormatError(output, f"expected the table after `{kind} CSR write|`, got none; is it the output of this "
                                  "run?")
    missing, extra = sorted(set(table) - set(found)), sorted(set(found) - set(table))
    if missing or extra:
        what = f"no file for image {missing[0]} ({len(missing)} missing)" if missing else (
            f"{found[extra[0]].name}, which is not in the table of {output.name}")
        raise FormatError(folder, f"expected {len(table)} files {NAMES[kind]}, got {what}; are they of this run, and "
                                  "complete?")
    return [(found[number], table[number]) for number in sorted(table)]


def _blocks(
    entries: Triplets, cell: tuple[int, int, int], structure: Structure, basis: BasisSet, wraps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """i, j, R and values of the blocks of one image that hold anything."""
    n, first = len(structure), basis.offsets(structure.numbers)
    if entries.size > first[-1]:
        raise FormatError(entries.path, f"expected indices 1 to {first[-1]} for {n} atoms in {basis.describe()}, got "
                                        f"{entries.size}; is it another structure or another basis?")
    atom = np.repeat(np.arange(n), np.diff(first))
    i, j = atom[entries.rows], atom[entries.columns]
    keys, which = np.unique(i * n + j, return_inverse=True)
    source, target = keys // n, keys % n
    sizes = np.diff(first)
    lengths = sizes[source] * sizes[target]
    begins = np.cumsum(lengths) - lengths
    values = np.zeros(int(lengths.sum()))
    place = begins[which] + (entries.rows - first[i]) * sizes[j] + entries.columns - first[j]
    if len(np.unique(place)) < len(place):
        raise FormatError(entries.path, "expected every (row, column) once, got one twice; are two runs in one file?")
    values[place] = entries.values
    return source, target, np.array(cell) + wraps[source] - wraps[target], values


def _check_places(folder: Path, overlap: BlockOperator, structure: Structure) -> None:
    """Large overlaps lie between neighbours: else the cell vectors belong to other positions."""
    places = structure.positions
    vector = places[overlap.target] + overlap.shift @ structure.cell - places[overlap.source]
    distance = np.linalg.norm(vector, axis=1)
    largest = np.maximum.reduceat(np.abs(overlap.values), overlap.offsets[:-1])
    own = np.flatnonzero(overlap.on_site)
    if len(own) < len(structure):
        raise FormatError(folder, f"expected the own block of each of {len(structure)} atoms in S at R = 0, got "
                                  f"{len(own)}; is the structure that of the run?")
    atom = _misplaced(overlap, structure, distance, largest)
    if atom is not None:
        raise FormatError(folder, "expected overlaps to be largest with the nearest image, got others for most "
                                  f"neighbours of atom {atom}; is the structure that of the run, as CP2K was given it?")


def _misplaced(
    overlap: BlockOperator, structure: Structure, distance: np.ndarray, largest: np.ndarray
) -> int | None:
    """An atom for most of whose neighbours the largest overlap is not that of (about) the nearest image."""
    seen = overlap.source * overlap.n_atoms + overlap.target
    order = np.lexsort((-largest, seen))
    _, first = np.unique(seen[order], return_index=True)
    strongest = order[first]
    nearest = _nearest_image(structure, overlap.source[strongest], overlap.target[strongest])
    counted = (largest[strongest] > _OVERLAPS) & (overlap.source[strongest] != overlap.target[strongest])
    wrong = counted & (distance[strongest] > 1.2 * nearest + 0.3)
    of_atom = overlap.source[strongest]
    bad, all_ = (np.bincount(of_atom[some], minlength=overlap.n_atoms) for some in (wrong, counted))
    atoms = np.flatnonzero(2 * bad > np.maximum(all_, 1))
    return int(atoms[0]) if len(atoms) else None


def _nearest_image(structure: Structure, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(p,) Å, from atom i to the nearest image of atom j."""
    away = (structure.positions[target] - structure.positions[source]) @ np.linalg.inv(structure.cell)
    away -= np.round(away)
    nearest = np.full(len(source), np.inf)
    for shift in np.ndindex(3, 3, 3):
        vector = (away + np.array(shift) - 1) @ structure.cell
        nearest = np.minimum(nearest, np.linalg.norm(vector, axis=1))
    return nearest
