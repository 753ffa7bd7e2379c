"""What ABACUS says beside its matrices: running_scf.log (atoms, shells, Fermi level), and levels in two layouts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.elements import number_of, symbol_of
from nearsight.errors import FormatError
from nearsight.foreign_files import read_text
from nearsight.orbitals.basis import SHELL_LETTERS, BasisSet
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV

RYDBERG_IN_EV = HARTREE_IN_EV / 2
PRINTED_EV = RYDBERG_IN_EV / 13.605698
"""What ABACUS prints in eV comes from Rydberg by a constant of its own (module_base/constants.h): in our eV."""

_TYPE = re.compile(
    r"READING ATOM TYPE\s+(\d+)\s*\n\s*atom label\s*=\s*(\S+)[^\n]*\n((?:[^\n]*number of zeta[^\n]*\n)+)", re.I
)
_ZETA = re.compile(r"L\s*=\s*(\d+)\s*,\s*number of zeta\s*=\s*(\d+)", re.I)
_ATOMS = re.compile(r"number of atoms? for this type\s*=\s*(\d+)", re.I)
_CONSTANT = re.compile(r"lattice constant \(Bohr\)\s*=\s*(\S+)")
_COORDINATES = re.compile(r"^ *(CARTESIAN|DIRECT) COORDINATES[^\n]*\n[^\n]*\n", re.M)
_VECTORS = re.compile(r"Lattice vectors: \(Cartesian coordinate: in unit of a_0\)[^\n]*\n((?:[^\n]*\n){3})")
_NSPIN = re.compile(r"^\s*nspin\s*=\s*(\d+)", re.M)
_FERMI = re.compile(r"^\s*EFERMI\s*=\s*(\S+)\s*eV", re.M)
_ENERGY = re.compile(r"(?:final etot is|!FINAL_ETOT_IS)\s+(\S+)\s+eV")
_ELECTRONS = re.compile(r"^\s*electron number of element (\S+)\s*=\s*(\S+)", re.M)
_LABEL = re.compile(r"([A-Z][a-z]?)(?![a-z])")
_STATE = re.compile(r"^ *spin=(\d+) +k-point=(\d+)/(\d+) +Cartesian=(\S+) +(\S+) +(\S+) +\([^)\n]*\) *$", re.M)
_STEP = re.compile(r"^ *\d+ +# ionic step", re.M)
_BAND = re.compile(r"^BAND[^\n]*Kpoint\s*=\s*(\d+)\s*\(([^)\n]*)\)\s*$", re.M)


@dataclass(frozen=True, eq=False)
class AbacusLog:
    """What the log says.

    Attributes
    ----------
    structure : Structure or None
        Å; None where the atoms have moved, so that the first structure is not that of the matrices. Lattice vectors are
        printed with six digits.
    numbers : (N,) array of int64
        Atomic numbers; empty where atoms and shells are not printed as in versions up to 3.10.
    basis : BasisSet or None
        Shells of each element in ABACUS' order; None there.
    fermi, energy : float or None
        eV.
    spins : int
        1, or 2 of a spin-polarised run.
    """

    structure: Structure | None
    numbers: np.ndarray
    basis: BasisSet | None
    fermi: float | None
    energy: float | None
    spins: int = 1


def read_log(path: Path) -> AbacusLog:
    """Read running_scf.log.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    AbacusLog
        Of a run without spin or of two spins.

    Raises
    ------
    FormatError
        If what is needed does not stand there, or there is spin-orbit coupling.
    """
    text = read_text(path, "ABACUS' log", any_encoding=True)
    spin = _NSPIN.search(text)
    if spin and spin[1] not in ("1", "2"):
        raise FormatError(path, f"expected nspin = 1 or 2, got nspin = {spin[1]}; spin-orbit coupling is not supported")
    numbers, shells = _types(path, text)
    valence = {}
    for label, count in _ELECTRONS.findall(text):
        z = _element(path, label)
        if z in shells and _number(path, count).is_integer():
            valence[z] = int(_number(path, count))
    fermi, energy = _FERMI.findall(text), _ENERGY.findall(text)
    return AbacusLog(
        _structure(path, text, numbers),
        numbers,
        BasisSet("of ABACUS' files", shells, valence) if shells else None,
        _number(path, fermi[-1]) * PRINTED_EV if fermi else None,
        _number(path, energy[-1]) * PRINTED_EV if energy else None,
        int(spin[1]) if spin else 1,
    )


def _types(path: Path, text: str) -> tuple[np.ndarray, dict[int, tuple[int, ...]]]:
    numbers: list[int] = []
    shells: dict[int, tuple[int, ...]] = {}
    for found in _TYPE.finditer(text):
        z = _element(path, found[2])
        zetas = [(int(l), int(n)) for l, n in _ZETA.findall(found[3])]
        if not zetas or max(l for l, _ in zetas) >= len(SHELL_LETTERS) or max(n for _, n in zetas) > 50:
            raise FormatError(path, f"expected numbers of zeta for each L of {found[2]}, got others")
        own = tuple(l for l, n in zetas for _ in range(n))
        if shells.setdefault(z, own) != own:
            raise FormatError(path, f"expected one basis for each element, got two for {symbol_of(z)}")
        count = _ATOMS.search(text, found.end())
        if count is None or int(count[1]) > len(text):
            raise FormatError(path, f"expected the number of atoms of type {found[1]}, got none")
        numbers += [z] * int(count[1])
    return np.array(numbers, dtype=np.int64), shells


def _structure(path: Path, text: str, numbers: np.ndarray) -> Structure | None:
    constant, vectors = _CONSTANT.search(text), _VECTORS.search(text)
    coordinates = list(_COORDINATES.finditer(text))
    if constant is None or vectors is None or len(coordinates) != 1 or not len(numbers):
        return None
    unit = _number(path, constant[1]) * BOHR_IN_ANGSTROM
    cell = np.array([_row(path, line, 0) for line in vectors[1].splitlines()]) * unit
    lines = text[coordinates[0].end() :].split("\n", len(numbers))[: len(numbers)]
    positions = np.array([_row(path, line, 1) for line in lines])
    positions = positions @ cell if coordinates[0][1] == "DIRECT" else positions * unit
    return Structure(numbers, positions, cell, np.ones(3, dtype=bool))


def _row(path: Path, line: str, first: int) -> list[float]:
    parts = line.split()[first : first + 3]
    if len(parts) != 3:
        raise FormatError(path, f"expected three coordinates, got {line.strip()!r:.80}")
    return [_number(path, part) for part in parts]


def _number(path: Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise FormatError(path, f"expected a number, got {text!r:.40}") from error
    if not abs(value) < 1e10:
        raise FormatError(path, f"expected a finite number, got {text!r:.40}")
    return value


def _element(path: Path, label: str) -> int:
    found = _LABEL.match(label)
    z = number_of(found[1]) if found else None
    if z is None:
        raise FormatError(path, f"expected labels of atoms that begin with a chemical symbol, got {label!r:.40}")
    return z


def read_levels(path: Path, spins: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Read istate.info.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    spins : {1, 2}
        Whether there are columns of either spin.

    Returns
    -------
    k_points : (k, 3) array of float
        In units of the reciprocal lattice vectors.
    levels : (k, n) or (2, k, n) array of float
        eV, ascending.

    Raises
    ------
    FormatError
        If it is damaged.
    """
    text = read_text(path, "ABACUS' levels (istate.info)")
    heads = list(_BAND.finditer(text))
    if not heads:
        raise FormatError(path, "expected lines `BAND … Kpoint = 1 (x y z)`, got none")
    counted = [head[1] for head in heads]
    if len(set(counted)) != len(counted):
        raise FormatError(
            path, "expected every k-point once, got one twice; are there two spins, or levels of several steps?"
        )
    ends = [*(head.start() for head in heads[1:]), len(text)]
    points, levels = [], []
    for head, end in zip(heads, ends):
        points.append(_row(path, head[2], 0))
        rows = [line.split() for line in text[head.end() : end].splitlines() if line.strip()]
        if any(len(row) != 1 + 2 * spins for row in rows):
            raise FormatError(path, f"expected levels of k-point {head[1]} and {spins} spins, got others")
        levels.append([[_number(path, row[1 + 2 * k]) * PRINTED_EV for k in range(spins)] for row in rows])
    if len({len(own) for own in levels}) != 1 or not levels[0]:
        raise FormatError(path, "expected as many levels at every k-point, got others; is the file complete?")
    table = np.sort(np.array(levels).transpose(2, 0, 1), axis=2)
    return np.array(points), table if spins == 2 else table[0]


def read_states(path: Path, spins: int, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read eig_occ.txt, which versions since 3.11 write.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    spins : {1, 2}
        Whether there are levels of either spin.
    vectors : (3, 3) array of float
        Lattice vectors in units of the lattice constant, for k-points are Cartesian in 2π over it.

    Returns
    -------
    k_points : (k, 3) array of float
        In units of the reciprocal lattice vectors.
    levels : (k, n) or (2, k, n) array of float
        eV, ascending.

    Raises
    ------
    FormatError
        If it is damaged, or of other spins or several steps.
    """
    text = read_text(path, "ABACUS' levels (eig_occ.txt)")
    heads = list(_STATE.finditer(text))
    found: dict[tuple[int, int], tuple[list[float], list[float]]] = {}
    for head, end in zip(heads, [*(h.start() for h in heads[1:]), len(text)]):
        key = int(head[1]), int(head[2])
        if key in found:
            raise FormatError(path, f"expected k-point {key[1]} once, got it twice; are there levels of several steps?")
        rows = [line.split() for line in _STEP.split(text[head.end() : end])[0].splitlines() if line.strip()]
        if not rows or any(len(row) != 3 for row in rows):
            raise FormatError(path, f"expected levels as `n energy occupation` of k-point {key[1]}, got others")
        place = [_number(path, head[k]) for k in (4, 5, 6)]
        found[key] = place, [_number(path, row[1]) * PRINTED_EV for row in rows]
    count = int(heads[0][3]) if heads else 0
    wanted = [(spin, k) for spin in range(1, spins + 1) for k in range(1, count + 1)]
    if not wanted or count > len(heads) or sorted(found) != wanted or len({len(e) for _, e in found.values()}) > 1:
        raise FormatError(
            path, f"expected levels of {spins} spin{'s'[: spins - 1]} at every k-point, as many at each, got others"
        )
    table = np.sort(np.array([found[key][1] for key in wanted]).reshape(spins, count, -1), axis=2)
    points = np.array([found[key][0] for key in wanted[:count]]) @ vectors.T
    return points, table if spins == 2 else table[0]
