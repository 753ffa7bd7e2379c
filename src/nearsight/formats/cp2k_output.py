"""CP2K's output (.out): version, convergence, total energy, Fermi level, printed eigenvalues."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.sniffing import first_bytes
from nearsight.units import HARTREE_IN_EV

_NUMBER = r"(-?\d+\.\d+(?:E[-+]?\d+)?)"
_ENERGY = re.compile(rf"ENERGY\| Total FORCE_EVAL \( QS \) energy \[?(?:a\.u\.|hartree)\]?:?\s+{_NUMBER}")
_FERMI_HARTREE = re.compile(rf"(?:E\(Fermi\):|Fermi energy:)\s+{_NUMBER}")
_FERMI_EV = re.compile(rf"Fermi Energy \[eV\]\s*:\s+{_NUMBER}")
_TABLE = re.compile(r"EIGENVALUES AND (?:MO )?OCCUPATION NUMBERS(?: FOR K POINT\s+(\d+))?")
_EIGENVALUE = re.compile(rf"^\s*(?:MO\|)?\s+(\d+)\s+{_NUMBER}\s+(?:{_NUMBER}\s+)?\d+\.\d+\s*$")
_K_POINT = re.compile(r"BRILLOUIN\|\s+(\d+)\s+\d+\.\d+\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s*$")
_K_SCHEME = re.compile(r"BRILLOUIN\|\s+K-point scheme\s+(\S.*?)\s*$")
_K_GRID = re.compile(r"BRILLOUIN\|\s+K-Point grid\s+(\d+)\s+(\d+)\s+(\d+)\s*$")
_K_GAMMA = re.compile(r"BRILLOUIN\|\s+Gamma-point calculation")
_COUNTS = {
    "version": re.compile(r"CP2K\| version string:\s+CP2K version (\S+)"),
    "spins": re.compile(r"DFT\| Number of spin states\s+(\d+)"),
    "atoms": re.compile(r"^\s+- Atoms:\s+(\d+)"),
    "orbitals": re.compile(r"Number of orbital functions:\s+(\d+)"),
    "electrons": re.compile(r"Number of electrons:\s+(\d+)"),
}


@dataclass(frozen=True, eq=False)
class Cp2kOutput:
    """The content of an output; None where it does not say. Of several steps, the last.

    Attributes
    ----------
    version : str or None
        Such as `2023.1`.
    energy, fermi : float or None
        eV.
    eigenvalues : (n,) array of float or None
        eV at Γ, ascending, as printed (occupied and maybe some empty); None where Γ is not among the k-points.
    converged : bool or None
        Whether the last SCF run converged; None where there was none.
    n_atoms, n_orbitals, n_electrons : int or None
        Sizes, to compare with the matrices.
    n_spins : int or None
        2 for an open shell.
    k_points : (k, 3) array of float or None
        In units of the reciprocal lattice vectors; None without &KPOINTS.
    k_eigenvalues : (k, n) array of float or None
        eV at each of them, as printed; None where they are not printed.
    k_scheme : str or None
        Such as `MONKHORST-PACK 2 2 2`, `GAMMA`; None without &KPOINTS.
    """

    version: str | None
    energy: float | None
    fermi: float | None
    eigenvalues: np.ndarray | None
    converged: bool | None
    n_atoms: int | None
    n_orbitals: int | None
    n_electrons: int | None
    n_spins: int | None
    k_points: np.ndarray | None = None
    k_eigenvalues: np.ndarray | None = None
    k_scheme: str | None = None


def is_output(path: str | Path) -> bool:
    """Tell whether a text file was printed by CP2K (and not, say, by the queue)."""
    try:
        with open(path, "rb") as raw:
            head = raw.read(20_000)
    except OSError:
        return False
    return b"CP2K|" in head or b"DBCSR|" in head


def read_output(path: str | Path) -> Cp2kOutput:
    """Read an output.

    Parameters
    ----------
    path : str or pathlib.Path
        The output.

    Returns
    -------
    Cp2kOutput
        What it says.

    Raises
    ------
    FormatError
        If it is not an output of CP2K, or a table of eigenvalues breaks off.
    """
    first_bytes(path, "an output of CP2K")
    if not is_output(path):
        raise FormatError(path, "expected an output of CP2K, got a file without its banner `CP2K|`")
    last: dict[str, str] = {}
    energies: dict[str, float] = {}
    converged: bool | None = None
    tables: dict[int, list[float]] = {}
    table: list[float] | None = None
    k_points: dict[int, tuple[float, ...]] = {}
    scheme: dict[str, str] = {}
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if "CP2K| version string" in line:  # CP2K appends: what an earlier run printed is not of this one
                tables, k_points, scheme, table = {}, {}, {}, None
            if title := _TABLE.search(line):
                table = tables[int(title[1] or 0)] = []
            elif table is not None and (row := _EIGENVALUE.match(line)):
                _append(path, table, int(row[1]), float(row[2]))
            if "SCF run" in line and "converged" in line:
                converged = "NOT" not in line
            if found := _K_POINT.search(line):
                k_points[int(found[1])] = tuple(float(x) for x in found.groups()[1:])
            elif "BRILLOUIN|" in line:
                _collect_scheme(line, scheme, k_points)
            _collect(line, last, energies)
    number = {key: int(text) for key, text in last.items() if key != "version"}
    at_gamma, at_k = _eigenvalues(path, tables, k_points)
    return Cp2kOutput(
        last.get("version"),
        energies.get("energy"),
        energies.get("fermi"),
        at_gamma,
        converged,
        number.get("atoms"),
        number.get("orbitals"),
        number.get("electrons"),
        number.get("spins"),
        np.array([k_points[k] for k in sorted(k_points)]) if k_points else None,
        at_k,
        " ".join(scheme[key] for key in ("name", "grid") if key in scheme) or None,
    )


def _eigenvalues(
    path: str | Path, tables: dict[int, list[float]], k_points: dict[int, tuple[float, ...]]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Those at Γ, and those at every k-point, eV."""
    if not k_points:
        found = tables.get(0) or None
        return (np.sort(np.array(found)) * HARTREE_IN_EV if found else None), None
    rows = [tables[k] for k in sorted(k_points) if tables.get(k)]
    if not rows:
        return None, None
    if len(rows) != len(k_points) or len({len(row) for row in rows}) > 1:
        raise FormatError(
            path,
            f"expected eigenvalues at each of {len(k_points)} k-points, got {len(rows)} tables of "
            f"{min(map(len, rows))} to {max(map(len, rows))}; was the output cut?",
        )
    values = np.sort(np.array(rows), axis=1) * HARTREE_IN_EV
    gamma = [n for n, k in enumerate(sorted(k_points)) if not any(k_points[k])]
    return (values[gamma[0]] if gamma else None), values


def _collect_scheme(line: str, scheme: dict[str, str], k_points: dict[int, tuple[float, ...]]) -> None:
    """What the lines before the list of k-points say."""
    if _K_GAMMA.search(line):
        scheme["name"] = "GAMMA"
        k_points[1] = (0.0, 0.0, 0.0)
    elif found := _K_SCHEME.search(line):
        scheme["name"] = found[1].upper()
    elif found := _K_GRID.search(line):
        scheme["grid"] = " ".join(found.groups())


def _append(path: str | Path, table: list[float], index: int, value: float) -> None:
    if index != len(table) + 1:
        raise FormatError(path, f"expected eigenvalue {len(table) + 1}, got {index}; was the table cut?")
    table.append(value)


def _collect(line: str, last: dict[str, str], energies: dict[str, float]) -> None:
    for key, pattern in _COUNTS.items():
        if found := pattern.search(line):
            last[key] = found[1]
    if found := _ENERGY.search(line):
        energies["energy"] = float(found[1]) * HARTREE_IN_EV
    if found := _FERMI_HARTREE.search(line):
        energies["fermi"] = float(found[1]) * HARTREE_IN_EV
    elif found := _FERMI_EV.search(line):
        energies["fermi"] = float(found[1])
