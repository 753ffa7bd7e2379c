"""Structures that ASE reads, in a process of its own: its readers take a file at its word, for as long as that takes.

A count of atoms with a flipped bit makes some of them compute for ever or take all memory, and files that are packed
(.gz) unfold in them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.lammps_files import is_lammps, read_lammps
from nearsight.limited_process import NO_MEMORY, LimitedProcess, Limits, NoAnswerError, NoProcessError, serve

if TYPE_CHECKING:
    from ase import Atoms

LIMITS = Limits(seconds=7, seconds_per_byte=1e-5, memory=1 << 30, memory_per_byte=200)
_EXPECTED = "expected a structure (xyz, extxyz, CP2K input, .h5, or a format that ASE knows)"
_FAULT = "fault"
PROCESS = LimitedProcess(__name__)


@dataclass(frozen=True, eq=False)
class AseStructure:
    """What a file says, which need not be a structure that can be.

    Attributes
    ----------
    numbers : (N,) array of int
        Atomic numbers.
    positions, cell : (N, 3) and (3, 3) array of float
        Å.
    pbc : (3,) array of bool
        Along which cell vectors it is periodic.
    """

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


def read_with_ase(path: Path) -> AseStructure:
    """Read the structure in a file of any format that ASE knows.

    Parameters
    ----------
    path : pathlib.Path
        A regular file.

    Returns
    -------
    AseStructure
        Its atoms and cell.

    Raises
    ------
    FormatError
        If ASE does not read it or does not come to an end with it, there are several structures in it, a site is filled
        in part, or the elements of types of LAMMPS are not said.
    """
    try:
        answer = PROCESS.ask(path)
    except NoProcessError:
        answer = _answer({"path": str(path)})
    except NoAnswerError:
        raise FormatError(path, f"{_EXPECTED}, got a file with which ASE does not come to an end") from None
    if answer == NO_MEMORY:
        raise FormatError(path, f"{_EXPECTED}, got a file for which ASE needs more memory than a structure does")
    said = json.loads(answer)
    if _FAULT in said:
        raise FormatError(path, said[_FAULT])
    return AseStructure(
        np.array(said["numbers"], dtype=np.int64),
        np.array(said["positions"], dtype=np.float64).reshape(-1, 3),
        np.array(said["cell"], dtype=np.float64).reshape(3, 3),
        np.array(said["pbc"], dtype=bool),
    )


def _answer(question: dict[str, str]) -> str:
    """The structure, or what is wrong with the file, as JSON."""
    path = Path(question["path"])
    try:
        atoms = _read(path)
        _check_occupancies(path, atoms)
        said = {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.array.tolist(),
            "pbc": atoms.pbc.tolist(),
        }
        return json.dumps(said)
    except MemoryError:
        raise
    except FormatError as error:
        return json.dumps({_FAULT: str(error).removeprefix(f"{path}: ")})
    except Exception as error:  # ASE's readers raise whatever comes up
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return json.dumps({_FAULT: f"{_EXPECTED}, got a file that cannot be read as one ({text:.300})"})


def _read(path: Path) -> Atoms:
    import ase.io  # half a second, and not needed for our own files
    from ase import Atoms

    atoms = read_lammps(path) if is_lammps(path) else ase.io.read(path, do_not_split_by_at_sign=True)
    if not isinstance(atoms, Atoms):
        raise FormatError(path, "expected one structure, got several")
    return atoms


def _check_occupancies(path: Path, atoms: Any) -> None:
    """A site that is partly filled, or with two elements, is no structure: ASE fills it with the first."""
    sites = atoms.info.get("occupancy")
    shares = [share for site in sites.values() for share in site.values()] if isinstance(sites, dict) else []
    column = atoms.arrays.get("occupancy")
    if column is not None and np.any((np.asarray(column) > 0) & (np.asarray(column) < 1)):
        shares += np.asarray(column)[(np.asarray(column) > 0)].tolist()
    partial = [share for share in shares if not abs(float(share) - 1) <= 1e-6]
    if partial:
        raise FormatError(
            path,
            f"expected every site filled by one element, got {len(partial)} partial occupancies (the first is "
            f"{float(partial[0]):g}); choose which atoms are there, in a larger cell where needed",
        )


if __name__ == "__main__":
    import ase.io  # noqa: F401

    serve(_answer, LIMITS)
