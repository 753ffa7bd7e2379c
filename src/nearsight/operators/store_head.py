"""The head of a store: all that a file says besides its matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import h5py
import numpy as np

from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_content import HASH, Refused, array, attribute, content_hash, text, texts
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.structures.structure import Structure

FORMAT = "nearsight calculation"
VERSION = 2
"""Since version 2, all content is under checksums; files of version 1 are read without."""
SPIN_VERSION = 3
"""Version of files with H of two spins, which programs that know no spin refuse."""
CONVENTION = (
    "H_ij(R) = <i,0|H|j,R>; pair (i, j, R) has the vector r_j + R.cell - r_i; cell vectors are rows; "
    "orbitals run over the atoms, an atom's shells in the basis' order, and m = -l..l of real spherical "
    "harmonics without Condon-Shortley phase (p = y, z, x); blocks are row-major, one after another, sorted "
    "by (i, j, R); folded = summed over periodic images (Gamma). storage 'half' holds i < j, and i = j with "
    "R >= 0; the rest is the transpose"
)
UNITS = "length: angstrom; energy: eV; overlap: 1"
_LONG = 4_000
"""Bytes. HDF5 wants the attributes of an object to be small: 64 kB in all."""
_MOST_ELEMENTS = 200
_MOST_PRIMITIVES = 100_000
_FUNCTIONS = ("function_element", "function_shell", "exponents", "coefficients")
"""Datasets of the basis' radial functions, one number for each primitive; files may lack them."""
SCALARS = ("cutoff", "energy", "fermi")
ERROR_ESTIMATE = "error_estimate"
ESTIMATE_MEANING = "expected r.m.s. error of the elements of each stored block of the Hamiltonian, in its order"
OUT_OF_DISTRIBUTION = "out_of_distribution"
STRANGE_MEANING = "atoms (from 0) in environments unlike those of the training data"

OperatorName = Literal["hamiltonian", "hamiltonian_up", "hamiltonian_down", "overlap", "h0"]
UNIT_OF: dict[OperatorName, str] = {
    "hamiltonian": "eV",
    "hamiltonian_up": "eV",
    "hamiltonian_down": "eV",
    "overlap": "1",
    "h0": "eV",
}
FORMER_NAME = {"h0": "initial_hamiltonian"}
"""Names that groups had in older files."""


def stored_operator(file: h5py.File, which: OperatorName) -> h5py.Group | None:
    """Find the group of a matrix, also under the name that it had in older files.

    Parameters
    ----------
    file : h5py.File
        An open store.
    which : {"hamiltonian", "overlap", "h0"}
        The matrix.

    Returns
    -------
    h5py.Group or None
        None where the file does not hold it.
    """
    for name in (which, FORMER_NAME.get(which)):
        if name is not None and name in file:
            group = file[name]
            if not isinstance(group, h5py.Group):
                raise Refused(f"{name} is no group")
            check_hash(file, group)
            return group
    return None


def check_hash(file: h5py.File, group: h5py.Group, without: tuple[str, ...] = ()) -> None:
    """Check that a group says what it said when it was written; files of version 1 do not know.

    Parameters
    ----------
    file : h5py.File
        The store.
    group : h5py.Group
        The file itself, or a matrix in it.
    without : tuple of str, optional
        Members that are not part of it.

    Raises
    ------
    Refused
        If it was changed.
    """
    if attribute(file, "version") == 1:
        return
    if attribute(group, HASH) != content_hash(group, without):
        raise Refused(f"{group.name} is not what was written: its hash is another one")


def write_head(file: h5py.File, calculation: Calculation, version: int = VERSION) -> None:
    """Write everything of a calculation but its matrices.

    Parameters
    ----------
    file : h5py.File
        An empty file.
    calculation : Calculation
        What to write.
    version : int
        Version of the file.
    """
    _write_attributes(file, calculation, version)
    _write_structure(file.create_group("structure"), calculation.structure)
    _write_basis(file.create_group("basis"), calculation.basis)
    if calculation.eigenvalues is not None:
        file["eigenvalues"] = np.asarray(calculation.eigenvalues, dtype=np.float64)
        file["eigenvalues"].attrs["unit"] = "eV"
    for name, unit in (("k_points", "reciprocal lattice vectors"), ("k_eigenvalues", "eV")):
        values = getattr(calculation, name)
        if values is not None:
            file[name] = np.asarray(values, dtype=np.float64)
            file[name].attrs["unit"] = unit
    _write_provenance(file.create_group("provenance", track_order=True), calculation.provenance)


def _write_provenance(group: h5py.Group, provenance: Mapping[str, str]) -> None:
    """Short texts as attributes, which every viewer shows; HDF5 keeps long ones only as datasets."""
    for key, value in provenance.items():
        if len(str(value).encode()) < _LONG:
            group.attrs[key] = str(value)
        else:
            group[key] = str(value)


def read_provenance(group: h5py.Group) -> dict[str, str]:
    """Read the provenance from its group.

    Parameters
    ----------
    group : h5py.Group
        The group `provenance`.

    Returns
    -------
    dict of str to str
        Text by key.
    """
    long = {key: text(group, key) for key in group}
    short = {key: attribute(group, key) for key in group.attrs}
    wrong = [key for key, value in short.items() if not isinstance(value, str)]
    if wrong:
        raise Refused(f"the attribute {wrong[0]} of {group.name} is no text")
    return short | long


def read_structure(group: h5py.Group) -> Structure:
    """Read the structure from its group.

    Parameters
    ----------
    group : h5py.Group
        The group `structure`.

    Returns
    -------
    Structure
        Atoms and cell.
    """
    return Structure(
        array(group, "numbers", "integer", (None,)),
        array(group, "positions", "float", (None, 3)),
        array(group, "cell", "float", (3, 3)),
        array(group, "pbc", "bool", (3,)),
    )


def read_basis(group: h5py.Group) -> BasisSet:
    """Read the basis from its group.

    Parameters
    ----------
    group : h5py.Group
        The group `basis`.

    Returns
    -------
    BasisSet
        Shells and valences, and functions where the file holds them.
    """
    elements = array(group, "elements", "integer", (None,), largest=_MOST_ELEMENTS).tolist()
    shells = [tuple(int(word) for word in words.split()) for words in texts(group, "shells")]
    valence = array(group, "valence", "integer", (len(elements),)).tolist()
    name = attribute(group, "name")
    if not isinstance(name, str) or not name.isprintable():
        raise Refused(f"the basis has {name!r:.80} as its name, which is not one line of text")
    if len(set(elements)) != len(elements):
        raise Refused("an element is twice in the basis")
    of_elements = dict(zip(elements, shells, strict=True))
    known = {z: v for z, v in zip(elements, valence, strict=True) if v >= 0}
    return BasisSet(name, of_elements, known, _read_functions(group, of_elements) if _FUNCTIONS[0] in group else {})


def _read_functions(group: h5py.Group, shells: Mapping[int, tuple[int, ...]]) -> dict[int, tuple[GaussianShell, ...]]:
    element, shell = (array(group, name, "integer", (None,), largest=_MOST_PRIMITIVES) for name in _FUNCTIONS[:2])
    exponents, coefficients = (array(group, name, "float", (len(element),)) for name in _FUNCTIONS[2:])
    if len(shell) != len(element) or (exponents <= 0).any():
        raise Refused("the functions of the basis have exponents that are not positive, or columns of unequal length")
    result: dict[int, tuple[GaussianShell, ...]] = {}
    for z in np.unique(element).tolist():
        rows = [np.flatnonzero((element == z) & (shell == k)) for k in range(len(shells.get(z, ())))]
        if not rows or not all(len(own) for own in rows) or sum(map(len, rows)) != np.count_nonzero(element == z):
            raise Refused(f"the functions of element {z} are not those of its shells")
        result[z] = tuple(
            GaussianShell.of_primitives(l, exponents[own], coefficients[own]) for l, own in zip(shells[z], rows)
        )
    return result


def _write_attributes(file: h5py.File, calculation: Calculation, version: int) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["version"] = max(version, SPIN_VERSION) if calculation.spin_polarised else version
    file.attrs["convention"] = CONVENTION
    file.attrs["units"] = UNITS
    file.attrs["formula"] = calculation.structure.formula
    for key in SCALARS:
        value = getattr(calculation, key)
        if value is not None:
            file.attrs[key] = float(value)
    file.attrs["charge"] = float(calculation.charge)
    if calculation.multiplicity is not None:
        file.attrs["multiplicity"] = int(calculation.multiplicity)


def _write_structure(group: h5py.Group, structure: Structure) -> None:
    for name in ("numbers", "positions", "cell", "pbc"):
        group[name] = getattr(structure, name)
    group["positions"].attrs["unit"] = group["cell"].attrs["unit"] = "angstrom"


def _write_basis(group: h5py.Group, basis: BasisSet) -> None:
    group.attrs["name"] = basis.name
    group["elements"] = np.array(list(basis.shells), dtype=np.int64)
    group["shells"] = [" ".join(map(str, shells)) for shells in basis.shells.values()]
    group["valence"] = np.array([basis.valence.get(z, -1) for z in basis.shells], dtype=np.int64)
    rows = [
        (z, k, exponent, coefficient)
        for z, own in basis.functions.items()
        for k, shell in enumerate(own)
        for exponent, coefficient in zip(shell.exponents, shell.coefficients)
    ]
    if rows:
        for name, column, kind in zip(_FUNCTIONS, zip(*rows), (np.int64, np.int64, np.float64, np.float64)):
            group[name] = np.array(column, dtype=kind)
        group[_FUNCTIONS[2]].attrs["unit"] = "1/bohr^2"
        group[_FUNCTIONS[3]].attrs["meaning"] = "of r^l exp(-exponent r^2) Y_lm; each shell is normalised as a whole"
