"""What a CP2K run was: built from its output and compared with its input, field by field.

The output says what CP2K did, the input what it was asked. Where the input leaves something open (a restart, a symmetry
of the cell, moving atoms …), the output counts; where both speak of the same and differ, they are of different runs,
and nothing is read. Without an output, only an input that leaves nothing open is believed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nearsight.elements import GHOST, symbol_of
from nearsight.errors import FormatError, InputError
from nearsight.formats.basis_choice import GUESSED, joined, named_basis
from nearsight.formats.cp2k_files import KS_DOWN, Cp2kFiles
from nearsight.formats.cp2k_input import (
    METHODS,
    RESTRICTED_OPEN,
    SEVERAL,
    STATIC,
    Cp2kInput,
    parse_input,
    potential_valence,
)
from nearsight.formats.cp2k_output import Cp2kOutput, Evaluation, read_output
from nearsight.formats.cp2k_output_head import PrintedSites
from nearsight.formats.cp2k_trajectory import Frame, cell_of, find_trajectory, frame_of
from nearsight.formats.options import ReadOptions
from nearsight.formats.structure_files import check_distances, read_structure
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.gaussian_overlap import overlaps_along_z
from nearsight.orbitals.gaussian_shell import GaussianShell
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

_CHARGE = re.compile(r"-q(\d+)$", re.IGNORECASE)
_GIVEN_PLACE = 2e-3
"""Å, by which positions that the user gives may differ from those of the run."""
_SAME_ENERGY = 2e-8
"""E_h, that digits of a trajectory leave."""
_SAME_CONSTANT = 1e-8
"""Relative difference of the constants with which CP2K and we convert energies."""
_DATA_FOLDER = "/usr/share/cp2k"
"""Where Linux distributions put CP2K's basis sets."""
_OTHER_UNIT = 1.6
"""Ratio of two sizes of a structure that is more than atoms move, and less than between any two units."""
_MOVING = ("MD", "GEO_OPT", "CELL_OPT")
"""Run types whose steps can be told apart."""
_ALIASES = {
    "ENERGY_FORCE": "ENERGY",
    "WAVEFUNCTION_OPTIMIZATION": "ENERGY",
    "WFN_OPT": "ENERGY",
    "GEOMETRY_OPTIMIZATION": "GEO_OPT",
    "MOLECULAR_DYNAMICS": "MD",
    "LINEAR_RESPONSE": "LR",
}


class Part(NamedTuple):
    """The functions of one element."""

    name: str
    shells: tuple[int, ...]
    valence: int | None
    element: int
    """Whose functions these are: of a ghost too."""


Parts = dict[int, Part]
"""By atomic number; 0 for ghosts."""


@dataclass(frozen=True, eq=False)
class CP2KRun:
    """One electronic structure of a run.

    Attributes
    ----------
    structure : Structure
        Atoms and cell of the step, Å.
    basis : BasisSet or None
        None where neither output, input nor user says it: then it may be guessed by the number of orbitals.
    basis_said : str
        Its name for the provenance, and where it is from.
    charge : float
        Total charge, e: the valence of all atoms less the electrons.
    multiplicity : int or None
        2S + 1; None where neither output nor input says it.
    step : int or None
        The step; None where atoms do not move.
    run_type, method, project, version : str or None
        As CP2K names them.
    potentials : dict of str to str
        Kind → potential.
    settings : dict of str to str
        Of the input.
    output : Cp2kOutput or None
        What was printed, with the energy and the levels of this step.
    notes : dict of str to str
        For the provenance: where the cell or the positions are from, if not from the input.
    """

    structure: Structure
    basis: BasisSet | None
    basis_said: str
    charge: float
    multiplicity: int | None
    step: int | None
    run_type: str | None
    method: str | None
    project: str | None
    version: str | None
    potentials: dict[str, str]
    settings: dict[str, str]
    output: Cp2kOutput | None
    notes: dict[str, str]


def describe_run(files: Cp2kFiles, options: ReadOptions) -> CP2KRun:
    """Build the description of a run from its files.

    Parameters
    ----------
    files : Cp2kFiles
        Its files.
    options : ReadOptions
        What the user says of it.

    Returns
    -------
    CP2KRun
        The run, at the step of the matrices.

    Raises
    ------
    FormatError
        If it is no closed-shell Kohn-Sham run, its output and input contradict each other, or an input alone leaves
        open what it was.
    """
    given, output = files.given, files.printed
    _check_kind_of_run(files, given, output)
    moving = output is not None and _alias(output.run_type) in _MOVING
    frame: Frame | None = None
    step = None
    if output is not None and moving:
        step = files.step
        output, frame = _at_step(files, given, output)
    if given is not None and output is not None:
        _compare(files, given, output)
    notes: dict[str, str] = {}
    structure = _structure(files, given, output, frame, options, notes)
    parts = _parts(files, given, output, structure, options)
    basis, said = _basis(files, parts, given, output, structure, options)
    charge = _charge(files, given, output, structure, basis)
    return CP2KRun(
        structure,
        basis,
        said,
        charge,
        (output.multiplicity if output else None) or (given.multiplicity if given else None),
        step,
        (output.run_type if output else None) or (given.run_type if given else None),
        (output.method if output else None) or (given.method if given else None),
        (output.project if output else None) or (given.project if given else None),
        output.version if output else None,
        _potentials(given, output),
        given.settings if given else {},
        output,
        notes,
    )


def _alias(run_type: str | None) -> str | None:
    return None if run_type is None else _ALIASES.get(run_type.upper(), run_type.upper())


def _check_spins(files: Cp2kFiles, given: Cp2kInput | None, output: Cp2kOutput | None) -> None:
    """As many matrices as spins, where output or input say how many there are."""
    asked = given.open_shell if given is not None else None
    restricted = output.restricted_open if output is not None else asked in RESTRICTED_OPEN
    path = files.output or files.input or files.folder
    if restricted:
        raise FormatError(path, "expected a closed shell or both spins (UKS), got a restricted open shell (ROKS)")
    told = output.n_spins if output is not None else None
    if told is None and given is not None:
        told = 2 if asked else 1
    held = 2 if files.second is not None or files.images.get(KS_DOWN) else 1
    if told is not None and told != held:
        raise FormatError(
            path,
            f"expected matrices of {told} spin{'s' if told > 1 else ''} as {path.name} says, got "
            + ("no KS_SPIN_2" if held == 1 else "KS_SPIN_2" if files.second is None else files.second.name),
        )


def _check_kind_of_run(files: Cp2kFiles, given: Cp2kInput | None, output: Cp2kOutput | None) -> None:
    """Spins, method and run type that are read; without an output, an input that settles everything."""
    path = files.output or files.input
    _check_spins(files, given, output)
    environments = max(output.n_environments if output else 1, len(given.root.all("FORCE_EVAL")) if given else 1)
    if environments > 1:
        raise FormatError(
            path,
            f"expected a run with one &FORCE_EVAL, got one with {environments}: nothing says whose the matrices are; "
            "run the one that counts by itself",
        )
    methods = {files.output: output.method if output else None, files.input: given.method if given else None}
    for where, method in methods.items():
        if method is not None and method.upper() not in METHODS:
            raise FormatError(
                where, f"expected a Kohn-Sham run of Quickstep (METHOD {', '.join(METHODS)}), got METHOD {method}"
            )
    if output is not None and output.kinds and not any(kind.basis for kind in output.kinds):
        raise FormatError(
            path,
            "expected a run with Gaussian orbitals (METHOD GPW or GAPW), got an output whose kinds of atoms have no "
            "orbital basis, as of tight binding (DFTB, xTB) and semi-empirical methods",
        )
    if output is not None and output.kinds and not any(methods.values()):
        raise FormatError(
            path,
            "expected an output that says its METHOD (`QS| Method:`, which tight binding does not print), got one "
            "without; give the input (--input)",
        )
    run_type = _alias((output.run_type if output else None) or (given.run_type if given else None))
    if run_type is not None and run_type not in (*STATIC, *_MOVING):
        raise FormatError(path, f"expected RUN_TYPE ENERGY, {', '.join(_MOVING)}, got {run_type}, which is not read")
    if output is None and given is not None and given.leaves_open:
        raise FormatError(
            files.input,
            f"expected an input that settles atoms and cell, got one with {', '.join(given.leaves_open)}; give the "
            "output of the run (--output-file)",
        )


def _at_step(files: Cp2kFiles, given: Cp2kInput | None, output: Cp2kOutput) -> tuple[Cp2kOutput, Frame | None]:
    """The output with energy and levels of the matrices' step, and the positions of this step."""
    path = files.output or files.folder
    if files.step is None:
        raise FormatError(
            files.folder,
            f"expected matrices named by their step (…-1_<step>.csr) of a run of type {output.run_type}, got one "
            "whose name does not say it (FILENAME =…, COMMON_ITERATION_LEVELS, ADD_LAST SYMBOLIC); run its positions "
            "again with RUN_TYPE ENERGY",
        )
    trajectory = find_trajectory(files.folder, output.trajectory, output.project) or (
        find_trajectory(Path(path).parent, output.trajectory, output.project)
    )
    unit = given.trajectory_unit if given is not None else 1.0
    frame = frame_of(trajectory, files.step, unit) if trajectory is not None else None
    places = [k for k, e in enumerate(output.evaluations) if e.step == files.step]
    if not places:
        known = sorted({e.step for e in output.evaluations if e.step is not None})
        raise FormatError(path, f"expected step {files.step} in the output, got steps {known}: is it of this run?")
    chosen = output.evaluations[places[-1]]  # the others of a line search are overwritten
    if frame is not None and frame.energy is not None and not _is_energy(chosen, frame.energy):
        raise FormatError(
            trajectory,
            f"expected the energy of the matrices of step {files.step}, {(chosen.energy or 0.0) / HARTREE_IN_EV:.10f} "
            f"E_h in {Path(path).name}, got {frame.energy:.10f} E_h: "
            + (
                "the matrices are those of the last try of a line search, whose positions are not written; take "
                "another step, or run its positions again"
                if any(_is_energy(output.evaluations[k], frame.energy) for k in places)
                else "are they of two runs, or does the optimiser write positions and matrices under different steps?"
            ),
        )
    if (frame is None or frame.energy is None) and len(places) > 1:
        raise FormatError(
            path,
            f"expected one electronic structure of step {files.step}, got {len(places)} (a line search) and no "
            f"trajectory with positions and energies; give {output.project}-pos-1.xyz beside the matrices",
        )
    first = places[-1] == 0  # of the positions that the run began with
    if frame is None and not first:
        raise FormatError(
            files.folder,
            f"expected the positions of step {files.step} in a trajectory ({output.project}-pos-1.xyz), got "
            f"{'none' if trajectory is None else f'no such step in {trajectory.name}'}; copy it there",
        )
    return read_output(path, places[-1]), None if first else frame


def _is_energy(evaluation: Evaluation, energy: float) -> bool:
    if evaluation.energy is None:
        return False
    allowed = _SAME_ENERGY if evaluation.in_atomic_units else _SAME_ENERGY + _SAME_CONSTANT * abs(energy)
    return abs(evaluation.energy / HARTREE_IN_EV - energy) < allowed


def _compare(files: Cp2kFiles, given: Cp2kInput, output: Cp2kOutput) -> None:
    """Everything that both say besides atoms and cell."""
    known = {"ENERGY", *_MOVING}
    asked, done = _alias(given.run_type), _alias(output.run_type)
    _agree(files, "PROJECT", given.project, output.project)
    _agree(files, "RUN_TYPE", asked if asked in known else None, done if done in known else None)
    _agree(files, "METHOD", given.method, output.method)
    _agree(files, "CHARGE", str(given.charge), None if output.charge is None else str(output.charge))
    for kind in output.kinds:
        basis, potential = given.names_of(kind.label)
        for what, ours, theirs in (("BASIS_SET", basis, kind.basis), ("POTENTIAL", potential, kind.potential)):
            if ours is not None and theirs is not None and SEVERAL not in ours:
                plain = [_CHARGE.sub("", name).upper() for name in (ours, theirs)]
                _agree(files, f"{what} of the kind {kind.label}", *plain)


def _agree(files: Cp2kFiles, what: str, asked: str | None, done: str | None) -> None:
    if asked is None or done is None or asked.upper() == done.upper():
        return
    raise _contradiction(files, what, asked, done)


def _contradiction(files: Cp2kFiles, what: str, asked: str, done: str) -> FormatError:
    return FormatError(
        files.output,
        f"expected the output of {Path(files.input or files.structure or '').name}, which has {what} {asked}, got "
        f"{what} {done}: they are of different runs; give the files of one (--input, --output-file, --structure)",
    )


def _structure(
    files: Cp2kFiles,
    given: Cp2kInput | None,
    output: Cp2kOutput | None,
    frame: Frame | None,
    options: ReadOptions,
    notes: dict[str, str],
) -> Structure:
    if files.structure is not None:
        structure = read_structure(files.structure, options.cell, isolated=options.isolated)
        if output is not None:
            _check_given(files, structure, output, frame)
        return structure
    written = _written(given, output)
    numbers, positions, kept = _atoms(files, given, written, output, notes)
    cell, pbc = _cell(files, given, written, output, notes)
    if frame is not None and output is not None:
        positions = _frame_positions(files, output, frame, numbers)
        if output.moving_cell:
            cell = cell_of(files.folder, output.project, frame.step)
    elif not kept:
        positions = _finer(files, given, output, positions, cell, pbc)
    structure = Structure(numbers, positions, cell, pbc)
    if options.isolated:
        structure = Structure(numbers, positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
    elif options.cell is not None:
        if output is not None and output.cell is not None and not np.allclose(options.cell, cell, atol=2e-3):
            raise FormatError(
                files.output, f"expected the cell of the run, {_rows(cell)} Å, got --cell {_rows(options.cell)} Å"
            )
        structure = Structure(numbers, positions, options.cell, pbc if pbc.any() else np.ones(3, dtype=bool))
    try:
        check_distances(structure)
    except InputError as error:
        raise FormatError(files.input or files.output, str(error)) from error
    return structure


def _written(given: Cp2kInput | None, output: Cp2kOutput | None) -> Structure | None:
    """The structure of the input; None where it has none that can be read and the output does."""
    if given is None:
        return None
    try:
        return given.structure
    except InputError as error:
        if output is not None and output.sites is not None and output.cell is not None:
            return None
        if isinstance(error, FormatError):
            raise
        raise FormatError(given.path, str(error)) from error


def _atoms(
    files: Cp2kFiles,
    given: Cp2kInput | None,
    written: Structure | None,
    output: Cp2kOutput | None,
    notes: dict[str, str],
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Numbers, positions, and whether these have all their digits."""
    sites = output.sites if output is not None else None
    if output is None or sites is None:
        if written is None or given is None:
            raise FormatError(files.folder, "expected atoms in CP2K's output or input, got none")
        open_reasons = _still_open(given, output)
        if output is not None and open_reasons:
            raise FormatError(
                files.output,
                f"expected the table of atomic coordinates, for the input has {', '.join(open_reasons)}, got an "
                "output without; print more (PRINT_LEVEL MEDIUM), or give the structure (--structure)",
            )
        if given.centred:
            notes["positions"] = "of the input, before CP2K moved all together to the middle of the cell"
        return written.numbers, written.positions, True
    numbers = sites.numbers(output.kinds)
    open_ = bool(given and (given.leaves_open or given.centred)) or written is None
    if written is not None and len(written) == len(numbers) and np.array_equal(written.numbers, numbers):
        if _apart(written.positions, sites.positions, written.cell, written.pbc) < sites.rounding:
            return numbers, written.positions, True
        if given is not None and given.centred:
            shift = (sites.positions - written.positions).mean(axis=0)
            if _apart(written.positions + shift, sites.positions, written.cell, written.pbc) < sites.rounding:
                notes["positions"] = "of the input, centred by CP2K"
                return numbers, written.positions + shift, True
    if not open_ and written is not None:
        if not np.array_equal(written.numbers, numbers):
            formula = Structure(numbers, sites.positions, np.zeros((3, 3)), np.zeros(3, dtype=bool)).formula
            if len(written) != len(numbers):
                raise FormatError(
                    files.output,
                    f"expected an output of {len(written)} atoms, got one of {len(numbers)}; "
                    f"is {Path(files.input or '').name} of another run?",
                )
            raise _contradiction(files, "atoms", written.formula, f"{formula} or another order")
        away = np.abs(written.positions - sites.positions).max(axis=1)
        atom = int(np.argmax(away))
        raise _contradiction(
            files, f"positions (atom {atom})", _rows(written.positions[atom]), _rows(sites.positions[atom])
        )
    notes["positions"] = "of the output"
    return numbers, sites.positions, False


def _still_open(given: Cp2kInput, output: Cp2kOutput | None) -> tuple[str, ...]:
    """What the input leaves open: not atoms that move, whose first positions it has, and the trajectory the others."""
    moving = {f"RUN_TYPE {given.run_type}"} if output is not None and _alias(given.run_type) in _MOVING else set()
    return tuple(reason for reason in given.leaves_open if reason not in moving)


def _apart(a: np.ndarray, b: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> float:
    """Å, largest difference of a coordinate, modulo the lattice."""
    difference = b - a
    if pbc.any():
        inverse = np.linalg.pinv(cell[pbc])
        difference = difference - np.round(difference @ inverse) @ cell[pbc]
    return float(np.abs(difference).max())


def _finer(
    files: Cp2kFiles,
    given: Cp2kInput | None,
    output: Cp2kOutput | None,
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
) -> np.ndarray:
    """Positions of the output with the digits of the restart file that CP2K began with, where it is at hand."""
    restart = given.restart_file if given is not None else None
    if restart is None:
        return positions
    try:
        finer = parse_input(restart).positions
    except InputError:
        return positions
    rounding = output.sites.rounding if output is not None and output.sites is not None else PrintedSites.rounding
    same = finer.shape == positions.shape and _apart(finer, positions, cell, pbc) < rounding
    return finer if same else positions


def _cell(
    files: Cp2kFiles,
    given: Cp2kInput | None,
    written: Structure | None,
    output: Cp2kOutput | None,
    notes: dict[str, str],
) -> tuple[np.ndarray, np.ndarray]:
    printed = output.cell if output is not None else None
    if printed is None:
        if written is None:
            raise FormatError(files.folder, "expected a cell in CP2K's output or input, got none")
        return written.cell, written.pbc
    if written is not None and printed.agrees(written.cell) and np.array_equal(printed.pbc, written.pbc):
        return written.cell, printed.pbc
    if written is not None and given is not None and not given.leaves_open:
        if not np.array_equal(printed.pbc, written.pbc):
            raise _contradiction(files, "PERIODIC", str(written.pbc.tolist()), str(printed.pbc.tolist()))
        raise _contradiction(files, "the cell (Å)", _rows(written.cell), _rows(printed.vectors))
    exact = printed.cell is not printed.vectors
    notes["cell"] = (
        "of the output"
        + ("" if exact else f", to {printed.rounding:.1g} Å")
        + (f", for the input has {', '.join(given.leaves_open)}" if given else "")
    )
    return printed.cell, printed.pbc


def _rows(numbers: np.ndarray) -> str:
    return " ".join(f"{x:.6g}" for x in np.asarray(numbers).reshape(-1))


def _frame_positions(files: Cp2kFiles, output: Cp2kOutput, frame: Frame, numbers: np.ndarray) -> np.ndarray:
    if len(frame.positions) != len(numbers):
        raise FormatError(
            files.folder,
            f"expected {len(numbers)} atoms in step {frame.step} of the trajectory, got {len(frame.positions)}",
        )
    if output.sites is not None:
        sizes = [float(np.sqrt(np.var(x, axis=0).sum())) for x in (frame.positions, output.sites.positions)]
        if sizes[0] > _OTHER_UNIT * sizes[1] or sizes[1] > _OTHER_UNIT * sizes[0]:
            raise FormatError(
                files.folder,
                f"expected positions of step {frame.step} that are as far apart as those in the output, "
                f"{sizes[1]:.4g} Å from their middle, got {sizes[0]:.4g} Å; is the trajectory in another unit "
                "(&TRAJECTORY UNIT)? Give the input (--input)",
            )
    return frame.positions


def _check_given(files: Cp2kFiles, structure: Structure, output: Cp2kOutput, frame: Frame | None) -> None:
    """A structure that the user gives, against the run's."""
    if output.n_atoms not in (None, len(structure)):
        raise FormatError(
            files.output,
            f"expected an output of {len(structure)} atoms, got one of {output.n_atoms}; "
            f"is {Path(files.structure or '').name} of another run?",
        )
    sites = output.sites
    if sites is None:
        return
    numbers = sites.numbers(output.kinds)
    if not np.array_equal(numbers, structure.numbers):
        raise _contradiction(files, "atoms", structure.formula, "others, or in another order")
    printed = output.cell
    compared = printed is not None and structure.pbc.any() and frame is None
    if (
        printed is not None
        and compared
        and np.abs(printed.vectors - structure.cell).max() > printed.rounding + _GIVEN_PLACE
    ):
        raise _contradiction(files, "the cell (Å)", _rows(structure.cell), _rows(printed.vectors))
    positions = sites.positions if frame is None else frame.positions
    away = structure.positions - positions
    common = away.mean(axis=0)
    shifts = (np.zeros(3), common)
    if all(
        _apart(positions + shift, structure.positions, structure.cell, structure.pbc) > _GIVEN_PLACE for shift in shifts
    ):
        atom = int(np.argmax(np.abs(away - common).max(axis=1)))
        raise _contradiction(
            files, f"positions (atom {atom})", _rows(structure.positions[atom]), _rows(positions[atom])
        )


def _parts(
    files: Cp2kFiles, given: Cp2kInput | None, output: Cp2kOutput | None, structure: Structure, options: ReadOptions
) -> Parts | None:
    """Basis and valence of each element, of the output, else of the input; None where neither says."""
    if output is not None and output.sites is not None and output.kinds and all(k.shells for k in output.kinds):
        return _printed_parts(files, given, output)
    if given is None or files.input is None or options.basis is not None:
        return None
    nameless = [label for label, kind in given.kinds.items() if kind.basis is None or SEVERAL in kind.basis]
    if nameless:
        raise FormatError(
            files.input,
            f"expected one orbital BASIS_SET for the kind {nameless[0]}, got "
            f"{'several' if given.kind(nameless[0]).basis else 'none'}; give an output of the run that prints the "
            "kinds of atoms (PRINT_LEVEL MEDIUM, --output-file), or say the basis (--basis)",
        )
    parts: Parts = {}
    for label, kind in given.kinds.items():
        source = _kind_basis(given, options.basis_file, str(kind.basis), kind.element)
        shells = source.shells[kind.element]
        valence = kind.valence if kind.valence is not None else source.valence.get(kind.element)
        part = Part(_CHARGE.sub("", str(kind.basis)), shells, valence, kind.element)
        _add(files.input, parts, label, kind.number, part)
    return parts


def _printed_parts(files: Cp2kFiles, given: Cp2kInput | None, output: Cp2kOutput) -> Parts:
    parts: Parts = {}
    assert output.sites is not None
    for k, kind in enumerate(output.kinds):
        atoms = np.flatnonzero(output.sites.kinds == k)
        if not len(atoms):
            continue
        element = int(output.sites.elements[atoms[0]])
        number = GHOST if kind.ghost else element
        charge = float(output.sites.charges[atoms[0]])
        named = potential_valence(kind.potential, element)
        valence = 0 if kind.ghost else round(charge) if abs(charge - round(charge)) < 1e-6 else named
        asked = given.names_of(kind.label)[0] if given is not None else None
        name = asked if asked and SEVERAL in asked else str(kind.basis)  # of several, CP2K prints the first
        part = Part(_CHARGE.sub("", name), kind.shells, valence, element)
        _add(files.output, parts, kind.label, number, part)
    return parts


def _add(path: Path | None, parts: Parts, label: str, number: int, part: Part) -> None:
    first = parts.setdefault(number, part)
    if (first.name.upper(), *first[1:]) != (part.name.upper(), *part[1:]):
        raise FormatError(
            path,
            f"expected one basis and potential for {symbol_of(number)}, got {_described(first)} and, for the kind "
            f"{label}, {_described(part)}; all atoms of an element must have the same functions (kinds that differ in "
            "anything else may have any names)",
        )


def _described(part: Part) -> str:
    valence = "" if part.valence is None else f" with {part.valence} electrons"
    return f"{part.name} of {symbol_of(part.element)}{valence}"


def _kind_basis(given: Cp2kInput, told: tuple[Path, ...], name: str, number: int) -> BasisSet:
    """From the files that the user gives, else shipped, else the input's own file: beside it, or in CP2K's folder."""
    path = given.path
    tries: list[tuple[str, Path | None]] = [(name, file) for file in told]
    tries += [(_CHARGE.sub("", name), None), *((name, file) for file in _own_files(given))]
    cause: InputError | None = None
    for candidate, file in tries:
        try:
            return named_basis(candidate, file, (number,))
        except FormatError:
            raise
        except InputError as error:
            cause = error
    raise FormatError(
        path,
        f"expected to find the basis {name} of {symbol_of(number)}, got: {cause}; "
        f"give CP2K's basis file (--basis-file, as often as there are files) or set CP2K_DATA_DIR, here "
        f"{', '.join(given.basis_files) or 'unknown'}",
    )


def _basis(
    files: Cp2kFiles,
    parts: Parts | None,
    given: Cp2kInput | None,
    output: Cp2kOutput | None,
    structure: Structure,
    options: ReadOptions,
) -> tuple[BasisSet | None, str]:
    if options.basis is not None:
        basis = named_basis(options.basis, options.basis_file, structure.elements)
        if parts is not None:
            run = _joined(parts)
            for z in structure.elements:
                if z in parts and basis.shells[z] != parts[z].shells:
                    raise FormatError(
                        files.output or files.input,
                        f"expected the basis of the run, {run.name} ({run.describe()}), got --basis {basis.name} "
                        f"({basis.describe()})",
                    )
            valence = {z: part.valence for z, part in parts.items() if part.valence is not None}
            basis = replace(basis, valence={**basis.valence, **valence})
        return basis.with_functions(_functions(given, output, options, basis)), basis.name
    if parts is not None:
        basis = _joined(parts)
        basis.check(structure.numbers)
        return basis.with_functions(_functions(given, output, options, basis)), basis.name
    if given is not None:
        raise FormatError(files.input, "expected the basis in the input or the output, got none; say it (--basis)")
    return None, GUESSED


def _own_files(given: Cp2kInput) -> list[Path]:
    """The basis files that an input names: beside it, or in CP2K's folder."""
    folders = [given.path.parent, Path(os.environ.get("CP2K_DATA_DIR") or _DATA_FOLDER)]
    return [folder / file for file in given.basis_files for folder in folders if (folder / file).is_file()]


SAME_FUNCTIONS = 1e-5
"""Overlaps of printed functions, which have six digits, with those of a file of the same basis differ from 1 by no
more."""


def _functions(
    given: Cp2kInput | None, output: Cp2kOutput | None, options: ReadOptions, basis: BasisSet
) -> dict[int, tuple[GaussianShell, ...]]:
    """Radial functions of the elements: of the run's basis files, which have all digits, else as printed."""
    result: dict[int, tuple[GaussianShell, ...]] = {}
    if output is not None and output.sites is not None:
        for z, k in zip(output.sites.numbers(output.kinds).tolist(), output.sites.kinds.tolist()):
            printed = output.kinds[k].gaussians if k < len(output.kinds) else ()
            if printed and tuple(shell.l for shell in printed) == basis.shells.get(z):
                result[z] = printed
    if given is None:
        return result
    files_of_basis = [*options.basis_file, *_own_files(given)]
    for number, element, name in _named_functions(given, output):
        if number not in basis.shells or name is None or SEVERAL in name:
            continue
        for file in files_of_basis:
            with suppress(InputError):  # what one file lacks, another one or the output says
                found = named_basis(name, file, (element,)).functions[element]
                if _same(found, result.get(number), basis.shells[number]):
                    result[number] = found
                    break
    return result


def _named_functions(given: Cp2kInput, output: Cp2kOutput | None) -> list[tuple[int, int, str | None]]:
    """Atomic number (0 for ghosts), element and name of the basis of each kind, which the output knows where it can."""
    if output is None or output.sites is None or not output.kinds:
        return [(kind.number, kind.element, kind.basis) for kind in given.kinds.values()]
    sites = output.sites
    first = {int(k): atom for atom, k in reversed(list(enumerate(sites.kinds.tolist()))) if k < len(output.kinds)}
    numbers = sites.numbers(output.kinds)
    return [
        (int(numbers[atom]), int(sites.elements[atom]), given.names_of(output.kinds[k].label)[0])
        for k, atom in sorted(first.items())
    ]


def _same(found: Sequence[GaussianShell], printed: Sequence[GaussianShell] | None, shells: tuple[int, ...]) -> bool:
    """Whether functions of a file are those of the run, as far as it prints them."""
    if tuple(shell.l for shell in found) != shells:
        return False
    if printed is None:
        return True
    diagonal = np.diagonal(overlaps_along_z(found, printed, np.zeros(1))[0])
    return bool((np.abs(diagonal - 1) < SAME_FUNCTIONS).all())


def _joined(parts: Parts) -> BasisSet:
    return joined({z: part[:3] for z, part in parts.items()})


def _charge(
    files: Cp2kFiles, given: Cp2kInput | None, output: Cp2kOutput | None, structure: Structure, basis: BasisSet | None
) -> float:
    """Valence of all atoms less the electrons; what output and input call the charge must be the same."""
    said = output.charge if output is not None and output.charge is not None else given.charge if given else 0
    counted = output.n_electrons if output is not None else None
    if counted is None or basis is None or any(z not in basis.valence for z in structure.elements):
        return float(said)
    charge = basis.n_electrons(structure.numbers) - counted
    if charge != said:
        raise FormatError(
            files.output,
            f"expected {basis.n_electrons(structure.numbers) - said} electrons of the potentials' valence and the "
            f"charge {said}, got {counted} in the output; are valences or cores changed (CORE_CORRECTION)?",
        )
    return float(charge)


def _potentials(given: Cp2kInput | None, output: Cp2kOutput | None) -> dict[str, str]:
    if output is not None and output.kinds:
        return {kind.label: kind.potential for kind in output.kinds if kind.potential}
    return _named(given) if given is not None else {}


def _named(given: Cp2kInput) -> dict[str, str]:
    kinds: Mapping[str, object] = given.kinds
    return {label: str(given.kinds[label].potential) for label in kinds if given.kinds[label].potential}
