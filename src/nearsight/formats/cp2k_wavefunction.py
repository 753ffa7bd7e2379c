"""CP2K's orbitals (`PROJECT-RESTART.wfn`), from which it starts with SCF_GUESS RESTART. At Γ; meshes have another file.

Fortran records (length, data, length; 4-byte lengths, little-endian), integers of 4 bytes, numbers of 8:

    atoms, spins, orbitals, most sets of an atom, most shells of a set
    sets of each atom
    shells of each set                      (atom, set), 0 where there is none
    functions of each shell                 (atom, set, shell), 0 where there is none
    for each spin
        levels, homo, lfomo, electrons      the last level that is not empty, the first that is not full, from 1
        energies, then occupations
        one record of coefficients a level

Coefficients run over the atoms in the input's order, over sets and shells as in the basis file, and m = −l … l in a
shell, which is the internal order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.atomic_files import written_atomically
from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import reading
from nearsight.formats.sniffing import first_bytes
from nearsight.orbitals.basis import BasisSet

Sets = tuple[tuple[int, ...], ...]
"""Functions of each shell of each set of one atom, such as ((1, 1, 3, 5),)."""

_MARK = np.dtype("<i4")
_FULL = 2.0
FERMI_DIRAC = 1e-5
"""Occupations nearer than this to empty or full are taken for it, as by CP2K (EPS_FERMI_DIRAC)."""


@dataclass(frozen=True, eq=False)
class SpinOrbitals:
    """The orbitals of one spin, or of both in a closed shell.

    Attributes
    ----------
    energies : (m,) array of float64
        E_h, ascending.
    occupations : (m,) array of float64
        Electrons, 0 … 2 in a closed shell.
    coefficients : (n, m) array of float64
        One column for each level.
    homo : int
        The last level that is not empty, from 1.
    lfomo : int
        The first level that is not full, from 1.
    electrons : int
        Their number.
    """

    energies: np.ndarray
    occupations: np.ndarray
    coefficients: np.ndarray
    homo: int
    lfomo: int
    electrons: int


@dataclass(frozen=True, eq=False)
class Cp2kWavefunction:
    """The content of a file.

    Attributes
    ----------
    sets : tuple of Sets
        Of each atom.
    spins : tuple of SpinOrbitals
        One or two.
    """

    sets: tuple[Sets, ...]
    spins: tuple[SpinOrbitals, ...]

    @property
    def n_orbitals(self) -> int:
        """Size of the matrices."""
        return sum(size for atom in self.sets for shells in atom for size in shells)


def closed_shell(
    basis: BasisSet, numbers: np.ndarray, energies: np.ndarray, occupations: np.ndarray, coefficients: np.ndarray
) -> Cp2kWavefunction:
    """Make the orbitals of a closed shell, in a basis of one set of exponents for each element (all MOLOPT).

    Parameters
    ----------
    basis : BasisSet
        Shells of the elements, ghosts among them.
    numbers : (N,) array of int
        Atomic numbers.
    energies : (m,) array of float
        E_h, ascending.
    occupations : (m,) array of float
        Electrons, 0 … 2, that add up to a whole number.
    coefficients : (n, m) array of float
        C with C†SC = 1.

    Returns
    -------
    Cp2kWavefunction
        What `write_wavefunction` writes.

    Raises
    ------
    InputError
        If the shapes do not fit.
    """
    n = int(basis.offsets(numbers)[-1])
    m = len(energies)
    if coefficients.shape != (n, m) or np.shape(occupations) != (m,):
        raise InputError(
            f"expected coefficients of shape ({n}, {m}) and {m} occupations, got {coefficients.shape} and "
            f"{np.shape(occupations)}"
        )
    atoms = {int(z): (tuple(2 * l + 1 for l in basis.shells[int(z)]),) for z in np.unique(numbers)}
    homo = 1 + int(np.flatnonzero(occupations > FERMI_DIRAC)[-1]) if (occupations > FERMI_DIRAC).any() else 0
    not_full = np.flatnonzero(occupations < _FULL * (1 - FERMI_DIRAC))
    lfomo = 1 + int(not_full[0]) if len(not_full) else m + 1
    spin = SpinOrbitals(
        np.asarray(energies, dtype=np.float64),
        np.asarray(occupations, dtype=np.float64),
        np.asarray(coefficients, dtype=np.float64),
        homo,
        lfomo,
        round(float(occupations.sum())),
    )
    return Cp2kWavefunction(tuple(atoms[int(z)] for z in numbers), (spin,))


def read_wavefunction(path: str | Path) -> Cp2kWavefunction:
    """Read a file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    Cp2kWavefunction
        All of it.

    Raises
    ------
    FormatError
        If it is not such a file, or truncated.
    """
    with reading(path, "a wavefunction of CP2K (.wfn)"):
        return _read(path)


def _read(path: str | Path) -> Cp2kWavefunction:
    records = _Records(Path(path))
    head = records.integers(5, "atoms, spins, orbitals, sets, shells")
    atoms, spins, orbitals, most_sets, most_shells = head.tolist()
    if min(atoms, orbitals, most_sets, most_shells) < 1 or spins not in (1, 2):
        raise FormatError(
            path,
            f"expected atoms, 1 or 2 spins, orbitals, sets and shells, got {atoms}, {spins}, "
            f"{orbitals}, {most_sets}, {most_shells}; is it a wavefunction of CP2K at Γ?",
        )
    n_sets = records.integers(atoms, "the sets of each atom")
    n_shells = records.integers(atoms * most_sets, "the shells of each set").reshape(atoms, most_sets)
    if n_sets.min() < 0 or n_sets.max() > most_sets or n_shells.min() < 0 or n_shells.max() > most_shells:
        raise FormatError(path, f"expected at most {most_sets} sets of {most_shells} shells, got others; it is damaged")
    sizes = records.integers(atoms * most_sets * most_shells, "the functions of each shell")
    sizes = sizes.reshape(atoms, most_sets, most_shells)
    sets = tuple(tuple(tuple(sizes[a, s, : n_shells[a, s]].tolist()) for s in range(n_sets[a])) for a in range(atoms))
    found = Cp2kWavefunction(sets, tuple(_read_spin(records, orbitals) for _ in range(spins)))
    if found.n_orbitals != orbitals:
        raise FormatError(
            path, f"expected {orbitals} orbitals, got shells with {found.n_orbitals}; the file is damaged"
        )
    records.end()
    return found


def write_wavefunction(path: str | Path, wavefunction: Cp2kWavefunction) -> None:
    """Write a file; one that CP2K wrote comes out as it was, byte by byte.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    wavefunction : Cp2kWavefunction
        Its content.

    Raises
    ------
    InputError
        If shapes do not fit, or the file cannot be written.
    """
    with written_atomically(path) as temporary, temporary.open("wb") as file:
        for record in _records(wavefunction):
            data = np.ascontiguousarray(record).tobytes()
            mark = np.array(len(data), dtype=_MARK).tobytes()
            file.write(mark + data + mark)


def _records(wavefunction: Cp2kWavefunction) -> Iterator[np.ndarray]:
    sets, n = wavefunction.sets, wavefunction.n_orbitals
    most_sets = max(len(atom) for atom in sets)
    most_shells = max(len(shells) for atom in sets for shells in atom)
    n_shells = np.zeros((len(sets), most_sets), dtype="<i4")
    sizes = np.zeros((len(sets), most_sets, most_shells), dtype="<i4")
    for a, atom in enumerate(sets):
        for s, shells in enumerate(atom):
            n_shells[a, s], sizes[a, s, : len(shells)] = len(shells), shells
    yield np.array([len(sets), len(wavefunction.spins), n, most_sets, most_shells], dtype="<i4")
    yield np.array([len(atom) for atom in sets], dtype="<i4")
    yield n_shells
    yield sizes
    for spin in wavefunction.spins:
        if spin.coefficients.shape != (n, len(spin.energies)):
            raise InputError(
                f"expected coefficients of shape ({n}, {len(spin.energies)}), got {spin.coefficients.shape}"
            )
        yield np.array([len(spin.energies), spin.homo, spin.lfomo, spin.electrons], dtype="<i4")
        yield np.concatenate([spin.energies, spin.occupations]).astype("<f8")
        for level in range(len(spin.energies)):
            yield spin.coefficients[:, level].astype("<f8")


def _read_spin(records: _Records, orbitals: int) -> SpinOrbitals:
    levels, homo, lfomo, electrons = records.integers(4, "levels, homo, lfomo, electrons").tolist()
    both = records.numbers(2 * levels, "energies and occupations")
    records.require(levels * (8 * orbitals + 8), f"the coefficients of {levels} levels")
    coefficients = np.empty((orbitals, levels), order="F")
    for level in range(levels):
        coefficients[:, level] = records.numbers(orbitals, f"the coefficients of level {level + 1}")
    return SpinOrbitals(both[:levels].copy(), both[levels:].copy(), coefficients, homo, lfomo, electrons)


class _Records:
    """A file's Fortran records, one after another."""

    def __init__(self, path: Path) -> None:
        self.path, self.at, self.count = path, 0, 0
        first_bytes(path, "a wavefunction of CP2K (.wfn)")
        try:
            self.data = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise FormatError(path, f"expected a wavefunction of CP2K (.wfn), got {error}") from error

    def integers(self, count: int, what: str) -> np.ndarray:
        return self._next(count, np.dtype("<i4"), what)

    def numbers(self, count: int, what: str) -> np.ndarray:
        return self._next(count, np.dtype("<f8"), what)

    def require(self, size: int, what: str) -> None:
        """Refuse a count that the file is far too short for, before memory is asked for."""
        if not 0 <= size <= 2 * len(self.data):
            raise FormatError(self.path, f"expected {size} bytes of {what}, got a file of {len(self.data)}")

    def end(self) -> None:
        if self.at != len(self.data):
            raise FormatError(
                self.path,
                f"expected the file to end after {self.count} records, got {len(self.data) - self.at} more bytes",
            )

    def _next(self, count: int, kind: np.dtype, what: str) -> np.ndarray:
        size = count * kind.itemsize
        start, end = self.at + 4, self.at + 4 + size
        self.count += 1
        marks = [int(self.data[k : k + 4].view(_MARK)[0]) if k + 4 <= len(self.data) else None for k in (self.at, end)]
        if marks != [size, size]:
            got = "the end of the file" if None in marks else f"one marked {marks[0]} … {marks[1]}"
            raise FormatError(
                self.path,
                f"expected {what} in record {self.count}, of {size} bytes, got {got}; is it a "
                "complete wavefunction of CP2K at Γ (.wfn)?",
            )
        self.at = end + 4
        return self.data[start:end].view(kind)
