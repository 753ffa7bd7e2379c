"""H and S for each cell vector, as CP2K writes them with KPOINTS and REAL_SPACE: one .csr file for each R.

`PROJECT-FILE-KS_SPIN_1_R_<n>-1_0.csr` has the blocks of image n; the output's table after `KS CSR write|` says which
cell vector that is. Cell vectors refer to atoms wrapped by CP2K, r_i − n_i·cell. A `BlockOperator` refers to the
positions as given: R = R_CP2K + n_i − n_j.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.cp2k_csr import read_csr
from nearsight.formats.cp2k_files import KS_DOWN
from nearsight.formats.cp2k_wrapping import check_nearest, placed, settled
from nearsight.formats.triplets import ASYMMETRY, Triplets, check_complete
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.symmetry import adjoint, hermitian_part, hermiticity_error, with_reverses
from nearsight.orbitals.basis import BasisSet
from nearsight.progress import Progress, silent
from nearsight.structures.graph import pair_order
from nearsight.structures.structure import Structure

NAMES = {"KS": "*-KS_SPIN_1_R_*-1_0.csr", "S": "*-S_SPIN_1_R_*-1_0.csr", KS_DOWN: "*-KS_SPIN_2_R_*-1_0.csr"}

Cell = tuple[int, int, int]
Tables = Mapping[str, Mapping[int, Cell]]


@dataclass(frozen=True, eq=False)
class ImageMatrices:
    """H (E_h) and S, in real space, exactly Hermitian.

    Attributes
    ----------
    hamiltonian : BlockOperator
        H, E_h.
    overlap : BlockOperator or None
        S; None where there are no files.
    asymmetry : float
        Largest |H_ij(R) − H_ji(−R)ᵀ| in the files, E_h; of an upper triangle, on its diagonal.
    n_images : int
        Number of cell vectors of H.
    down : BlockOperator or None
        H of spin down, E_h, where there are two spins.
    """

    hamiltonian: BlockOperator
    overlap: BlockOperator | None
    asymmetry: float
    n_images: int
    down: BlockOperator | None = None


def read_images(
    folder: Path,
    files: Mapping[str, Mapping[int, Path]],
    output: Path | None,
    tables: Tables,
    structure: Structure,
    basis: BasisSet,
    progress: Progress = silent,
) -> ImageMatrices:
    """Read H and S of a run.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the run, for messages.
    files : mapping of str to mapping of int to pathlib.Path
        For KS, S and, of spin down, KS_DOWN: image number → file.
    output : pathlib.Path or None
        CP2K's output, which is needed.
    tables : mapping of str to mapping of int to (int, int, int)
        For KS and S: image number → cell vector, from this output.
    structure : Structure
        Positions as given.
    basis : BasisSet
        Orbitals of each element.
    progress : Progress, default silent
        Told the bytes that are read of each file.

    Returns
    -------
    ImageMatrices
        H and S.

    Raises
    ------
    FormatError
        If there is no output, images are missing, left over or damaged, a matrix is not Hermitian, or overlaps are at
        distances that cannot be (another structure).
    """
    if output is None:
        raise FormatError(
            folder,
            "expected CP2K's output beside the matrices per cell vector (it says which cell "
            "vector each is), got none; give it (--output-file)",
        )
    hamiltonian, asymmetry, n_images = _operator(folder, files, output, "KS", tables, structure, basis, progress)
    overlap = None
    if files.get("S"):
        overlap, _, _ = _operator(folder, files, output, "S", tables, structure, basis, progress)
    wraps = settled(folder, hamiltonian if overlap is None else overlap, structure)
    if overlap is not None:
        overlap = placed(overlap, wraps)
        check_nearest(folder, overlap, structure)
    down = None
    if files.get(KS_DOWN):
        other, error, _ = _operator(folder, files, output, KS_DOWN, tables, structure, basis, progress)
        down, asymmetry = placed(other, wraps), max(asymmetry, error)
    return ImageMatrices(placed(hamiltonian, wraps), overlap, asymmetry, n_images, down)


def _operator(
    folder: Path,
    named: Mapping[str, Mapping[int, Path]],
    output: Path,
    kind: str,
    tables: Tables,
    structure: Structure,
    basis: BasisSet,
    progress: Progress,
) -> tuple[BlockOperator, float, int]:
    """The matrix with CP2K's own R, its asymmetry in the files, and how many images it has."""
    files = _files(folder, named.get(kind, {}), output, kind, tables)
    # A far image whose elements are all below CP2K's THRESHOLD is an empty file.
    filled = [(path, cell) for path, cell in files if path.stat().st_size]
    if not filled:
        raise FormatError(folder, f"expected a matrix in {NAMES[kind]}, got empty files")
    images, upper = [], True
    for path, cell in filled:
        entries, _ = read_csr(path, progress)
        images.append(_blocks(entries, cell, structure, basis))
        upper = upper and entries.triangle() in ("upper", "diagonal")
        if not any(cell):
            # A diagonal element of H may by chance be below CP2K's threshold; one of S cannot.
            size = int(basis.offsets(structure.numbers)[-1])
            check_complete(entries, size, 0 if kind == "S" else size // 1000 + 1)
    whole = _sorted(images, structure, basis)
    hermitian, asymmetry = _completed(whole) if upper else (hermitian_part(whole), hermiticity_error(whole))
    if asymmetry > ASYMMETRY * float(np.abs(whole.values).max()):
        raise FormatError(
            folder,
            f"expected {kind} with H_ij(R) = H_ji(−R)ᵀ, got a difference of {asymmetry:.3g}; are "
            "the images of several runs mixed, or was a file cut off?",
        )
    return hermitian, asymmetry, len(files)


def _sorted(
    images: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], structure: Structure, basis: BasisSet
) -> BlockOperator:
    """One operator of the blocks of all images."""
    source, target, shift, values = (np.concatenate([image[k] for image in images]) for k in range(4))
    mixed = BlockOperator(structure.numbers, basis, source, target, shift, values, False)
    order = pair_order(source, target, shift)
    return BlockOperator(
        structure.numbers, basis, source[order], target[order], shift[order], values[mixed.flat_index(order)], False
    )


def _completed(upper: BlockOperator) -> tuple[BlockOperator, float]:
    """The matrix of which every image has its elements with row ≤ column: the others are those of −R."""
    half = with_reverses(upper)
    mirrored = adjoint(half)
    both = half.with_values(half.values + mirrored.values)
    asymmetry = 0.0
    for (zi, zj), pairs in both.element_pairs.items():
        own = pairs[both.source[pairs] == both.target[pairs]] if zi == zj else pairs[:0]
        if not len(own):
            continue
        blocks, error = both.stack(own), half.stack(own) - mirrored.stack(own)
        asymmetry = max(asymmetry, float(np.abs(np.diagonal(error, axis1=1, axis2=2)).max()))
        diagonal = np.arange(blocks.shape[1])
        blocks[:, diagonal, diagonal] /= 2  # it is in both
        both.put(own, blocks)
    return both, asymmetry


def _files(folder: Path, found: Mapping[int, Path], output: Path, kind: str, tables: Tables) -> list[tuple[Path, Cell]]:
    """The files of a matrix with their cell vectors, none missing and none too many."""
    table = tables.get("KS" if kind == KS_DOWN else kind)
    if table is None:
        raise FormatError(
            output, f"expected the table after `{kind} CSR write|`, got none; is it the output of this run?"
        )
    missing, extra = sorted(set(table) - set(found)), sorted(set(found) - set(table))
    if missing or extra:
        what = (
            f"no file for image {missing[0]} ({len(missing)} missing)"
            if missing
            else (f"{found[extra[0]].name}, which is not in the table of {output.name}")
        )
        raise FormatError(
            folder, f"expected {len(table)} files {NAMES[kind]}, got {what}; are they of this run, and complete?"
        )
    return [(found[number], table[number]) for number in sorted(table)]


def _blocks(
    entries: Triplets, cell: Cell, structure: Structure, basis: BasisSet
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """i, j, R and values of the blocks of one image that hold anything."""
    n, first = len(structure), basis.offsets(structure.numbers)
    if entries.size > first[-1]:
        raise FormatError(
            entries.path,
            f"expected indices 1 to {first[-1]} for {n} atoms in {basis.describe()}, got "
            f"{entries.size}; is it another structure or another basis?",
        )
    atom, sizes = np.repeat(np.arange(n), np.diff(first)), np.diff(first)
    i, j = atom[entries.rows], atom[entries.columns]
    keys, which = np.unique(i * n + j, return_inverse=True)
    source, target = keys // n, keys % n
    lengths = sizes[source] * sizes[target]
    values, filled = np.zeros(int(lengths.sum())), np.zeros(int(lengths.sum()), dtype=bool)
    place = (np.cumsum(lengths) - lengths)[which] + (entries.rows - first[i]) * sizes[j] + entries.columns - first[j]
    values[place], filled[place] = entries.values, True
    if np.count_nonzero(filled) < len(place):
        raise FormatError(entries.path, "expected every (row, column) once, got one twice; are two runs in one file?")
    return source, target, np.tile(np.array(cell, dtype=np.int64), (len(source), 1)), values
