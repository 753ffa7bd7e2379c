"""The formats that can be read. A new one is one file with `recognises` and `read`, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nearsight.errors import FormatError, InputError
from nearsight.foreign_files import reading, require_readable
from nearsight.formats import (
    abacus,
    amorphous_hamiltonians,
    cp2k,
    deeph_legacy,
    deepx,
    dftio,
    fhi_aims,
    hamiltonian_npz,
    molden,
    pyscf_checkpoint,
    qh9,
    schnorb,
    siesta,
    wannier90,
)
from nearsight.formats.options import ReadOptions, SeenOptions
from nearsight.formats.sniffing import first_bytes
from nearsight.formats.structure_files import as_cell, check_distances
from nearsight.operators.calculation import Calculation
from nearsight.operators.invariants import check_calculation_values, check_reverses
from nearsight.operators.store import is_store, read_calculation


@dataclass(frozen=True)
class Format:
    """One kind of source.

    Attributes
    ----------
    name : str
        For messages.
    recognises : callable
        Tells whether a path looks like it, by names and first bytes only.
    read : callable
        Reads the calculation.
    """

    name: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions], Calculation]


FORMATS: tuple[Format, ...] = (
    Format("a store of nearsight (.h5)", is_store, lambda path, _: read_calculation(path)),
    Format(
        "an Amorphous-Hamiltonians folder (structure.xyz, H.csr, S.csr)",
        amorphous_hamiltonians.recognises,
        amorphous_hamiltonians.read,
    ),
    Format("a run of ABACUS (hrs1_nao.csr or data-HR-sparse_SPIN0.csr)", abacus.recognises, abacus.read),
    Format("a run of SIESTA (.HSX or .TSHS)", siesta.recognises, siesta.read),
    Format(
        "a run of FHI-aims (rs_indices.out, rs_hamiltonian.out, rs_overlap.out)", fhi_aims.recognises, fhi_aims.read
    ),
    Format("a CP2K run (*-KS_SPIN_1-1_0.csr with input or output)", cp2k.recognises, cp2k.read),
    Format("a folder of DeepH (POSCAR, info.json, hamiltonian.h5, overlap.h5)", deepx.recognises, deepx.read),
    Format(
        "a folder of DeepH's first layout (lat.dat, hamiltonians.h5, overlaps.h5)",
        deeph_legacy.recognises,
        deeph_legacy.read,
    ),
    Format("a folder of dftio (positions.dat, basis.dat, hamiltonians.h5)", dftio.recognises, dftio.read),
    Format(
        "Wannier90's H(R) (SEEDNAME_tb.dat or SEEDNAME_hr.dat with SEEDNAME.win)", wannier90.recognises, wannier90.read
    ),
    Format("a checkpoint of PySCF (.chk)", pyscf_checkpoint.recognises, pyscf_checkpoint.read),
    Format("a Molden file of a molecule (.molden)", molden.recognises, molden.read),
    Format("a NumPy archive (.npz) with structure, H and S", hamiltonian_npz.recognises, hamiltonian_npz.read),
    Format("a database of molecules as of SchNOrb and PhiSNet (.db)", schnorb.recognises, schnorb.read),
    Format("a database of molecules of QH9 (.db)", qh9.recognises, qh9.read),
)


def read_any(source: str | Path, **options: Any) -> Calculation:
    """Read the calculation in a file or a folder of any known format.

    Parameters
    ----------
    source : str or pathlib.Path
        What to read.
    **options
        Fields of `ReadOptions`: basis, basis_file (one path or several), cell, isolated, structure, output, input,
        overlap, step, row, progress.

    Returns
    -------
    Calculation
        In internal units (Å, eV).

    Raises
    ------
    FormatError
        If there is nothing, its format is not known, or it is damaged.
    InputError
        If an option is not valid, or the format does not use it.
    """
    path = Path(source)
    require_readable(path, "a calculation")
    if options.get("cell") is not None:
        options["cell"] = as_cell(options["cell"])
    for key in ("structure", "output", "input", "overlap"):
        if options.get(key) is not None:
            options[key] = Path(options[key])
    files = options.pop("basis_file", None)
    several = () if files is None else (files,) if isinstance(files, str | Path) else files
    chosen = SeenOptions(**options, basis_file=tuple(Path(file) for file in several))
    with reading(path, "a calculation"):
        known = find_format(path)
        found = known.read(path, chosen)
        check_calculation_values(found)
        check_reverses(found)
        check_distances(found.structure)
    if unused := chosen.not_seen():
        raise InputError(
            f"{path}: expected additions that {known.name} needs, got {', '.join(unused)}, which it does not use; "
            "leave that out"
        )
    return found


def _refuse_by_name(path: Path) -> None:
    """Files that are known and not read, with the way out."""
    if path.suffix == ".mdb" or (path.is_dir() and (path / "data.mdb").is_file()):
        raise FormatError(
            path,
            "expected a format that holds numbers, got an LMDB, whose entries are pickled Python objects; they could "
            "run any code and are not read. With dftio, write the format dat (dftio parse … -f dat)",
        )
    if path.suffix == ".scfout":
        raise FormatError(
            path,
            "expected a format that nearsight reads, got OpenMX' .scfout; convert it to DeepH's folder first "
            "(pip install deepx-dock; dock convert openmx to-deeph IN OUT)",
        )


def find_format(path: Path) -> Format:
    """Find the first format that recognises a path.

    Parameters
    ----------
    path : pathlib.Path
        A file or folder.

    Returns
    -------
    Format
        Its format.

    Raises
    ------
    FormatError
        If none does; the message says what the file is, where that can be told.
    """
    for known in FORMATS:
        if known.recognises(path):
            return known
    _refuse_by_name(path)
    short = ", ".join(known.name.split(" (")[0] for known in FORMATS)
    expected = f"one of the formats of docs/formats.md ({short})"
    if not path.is_dir():
        first_bytes(path, expected)
    held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) if path.is_dir() else ""
    raise FormatError(
        path, f"expected {expected}; got " + (f"a folder with {held or 'nothing'}" if path.is_dir() else "another file")
    )
