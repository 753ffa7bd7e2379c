"""The text of CP2K's input for a structure and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nearsight.elements import GHOST, symbol_of
from nearsight.errors import InputError
from nearsight.orbitals.basis import BasisSet
from nearsight.recipes.cp2k_names import checked_line
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.structures.structure import Structure

PROJECT = "job"
GHOST_KIND = "Gh"
H0_FILE = "initial.txt"

Node = Sequence[tuple[str, Any]]
"""Keywords (name, value) and sections (&NAME, node)."""


def input_text(structure: Structure, settings: Cp2kSettings, basis: BasisSet, restart: bool = False) -> str:
    """Return the input of a single-point run that ends with H, S and eigenvalues in files.

    Parameters
    ----------
    structure : Structure
        The atoms and the cell.
    settings : Cp2kSettings
        How it is computed.
    basis : BasisSet
        The basis of the structure's elements.
    restart : bool, optional
        Whether it begins from the orbitals of an earlier run in the same folder, not from atoms.

    Raises
    ------
    InputError
        Where CP2K cannot take the structure, or an element has no basis.
    """
    sections = [_scf(structure, settings, basis, restart), *_kpoints(settings), _functional(settings)]
    return _single_point(structure, settings, basis, [*sections, ("&PRINT", _print(settings))])


def h0_text(structure: Structure, settings: Cp2kSettings, basis: BasisSet) -> str:
    """Return the input of a run of one step that prints the first Kohn-Sham matrix, H₀, as text into `H0_FILE`.

    Parameters
    ----------
    structure : Structure
        The atoms and the cell.
    settings : Cp2kSettings
        How it is computed.
    basis : BasisSet
        The basis of the structure's elements.
    """
    once = settings.model_copy(update={"max_scf": 1})
    text = [("KOHN_SHAM_MATRIX", "T"), ("NDIGITS", 12), ("FILENAME", f"={H0_FILE}"), ("&EACH", [("QS_SCF", 1)])]
    sections = [_scf(structure, once, basis), _functional(once), ("&PRINT", [("&AO_MATRICES", text)])]
    return _single_point(structure, once, basis, sections)


def _single_point(structure: Structure, settings: Cp2kSettings, basis: BasisSet, sections: Node) -> str:
    """Return the input of a run at fixed positions, with sections of &DFT after its head and grids."""
    dft = [*_head(structure, settings), *_grid(settings), *sections]
    atoms = [*_atoms(structure), *_kinds(structure, settings, basis)]
    return render([_global(), ("&FORCE_EVAL", [("METHOD", "QS"), ("&DFT", dft), ("&SUBSYS", atoms)])])


def render(node: Node, depth: int = 0) -> str:
    """Return nested keywords and sections as CP2K's text.

    Parameters
    ----------
    node : sequence of (str, object)
        Names and values; a name that begins with & opens a section, whose value is again such a sequence.
    depth : int, optional
        How far the text is indented, in steps of two spaces.

    Raises
    ------
    InputError
        Where a name or a value is more than one line of its own.
    """
    lines = []
    for name, value in node:
        pad = "  " * depth
        checked_line(name.removeprefix("&"))
        if name.startswith("&"):
            section, _, _ = name.partition(" ")
            lines.append(f"{pad}{name}\n{render(value, depth + 1)}{pad}&END {section[1:]}\n")
        else:
            lines.append(f"{pad}{name} {checked_line(str(value))}\n")
    return "".join(lines)


def _global() -> tuple[str, Node]:
    return "&GLOBAL", [
        ("PROJECT", PROJECT),
        ("RUN_TYPE", "ENERGY"),
        ("PRINT_LEVEL", "MEDIUM"),
        ("EXTENDED_FFT_LENGTHS", "T"),
    ]


def _head(structure: Structure, settings: Cp2kSettings) -> Node:
    lines: list[tuple[str, Any]] = [
        ("BASIS_SET_FILE_NAME", settings.basis_file),
        ("POTENTIAL_FILE_NAME", "GTH_POTENTIALS"),
    ]
    if settings.charge:
        lines.append(("CHARGE", settings.charge))
    if settings.hubbard:
        lines.append(("PLUS_U_METHOD", "MULLIKEN"))
    if not structure.pbc.all():
        if structure.pbc.any():
            raise InputError(
                "expected a structure periodic in all directions or in none, got pbc "
                f"{structure.pbc.tolist()}; give vacuum in a cell that is periodic in all"
            )
        lines.append(("&POISSON", [("PERIODIC", "NONE"), ("POISSON_SOLVER", "MT")]))
    return lines


def _grid(settings: Cp2kSettings) -> Node:
    return [
        ("&MGRID", [("CUTOFF", settings.cutoff), ("REL_CUTOFF", settings.rel_cutoff)]),
        ("&QS", [("EPS_DEFAULT", _number(settings.eps_default))]),
    ]


def _scf(structure: Structure, settings: Cp2kSettings, basis: BasisSet, restart: bool = False) -> tuple[str, Node]:
    lines: list[tuple[str, Any]] = [
        ("SCF_GUESS", "RESTART" if restart else "ATOMIC"),
        ("EPS_SCF", _number(settings.eps_scf)),
        ("MAX_SCF", settings.max_scf),
    ]
    if settings.solver == "ot":
        return "&SCF", [
            *lines,
            ("&OT", [("MINIMIZER", "DIIS"), ("PRECONDITIONER", "FULL_SINGLE_INVERSE")]),
            ("&OUTER_SCF", [("EPS_SCF", _number(settings.eps_scf)), ("MAX_SCF", 10)]),
        ]
    lines.append(("ADDED_MOS", _empty(structure, settings, basis)))
    if settings.smearing:
        lines.append(("&SMEAR ON", [("METHOD", "FERMI_DIRAC"), ("ELECTRONIC_TEMPERATURE [K]", settings.smearing)]))
    return "&SCF", [
        *lines,
        ("&DIAGONALIZATION", [("ALGORITHM", "STANDARD")]),
        ("&MIXING", [("METHOD", "BROYDEN_MIXING"), ("ALPHA", settings.mixing), ("NBUFFER", settings.memory)]),
    ]


def _empty(structure: Structure, settings: Cp2kSettings, basis: BasisSet) -> int:
    """Return how many empty bands are computed too: never more than there are."""
    occupied = (basis.n_electrons(structure.numbers) - settings.charge + 1) // 2
    available = int(basis.offsets(structure.numbers)[-1]) - occupied
    share = 4 if settings.smearing else 10
    wanted = max(10, occupied // share) if settings.empty_bands is None else settings.empty_bands
    return max(0, min(wanted, available))


def _kpoints(settings: Cp2kSettings) -> Node:
    if not settings.images:
        return []
    scheme = "GAMMA" if settings.kpoints == (1, 1, 1) else "MONKHORST-PACK " + " ".join(map(str, settings.kpoints))
    return [("&KPOINTS", [("SCHEME", scheme), ("FULL_GRID", "T")])]


def _functional(settings: Cp2kSettings) -> tuple[str, Node]:
    return "&XC", [(f"&XC_FUNCTIONAL {settings.functional}", [])]


def _print(settings: Cp2kSettings) -> Node:
    last = [("&EACH", [("QS_SCF", 0)]), ("ADD_LAST", "NUMERIC")]
    triangle = "F" if settings.images else "T"
    matrix = [
        ("THRESHOLD", _number(settings.threshold)),
        ("UPPER_TRIANGULAR", triangle),
        ("BINARY", "T"),
        *([("REAL_SPACE", "T")] if settings.images else []),
        *last,
    ]
    return [
        ("&KS_CSR_WRITE", [("FILENAME", "ks"), *matrix]),
        ("&S_CSR_WRITE", [("FILENAME", "s"), *matrix]),
        ("&MO", [("EIGENVALUES", "T"), ("NDIGITS", 12), *last]),
    ]


def _atoms(structure: Structure) -> Node:
    rows = [
        (label_of(int(z)), " ".join(f"{x:.15g}" for x in place))
        for z, place in zip(structure.numbers, structure.positions)
    ]
    cell = structure.cell if structure.pbc.all() else _box(structure)
    vectors: list[tuple[str, Any]] = [(name, " ".join(f"{x:.15g}" for x in row)) for name, row in zip("ABC", cell)]
    periodic = [] if structure.pbc.all() else [("PERIODIC", "NONE")]
    return [("&CELL", [*vectors, *periodic]), ("&COORD", rows)]


def _box(structure: Structure) -> np.ndarray:
    """Return a cube around a molecule, twice its size and 6 Å on each side (Martyna-Tuckerman)."""

    extent = float(np.ptp(structure.positions, axis=0).max())
    return np.eye(3) * (2 * extent + 12.0)


def _kinds(structure: Structure, settings: Cp2kSettings, basis: BasisSet) -> Node:
    kinds: list[tuple[str, Any]] = []
    for z in structure.elements:
        symbol = settings.ghost_element if z == GHOST else symbol_of(z)
        lines: list[tuple[str, Any]] = [("BASIS_SET", basis_name(settings, symbol))]
        if z == GHOST:
            lines += [("ELEMENT", symbol), ("GHOST", "T")]
        else:
            lines.append(("POTENTIAL", _potential(settings, symbol, basis.valence[z])))
        if z != GHOST and symbol in settings.hubbard:
            u = settings.hubbard[symbol]
            lines.append(("&DFT_PLUS_U", [("L", u.l), ("U_MINUS_J [eV]", u.u)]))
        kinds.append((f"&KIND {label_of(z)}", lines))
    return kinds


def label_of(number: int) -> str:
    """Return the name of CP2K's kind for an element (atomic number) or a ghost (0)."""
    return GHOST_KIND if number == GHOST else symbol_of(number)


def basis_name(settings: Cp2kSettings, symbol: str) -> str:
    """Return the name of the basis of an element.

    Raises
    ------
    InputError
        Where the settings have none for it.
    """
    if isinstance(settings.basis, str):
        return settings.basis
    if symbol not in settings.basis:
        known = ", ".join(settings.basis) or "none"
        raise InputError(f"expected a basis for {symbol}, got one for {known}; add it under dft.basis")
    return settings.basis[symbol]


def _potential(settings: Cp2kSettings, symbol: str, valence: int) -> str:
    return settings.potential.get(symbol, f"GTH-{settings.functional}-q{valence}")


def _number(value: float) -> str:
    return f"{value:.6E}"
