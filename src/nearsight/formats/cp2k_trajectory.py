"""Positions and cells of the steps of a CP2K run: `PROJECT-pos-1.xyz` and `PROJECT-1.cell`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.fortran_numbers import parse_number

_STEP = re.compile(r"\bi\s*=\s*(\d+)")
_ENERGY = re.compile(r"\bE\s*=\s*(-?\d+\.\d+(?:[EeDd][-+]?\d+)?)")


@dataclass(frozen=True, eq=False)
class Frame:
    """The atoms of one step.

    Attributes
    ----------
    step : int
        The step.
    symbols : tuple of str
        Elements or kinds, as the file names them.
    positions : (N, 3) array of float64
        Å.
    energy : float or None
        E_h, where the comment says it.
    """

    step: int
    symbols: tuple[str, ...]
    positions: np.ndarray
    energy: float | None


def is_trajectory(path: Path) -> bool:
    """Tell whether an xyz file is a trajectory of CP2K, by its second line, `i = STEP, …`."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = [file.readline(400), file.readline(400)]
    except OSError:
        return False
    return head[0].strip().isdigit() and re.match(r"\s*i\s*=\s*\d+", head[1]) is not None


def find_trajectory(folder: Path, named: str | None, project: str | None) -> Path | None:
    """Find the positions of a run.

    Parameters
    ----------
    folder : pathlib.Path
        Where to look.
    named : str or None
        The name in the output.
    project : str or None
        PROJECT, with which the name begins.

    Returns
    -------
    pathlib.Path or None
        None where there is no such file.

    Raises
    ------
    FormatError
        If there are several of which the name does not tell the right one.
    """
    if named is not None and (folder / Path(named).name).is_file():
        return folder / Path(named).name
    found = sorted(p for p in folder.glob("*.xyz") if is_trajectory(p))
    own = [p for p in found if project is not None and p.name.startswith(f"{project}-")]
    positions = [p for p in own or found if "-vel-" not in p.name and "-frc-" not in p.name]
    if len(positions) > 1:
        raise FormatError(
            folder, f"expected one trajectory of positions, got several: {', '.join(p.name for p in positions)}"
        )
    return positions[0] if positions else None


def frame_of(path: Path, step: int, unit: float = 1.0) -> Frame | None:
    """Read one step of a trajectory.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    step : int
        The step.
    unit : float, default 1.0
        Of the file's positions, Å.

    Returns
    -------
    Frame or None
        The last frame of this step, for a run that goes on repeats its first; None where there is none.

    Raises
    ------
    FormatError
        If a frame before it cannot be read.
    """
    found = None
    for frame_step, comment, rows in _frames(path):
        if frame_step == step:
            energy = _ENERGY.search(comment)
            symbols, positions = _atoms(path, step, rows)
            found = Frame(step, symbols, positions * unit, parse_number(energy[1]) if energy else None)
    return found


def _frames(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    with open(path, encoding="utf-8", errors="replace") as file:
        while line := file.readline():
            if not line.strip():
                continue
            comment = file.readline()
            said = _STEP.search(comment)
            if not line.strip().isdigit() or said is None:
                raise FormatError(path, f"expected frames `count`, `i = STEP, …`, atoms, got {line.strip()!r}")
            count, rows = int(line), list[str]()
            while len(rows) < count and (row := file.readline()):
                rows.append(row)
            yield int(said[1]), comment, rows if len(rows) == count else [*rows, ""]  # cut off: no line of an atom


def _atoms(path: Path, step: int, rows: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    try:
        words = [row.split() for row in rows]
        positions = np.array([[parse_number(x) for x in w[1:4]] for w in words])
        return tuple(w[0] for w in words), positions.reshape(len(rows), 3)
    except (ValueError, IndexError) as error:
        raise FormatError(path, f"expected `symbol x y z` for every atom of step {step}, got other lines") from error


def cell_of(folder: Path, project: str | None, step: int) -> np.ndarray:
    """Read the cell of one step of a run whose cell changes.

    Parameters
    ----------
    folder : pathlib.Path
        Where `PROJECT-1.cell` is.
    project : str or None
        PROJECT.
    step : int
        The step.

    Returns
    -------
    (3, 3) array of float64
        Lattice vectors as rows, Å.

    Raises
    ------
    FormatError
        If there is no such file, or no such step in it.
    """
    found = sorted(folder.glob(f"{project or '*'}-1.cell")) or sorted(folder.glob("*.cell"))
    if len(found) != 1:
        raise FormatError(
            folder,
            f"expected the cells of the steps in {project or 'PROJECT'}-1.cell (&MOTION &PRINT &CELL), for the cell "
            f"changes in this run, got {len(found) or 'no'} such files",
        )
    rows = [line.split() for line in found[0].read_text(errors="replace").splitlines() if line.strip()]
    own = [row for row in rows if row[0] == str(step)]
    try:
        return np.array([parse_number(x) for x in own[-1][2:11]]).reshape(3, 3)
    except (IndexError, ValueError) as error:
        raise FormatError(found[0], f"expected `step time ax ay az …` for step {step}, got none") from error
