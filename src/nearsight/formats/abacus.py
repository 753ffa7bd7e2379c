"""Runs of ABACUS in atomic orbitals: H(R) and S(R) in CSR, with the log that says which shells there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import file_if_there
from nearsight.formats.abacus_csr import AbacusMatrix, read_abacus_csr, write_abacus_csr
from nearsight.formats.abacus_log import PRINTED_EV, RYDBERG_IN_EV, AbacusLog, read_levels, read_log, read_states
from nearsight.formats.basis_words import asked_for, shells_of_words
from nearsight.formats.deepx import grouped, make_folder
from nearsight.formats.options import ReadOptions
from nearsight.formats.real_space_blocks import ForeignOrbitals, elements_of, from_elements, places_by_l
from nearsight.formats.structure_files import read_structure
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.symmetry import permute
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.conventions import ABACUS
from nearsight.structures.structure import Structure

LOG, LEVELS, STATES = "running_scf.log", "istate.info", "eig_occ.txt"
HAMILTONIANS = ("hrs1_nao.csr", "data-HR-sparse_SPIN0.csr")
OVERLAPS = ("srs1_nao.csr", "data-SR-sparse_SPIN0.csr")
LATER_OVERLAP = "sr_nao.csr"
"""Name of S in the newest versions, whose H is named as before."""
_SAME = 1e-4
"""Å that digits leave between files of one run."""
SECOND_SPIN = ("hrs2_nao.csr", "data-HR-sparse_SPIN1.csr")


def recognises(path: Path) -> bool:
    """Tell whether a path is the folder of a run, its OUT folder, or its H."""
    return bool(_output_folders(path))


def _output_folders(path: Path) -> list[Path]:
    """The folders in which matrices lie: that which is named, or those of its outputs."""
    if path.is_file():
        return [path.parent] if path.name in HAMILTONIANS else []
    if not path.is_dir():
        return []
    every = (*HAMILTONIANS, *OVERLAPS, LATER_OVERLAP)
    own = [path] if _first(path, every) else []
    outputs = sorted(p for p in path.glob("OUT.*") if p.is_dir())
    return own or [p for p in outputs if _first(p, every)]


def read(path: Path, options: ReadOptions) -> Calculation:
    """Read one run.

    Parameters
    ----------
    path : pathlib.Path
        The folder of the run, its folder OUT.…, or its H.
    options : ReadOptions
        `structure` where the log does not say it, `output` for the log, `overlap` for S, `basis` for the shells of each
        element, such as ``{"Si": "2s2p1d"}``, where there is no log.

    Returns
    -------
    Calculation
        H and S in real space, Fermi level, energy and levels, as far as they are there.

    Raises
    ------
    FormatError
        If a file is damaged, does not fit the others, or there is spin-orbit coupling.
    """
    folders = _output_folders(path)
    if len(folders) > 1:
        raise FormatError(path, f"expected one run, got {', '.join(f.name for f in folders)}; name the one you mean")
    folder = folders[0]
    h_file, s_file = _matrix_files(path, folder, options)
    log_file = options.output or file_if_there(folder / LOG, "ABACUS' log")
    log = None if log_file is None else read_log(log_file)
    h = None if h_file is None else read_abacus_csr(h_file, options.progress)
    down_file = _second_spin(h_file, h, log)
    down = None if down_file is None else read_abacus_csr(down_file, options.progress)
    if down is not None and down.structure is not None and down.spin != 2:
        raise FormatError(down_file, f"expected H of spin 2, got that of spin {down.spin}")
    s = None if s_file is None else read_abacus_csr(s_file, options.progress)
    _check_together(h, [(down_file, down), (s_file, s)])
    known = h if h is not None else s
    assert known is not None
    structure = _structure(folder, known, log, options)
    basis, said = _basis(folder, structure, log, options)
    k_points, levels = _levels(folder, known, 1 if down is None else 2)
    fermi = log.fermi if log is not None else None
    if fermi is None and known.fermi is not None:
        fermi = known.fermi * PRINTED_EV
    orbitals = ForeignOrbitals(structure.numbers, basis, ABACUS)
    up = _operator(h_file, h, orbitals, RYDBERG_IN_EV)
    return Calculation(
        structure,
        basis,
        up if down is None else None,
        _operator(s_file, s, orbitals, 1.0),
        fermi=fermi,
        energy=None if log is None else log.energy,
        k_points=k_points,
        k_eigenvalues=levels,
        provenance={"format": f"ABACUS, {known.layout}", "source": folder.name, "basis": said},
        hamiltonian_up=None if down is None else up,
        hamiltonian_down=None if down is None else _operator(down_file, down, orbitals, RYDBERG_IN_EV),
    )


def _levels(folder: Path, matrix: AbacusMatrix, spins: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What the version that wrote the matrix prints."""
    if matrix.structure is None or matrix.constant is None:
        printed = file_if_there(folder / LEVELS, "ABACUS' levels")
        return (None, None) if printed is None else read_levels(printed, spins)
    printed = file_if_there(folder / STATES, "ABACUS' levels")
    return (None, None) if printed is None else read_states(printed, spins, matrix.structure.cell / matrix.constant)


def _check_together(h: AbacusMatrix | None, others: list[tuple[Path | None, AbacusMatrix | None]]) -> None:
    """Refuse matrices of other atoms, another cell or step than H's."""
    for path, other in others:
        if h is None or other is None:
            continue
        if None not in (h.step, other.step) and h.step != other.step:
            raise FormatError(path, f"expected the ionic step of H, {h.step}, got {other.step}; are they of one run?")
        if h.structure is not None and other.structure is not None and not _same(h.structure, other.structure):
            raise FormatError(path, "expected the atoms and the cell of H, got others; are they of one run?")


def _same(one: Structure, other: Structure) -> bool:
    return np.array_equal(one.numbers, other.numbers) and all(
        np.allclose(a, b, rtol=0, atol=_SAME) for a, b in ((one.cell, other.cell), (one.positions, other.positions))
    )


def _second_spin(path: Path | None, h: AbacusMatrix | None, log: AbacusLog | None) -> Path | None:
    """The file with H of spin down, where what is said of spins fits."""
    if path is None or h is None:
        return None
    beside = path.with_name(SECOND_SPIN[HAMILTONIANS.index(path.name)])
    spins = 1 if file_if_there(beside, "a matrix of ABACUS") is None else 2
    told = [n for n in (None if log is None else log.spins, h.spins if h.structure is not None else None) if n]
    if h.spin != 1 or any(n != spins for n in told):
        raise FormatError(
            path,
            f"expected the first of {max(told)} spins"
            + (f" and {beside.name} beside it" if max(told) == 2 else "")
            + f", got spin {h.spin}"
            + (f" and {beside.name}" if spins == 2 else f" without {beside.name}"),
        )
    return beside if spins == 2 else None


def _matrix_files(path: Path, folder: Path, options: ReadOptions) -> tuple[Path | None, Path | None]:
    """H and S: those of one layout, for two in a folder are of two runs."""
    versions = {HAMILTONIANS[0]: (OVERLAPS[0], LATER_OVERLAP), HAMILTONIANS[1]: OVERLAPS[1:]}
    if path.is_file():
        return path, options.overlap or _only(folder, versions[path.name])
    given = options.overlap is not None
    layouts = [h for h, s in versions.items() if _first(folder, (h,) if given else (h, *s))]
    if len(layouts) > 1:
        one, two = (_first(folder, (h, *versions[h])) for h in layouts)
        raise FormatError(
            folder, f"expected matrices of one version of ABACUS, got {one} and {two}; name the H that you mean"
        )
    name = layouts[0] if layouts else HAMILTONIANS[0]
    return _first(folder, (name,)), options.overlap or _only(folder, versions[name])


def _only(folder: Path, names: tuple[str, ...]) -> Path | None:
    """S, of which versions of ABACUS have other names."""
    found = [file for name in names if (file := file_if_there(folder / name, "S of ABACUS")) is not None]
    if len(found) > 1:
        raise FormatError(
            folder,
            f"expected S of one version of ABACUS, got {found[0].name} and {found[1].name}; give the one you mean "
            "(--overlap)",
        )
    return found[0] if found else None


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    found = (file_if_there(folder / name, "a matrix of ABACUS") for name in names)
    return next((file for file in found if file is not None), None)


def _operator(
    path: Path | None, matrix: AbacusMatrix | None, orbitals: ForeignOrbitals, unit: float
) -> BlockOperator | None:
    if matrix is None:
        return None
    if matrix.size != orbitals.n_orbitals:
        raise FormatError(
            path, f"expected {orbitals.n_orbitals} orbitals of {orbitals.basis.describe()}, got {matrix.size}"
        )
    return from_elements(path, orbitals, matrix.cells, unit, folded=matrix.folded)


def _structure(folder: Path, matrix: AbacusMatrix, log: AbacusLog | None, options: ReadOptions) -> Structure:
    if options.structure is not None:
        return read_structure(options.structure, options.cell)
    found = matrix.structure if matrix.structure is not None else None if log is None else log.structure
    if found is None:
        raise FormatError(
            folder,
            "expected the structure in the log or in the matrix, got neither, or a run whose atoms move; "
            "give it (option --structure)",
        )
    if log is not None and len(log.numbers) and not np.array_equal(log.numbers, found.numbers):
        raise FormatError(folder, f"expected the atoms of {LOG}, got others in the matrix; are they of one run?")
    return found


def _basis(folder: Path, structure: Structure, log: AbacusLog | None, options: ReadOptions) -> tuple[BasisSet, str]:
    if options.basis is not None:
        return shells_of_words(options.basis), "given"
    if log is None or log.basis is None:
        raise FormatError(
            folder,
            f"expected {LOG} with the shells of each element (READING ATOM TYPE), got none; give them, such as "
            + asked_for(structure.elements),
        )
    return log.basis.restricted(structure.elements), f"of {LOG}"


def write(path: Path, calculation: Calculation) -> list[Path]:
    """Write `hrs1_nao.csr` and `srs1_nao.csr` of versions since 3.11, which `init_chg hr` starts from.

    Parameters
    ----------
    path : pathlib.Path
        The folder; made if it is not there.
    calculation : Calculation
        H or S or both, in real space.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    InputError
        If there is nothing to write, the matrices are summed at Γ, or a file cannot be written.

    Notes
    -----
    ABACUS lists shells by their l and atoms by element, so that both may be in another order. The files have no place
    for shells: `nearsight import` is told them (`--basis Si=2s2p1d`).
    """
    h, s = calculation.hamiltonian, calculation.overlap
    if h is None and s is None:
        raise InputError("expected H or S to write, got neither")
    if any(operator is not None and operator.folded for operator in (h, s)):
        raise InputError("expected H and S in real space for ABACUS, got matrices that are summed at Γ")
    order, structure = grouped(calculation.structure)
    make_folder(path)
    written = []
    for operator, name, letter, unit in ((h, HAMILTONIANS[0], "H", 1 / RYDBERG_IN_EV), (s, OVERLAPS[0], "S", 1.0)):
        if operator is not None:
            written.append(path / name)
            grouped_operator = permute(operator, order)
            cells = list(elements_of(grouped_operator, *places_by_l(ABACUS, grouped_operator), unit))
            fermi = None if calculation.fermi is None else calculation.fermi / PRINTED_EV
            write_abacus_csr(path / name, letter, structure, operator.n_orbitals, cells, fermi)
    return written
