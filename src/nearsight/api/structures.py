"""Structures from whatever describes them, and their overlap matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from ase import Atoms

from nearsight.api.matrices import Overlap
from nearsight.errors import InputError
from nearsight.formats.basis_choice import named_basis
from nearsight.formats.options import BasisChoice
from nearsight.formats.structure_files import parse_cell, read_structure
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import is_store, read_calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.recipes.overlap import SMALLEST, overlap_of
from nearsight.structures.structure import Structure

StructureLike = Structure | Calculation | Atoms | str | Path
"""What `as_structure` accepts."""


def as_structure(source: StructureLike, *, cell: str | np.ndarray | None = None) -> Structure:
    """Make a structure of whatever describes one.

    Parameters
    ----------
    source : Structure, Calculation, ase.Atoms, str or pathlib.Path
        A structure comes back as it is. A path names an xyz or extended xyz file, a CP2K input, a store (`.h5`), or a
        file of another format that ASE reads. Ghosts are written `X` (atomic number 0).
    cell : str or array, optional
        Å, instead of the source's: 1 number (cube), 3 (edges) or 9 (rows are the lattice vectors), as numbers or as
        text; ``"none"`` for an isolated molecule. Only for a path.

    Returns
    -------
    Structure
        Atomic numbers, positions (Å), cell (Å, rows are the lattice vectors) and periodic directions.

    Raises
    ------
    FormatError
        If the file does not hold a structure, or holds one that cannot be (no cell, atoms on top of each other).
    InputError
        If `source` is something else, or a cell is given for what is not a path.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from nearsight.api.structures import as_structure
    >>> as_structure(bulk("Si")).formula
    'Si2'
    >>> as_structure("tests/data/cp2k_mhfo2/mhfo2.xyz").formula
    'Hf4O8'
    """
    if isinstance(source, (str, Path)):
        given = parse_cell(cell) if isinstance(cell, str) else cell
        return read_structure(source, cell=given, isolated=isinstance(cell, str) and given is None)
    if cell is not None:
        raise InputError(
            f"expected a cell only with the path of a structure, got one with {type(source).__name__}; "
            "change the cell there"
        )
    if isinstance(source, Structure):
        return source
    if isinstance(source, Calculation):
        return source.structure
    if isinstance(source, Atoms):
        return Structure.from_ase(source)
    raise InputError(
        f"expected a Structure, a Calculation, ase.Atoms or the path of a structure, got {type(source).__name__}"
    )


def overlap(
    source: StructureLike,
    basis: BasisSet | BasisChoice | None = None,
    *,
    cell: str | np.ndarray | None = None,
    ghost_element: str = "O",
    smallest: float = SMALLEST,
) -> Overlap:
    """Compute the overlap matrix of a structure, without a DFT run.

    Parameters
    ----------
    source : Structure, Calculation, ase.Atoms, str or pathlib.Path
        The structure, as in `as_structure`. A calculation, or the path of a store (`.h5`), brings its basis along.
    basis : BasisSet, str or mapping of str to str, optional
        The basis, such as ``"SZV-MOLOPT-SR-GTH"``, or one for each element symbol. Its name is looked up in PySCF.
        Needed unless the source holds one.
    cell : str or array, optional
        As in `as_structure`, for the path of a structure.
    ghost_element : str, default "O"
        The element whose functions a ghost carries.
    smallest : float, default 1e-8
        Blocks at distances beyond which no element of any block is larger are left out.

    Returns
    -------
    Overlap
        S in real space with its structure, S_ij(R) = ⟨i, 0|j, R⟩, Hermitian to the last bit. What a calculation or a
        store holds besides (H, H₀, energies) stays; for other sources there is nothing else.

    Raises
    ------
    InputError
        If there is no basis or two of them, PySCF is not installed, does not have the basis, or has it with other
        shells.
    FormatError
        If a file does not hold a structure.

    Notes
    -----
    With the bond along z, the overlap of two atoms depends on their distance alone, so blocks of PySCF's integrals are
    tabulated against distance, interpolated by splines of fifth order and rotated into place. CP2K's own S agrees to
    1e-6.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from nearsight.api.structures import overlap
    >>> s = overlap(bulk("Ge"), "DZVP-MOLOPT-SR-GTH").operator
    >>> s.n_orbitals, s.folded, bool(abs(s.block(0, 0)[0, 0] - 1) < 1e-6)
    (26, False, True)
    """
    given = _with_basis(source, basis, cell)
    s = overlap_of(given.structure, given.basis, ghost_element=ghost_element, smallest=smallest)
    provenance = {**given.provenance, "overlap": "PySCF's integrals"}
    return Overlap(replace(given, overlap=s, provenance=provenance))


def _with_basis(
    source: StructureLike, basis: BasisSet | BasisChoice | None, cell: str | np.ndarray | None
) -> Calculation:
    """The structure with its basis, and what else its source holds."""
    if isinstance(source, (str, Path)) and is_store(source):
        if basis is not None or cell is not None:
            raise InputError(f"{source}: expected neither a basis nor a cell with an .h5 file, which holds both")
        return read_calculation(source)
    if isinstance(source, Calculation) and basis is None:
        return source
    if basis is None:
        named = source if isinstance(source, (str, Path)) else type(source).__name__
        raise InputError(f"{named}: expected a basis, such as SZV-MOLOPT-SR-GTH, with a structure that does not say it")
    structure = as_structure(source, cell=cell)
    return Calculation(
        structure, basis if isinstance(basis, BasisSet) else named_basis(basis, None, structure.elements)
    )
