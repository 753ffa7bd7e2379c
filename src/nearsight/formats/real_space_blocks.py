"""Real-space matrices of other codes, as dense blocks or as single elements, as operators of ours.

Both ways end in the internal order, signs and units, with every pair's reverse, exactly Hermitian.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.errors import FormatError
from nearsight.operators import runs
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.symmetry import adjoint, with_reverses
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import OrbitalConvention, from_internal_order, to_internal_order
from nearsight.structures.graph import is_ascending, pair_order

ASYMMETRY = 1e-5
"""Largest |M − M†|, relative to the largest element, that is still a Hermitian matrix; its mean with M† is taken."""
MOST_ASYMMETRY = 1e-3
"""The same in eV (H) or 1 (S): core levels make the largest element of H large, yet excuse nothing elsewhere."""
FARTHEST = 1 << 20
"""Cells between two atoms of a pair; beyond any orbital."""
_AT_ONCE = 1 << 13


@dataclass(frozen=True, eq=False)
class ForeignOrbitals:
    """Whose orbitals they are: atoms, shells, and the order of the functions in them.

    Attributes
    ----------
    numbers : (N,) array of int64
        Atomic numbers, in the file's order.
    basis : BasisSet
        Shells of each element, in the file's order.
    convention : OrbitalConvention
        Order and signs inside the shells.
    """

    numbers: np.ndarray
    basis: BasisSet
    convention: OrbitalConvention

    @property
    def n_orbitals(self) -> int:
        """Size of the matrix."""
        return int(self.basis.offsets(self.numbers)[-1])


def from_blocks(
    path: object,
    orbitals: ForeignOrbitals,
    pairs: np.ndarray,
    values: np.ndarray,
    unit: float = 1.0,
    *,
    hermitian: bool = True,
    half: bool = False,
) -> BlockOperator:
    """Make an operator of a list of blocks.

    Parameters
    ----------
    path : object
        The file, for messages.
    orbitals : ForeignOrbitals
        Whose matrix it is.
    pairs : (P, 5) array of int
        (i, j, R) of each block, atoms from 0, in any order.
    values : (M,) array of float
        The blocks in the same order, each row-major.
    unit : float, default 1
        In which the values are.
    hermitian : bool, default True
        Whether the matrix must be Hermitian; else its Hermitian part is taken.
    half : bool, default False
        Whether blocks may be there in one direction only.

    Returns
    -------
    BlockOperator
        In real space.

    Raises
    ------
    FormatError
        If pairs are of atoms that do not exist or occur twice, the number of values is not theirs, or the matrix is not
        Hermitian.
    """
    _check_pairs(path, pairs, len(orbitals.numbers))
    sizes = orbitals.basis.sizes(orbitals.numbers)
    lengths = sizes[pairs[:, 0]] * sizes[pairs[:, 1]]
    if int(lengths.sum()) != len(values):
        raise FormatError(
            path,
            f"expected {int(lengths.sum())} numbers in {len(pairs)} blocks of {orbitals.basis.describe()}, got "
            f"{len(values)}; is it another basis, or a matrix with spin?",
        )
    order = _sorted(path, pairs)
    result = zeros(orbitals.numbers, orbitals.basis, *_columns(pairs[order]), False)
    starts = np.cumsum(lengths) - lengths
    runs.copy(values, starts[order], result.values, result.offsets[:-1], lengths[order])
    result.values[:] *= unit
    _reorder(result, orbitals)
    return completed(path, result, hermitian=hermitian, half=half)


def _reorder(operator: BlockOperator, orbitals: ForeignOrbitals) -> None:
    """Bring the functions inside the shells into the internal order, in place."""
    atoms = {
        z: to_internal_order(orbitals.convention, operator.basis, np.array([z]))
        for z in {int(z) for z in orbitals.numbers}
    }
    if all((index == np.arange(len(index))).all() and (sign == 1).all() for index, sign in atoms.values()):
        return
    for (zi, zj), pairs in operator.element_pairs.items():
        (rows, row_signs), (columns, column_signs) = atoms[zi], atoms[zj]
        for first in range(0, len(pairs), _AT_ONCE):
            some = pairs[first : first + _AT_ONCE]
            blocks = operator.stack(some)[:, rows[:, None], columns]
            operator.put(some, blocks * (row_signs[:, None] * column_signs))


def unit_overlap(numbers: np.ndarray, basis: BasisSet) -> BlockOperator:
    """Return S of an orthonormal basis.

    Parameters
    ----------
    numbers : (N,) array of int
        Atomic numbers.
    basis : BasisSet
        Orbitals of each element.

    Returns
    -------
    BlockOperator
        1 on every atom, in real space.
    """
    atoms = np.arange(len(numbers))
    result = zeros(numbers, basis, atoms, atoms, np.zeros((len(atoms), 3), dtype=np.int64), False)
    for (z, _), pairs in result.element_pairs.items():
        size = basis.n_orbitals(z)
        result.put(pairs, np.broadcast_to(np.eye(size), (len(pairs), size, size)))
    return result


@dataclass(frozen=True, eq=False)
class CellElements:
    """The elements of a matrix between the home cell and one other.

    Attributes
    ----------
    cell : (int, int, int)
        R, in lattice vectors.
    rows, columns : (n,) array of int
        Orbitals from 0, in the file's order.
    values : (n,) array of float
        In the file's unit.
    """

    cell: tuple[int, int, int]
    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray


def from_elements(
    path: object, orbitals: ForeignOrbitals, cells: Sequence[CellElements], unit: float = 1.0, *, folded: bool = False
) -> BlockOperator:
    """Make an operator of single elements; a block exists where one of its elements is stored.

    Parameters
    ----------
    path : object
        The file, for messages.
    orbitals : ForeignOrbitals
        Whose matrix it is.
    cells : sequence of CellElements
        All that is stored, each cell once.
    unit : float, default 1
        In which the values are.
    folded : bool, default False
        Whether the matrix is summed at Γ; there is then no other cell.

    Returns
    -------
    BlockOperator
        In real space, or folded.

    Raises
    ------
    FormatError
        If an orbital does not exist, an element or a cell occurs twice, or the matrix is not Hermitian.
    """
    index, sign = to_internal_order(orbitals.convention, orbitals.basis, orbitals.numbers)
    place = np.argsort(index)
    sign = sign[place] * 1.0
    offsets, n_atoms = orbitals.basis.offsets(orbitals.numbers), len(orbitals.numbers)
    atom = np.repeat(np.arange(n_atoms), np.diff(offsets))
    kept = [(cell, *_pairs_of(path, cell, atom, n_atoms)) for cell in cells if len(cell.values)]
    pairs = [np.column_stack([*np.divmod(keys, n_atoms), np.tile(cell.cell, (len(keys), 1))]) for cell, keys, _ in kept]
    listed = np.concatenate(pairs) if pairs else np.zeros((0, 5), dtype=np.int64)
    order = _sorted(path, listed)
    result = zeros(orbitals.numbers, orbitals.basis, *_columns(listed[order]), folded)
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.arange(len(order))
    within, width = place - offsets[atom], np.diff(offsets)[atom]
    first = 0
    for cell, keys, which in kept:
        flat = result.offsets[position[first : first + len(keys)]][which]
        flat += within[cell.rows] * width[cell.columns] + within[cell.columns]
        _check_once(path, cell, flat)
        result.values[flat] = cell.values * (sign[cell.rows] * sign[cell.columns] * unit)
        first += len(keys)
    return completed(path, result)


def _pairs_of(path: object, cell: CellElements, atom: np.ndarray, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys of the pairs of atoms of a cell's elements, and which of them each element is of."""
    lowest = min(int(cell.rows.min()), int(cell.columns.min()))
    highest = max(int(cell.rows.max()), int(cell.columns.max()))
    if lowest < 0 or highest >= len(atom):
        raise FormatError(
            path,
            f"expected rows and columns of {len(atom)} orbitals, got "
            f"{lowest if lowest < 0 else highest} in the cell R = {cell.cell}",
        )
    key = atom[cell.rows] * n_atoms
    key += atom[cell.columns]
    if n_atoms * n_atoms <= 8 * len(key) + 4096:
        present = np.zeros(n_atoms * n_atoms, dtype=bool)
        present[key] = True
        keys = np.flatnonzero(present)
        rank = np.cumsum(present) - 1
        return keys, rank[key]
    keys, which = np.unique(key, return_inverse=True)
    return keys, which


def _check_once(path: object, cell: CellElements, flat: np.ndarray) -> None:
    ordered = np.sort(flat)
    same = ordered[1:] == ordered[:-1]
    if same.any():
        k = np.flatnonzero(flat == ordered[1:][same][0])[1]
        raise FormatError(
            path,
            f"expected every element once, got row {int(cell.rows[k])}, column {int(cell.columns[k])} (from 0) of the "
            f"cell R = {cell.cell} twice",
        )


def elements_of(
    operator: BlockOperator, place: np.ndarray, sign: np.ndarray, unit: float = 1.0, *, zeros_too: bool = False
) -> Iterator[CellElements]:
    """Yield the elements of an operator as a code lists them, one cell after another.

    Parameters
    ----------
    operator : BlockOperator
        In real space, or at Γ with R = 0.
    place : (n,) array of int
        Where each of our orbitals is in the code's order.
    sign : (n,) array of float
        With which sign.
    unit : float, default 1
        Factor of the values.
    zeros_too : bool, default False
        Whether elements that are zero are listed, too.

    Yields
    ------
    CellElements
        Sorted by row and column; cells ascend.
    """
    size, first = operator.n_orbitals, operator.orbital_offsets
    sizes = operator.basis.sizes(operator.numbers)
    cells, which = np.unique(operator.shift, axis=0, return_inverse=True)
    by_cell = np.argsort(which.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(which.ravel(), minlength=len(cells)))
    for cell, start, end in zip(cells.tolist(), [0, *ends[:-1]], ends):
        part = operator.select(np.sort(by_cell[start:end]))
        width = np.repeat(sizes[part.target], part.lengths)
        within = np.arange(part.n_values) - np.repeat(part.offsets[:-1], part.lengths)
        rows = np.repeat(first[part.source], part.lengths) + within // width
        columns = np.repeat(first[part.target], part.lengths) + within % width
        values = part.values * (sign[rows] * sign[columns] * unit)
        rows, columns = place[rows], place[columns]
        kept = np.arange(len(values)) if zeros_too else np.flatnonzero(values)
        ascending = kept[np.argsort(rows[kept] * size + columns[kept], kind="stable")]
        x, y, z = cell
        yield CellElements((x, y, z), rows[ascending], columns[ascending], values[ascending])


def places_by_l(convention: OrbitalConvention, operator: BlockOperator) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of our orbitals is in the matrix of a code that lists the shells of an atom by their l.

    Parameters
    ----------
    convention : OrbitalConvention
        The code's order and signs inside the shells.
    operator : BlockOperator
        On the same atoms.

    Returns
    -------
    place : (n,) array of int
        As `elements_of` takes it.
    sign : (n,) array of int
        Likewise.
    """
    index, sign = from_internal_order(convention, operator.basis, operator.numbers)
    place, own = np.empty_like(index), np.empty_like(sign)
    place[index], own[index] = np.arange(len(index)), sign
    offsets = operator.orbital_offsets
    for atom, z in enumerate(operator.numbers.tolist()):
        shells = operator.basis.shells[z]
        momenta = np.concatenate([np.full(2 * l + 1, l) for l in shells])
        moved = np.argsort(np.argsort(momenta, kind="stable"), kind="stable")
        part = slice(offsets[atom], offsets[atom + 1])
        place[part] = offsets[atom] + moved[place[part] - offsets[atom]]
    return place, own


def completed(path: object, operator: BlockOperator, *, hermitian: bool = True, half: bool = False) -> BlockOperator:
    """Give every pair its reverse and make the matrix exactly Hermitian, which it must nearly be.

    A block whose reverse is not there is that of both directions: where `half` says that files are written so, or where
    it is so small that the reverse was left out for its size.

    Parameters
    ----------
    path : object
        The file, for messages.
    operator : BlockOperator
        What it held.
    hermitian : bool, default True
        Whether more than `ASYMMETRY`, or than `MOST_ASYMMETRY`, is an error.
    half : bool, default False
        Whether blocks may be there in one direction only.

    Returns
    -------
    BlockOperator
        ½(M + M†).

    Raises
    ------
    FormatError
        If it is not Hermitian; the message names the worst block.
    """
    whole = with_reverses(operator)
    turned = adjoint(whole)
    if whole.n_values:
        alone = _one_way(operator, whole)
        error = np.abs(whole.values - turned.values)
        if half:
            error[alone] = 0
        worst = int(np.argmax(error))
        if hermitian and error[worst] > min(ASYMMETRY * float(np.abs(whole.values).max()), MOST_ASYMMETRY):
            pair = int(np.searchsorted(whole.offsets, worst, side="right")) - 1
            i, j, shift = int(whole.source[pair]), int(whole.target[pair]), tuple(whole.shift[pair].tolist())
            raise FormatError(
                path,
                f"expected a Hermitian matrix, got |M − M†| = {error[worst]:.3g} in the block of atoms {i} and {j} "
                f"(from 0), R = {shift}" + (", which is there in one direction only" if alone[worst] else ""),
            )
        turned.values[alone] *= 2
        whole.values[alone] *= 2
    turned.values[:] += whole.values
    turned.values[:] /= 2
    return turned


def _one_way(operator: BlockOperator, whole: BlockOperator) -> np.ndarray:
    """(M,) bool, the elements of `whole` whose block, or the reverse of it, is not in `operator`."""
    if whole.n_pairs == operator.n_pairs:
        return np.zeros(whole.n_values, dtype=bool)
    new = operator.find(whole.source, whole.target, whole.shift) < 0
    return np.repeat(new | new[whole.reverse], whole.lengths)


def _check_pairs(path: object, pairs: np.ndarray, n_atoms: int) -> None:
    bad = (pairs[:, :2] < 0).any(axis=1) | (pairs[:, :2] >= n_atoms).any(axis=1)
    bad |= (np.abs(pairs[:, 2:]) > FARTHEST).any(axis=1)
    if bad.any():
        k = int(np.argmax(bad))
        raise FormatError(
            path,
            f"expected pairs of atoms 0 to {n_atoms - 1} in cells that are near, got atoms "
            f"{pairs[k, 0]} and {pairs[k, 1]} (from 0), R = {tuple(pairs[k, 2:].tolist())}",
        )


def _columns(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]), np.ascontiguousarray(pairs[:, 2:])


def _sorted(path: object, pairs: np.ndarray) -> np.ndarray:
    """The order in which pairs ascend, each once."""
    order = pair_order(*_columns(pairs))
    if not is_ascending(*_columns(pairs[order]), strictly=True):
        same = (np.diff(pairs[order], axis=0) == 0).all(axis=1)
        i, j, *shift = pairs[order][int(np.argmax(same))].tolist()
        raise FormatError(
            path, f"expected every block once, got that of atoms {i} and {j} (from 0), R = {tuple(shift)}, twice"
        )
    return order
