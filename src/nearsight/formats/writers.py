"""The layouts of other programs that can be written. A new one is a `write` in its format's file, and one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nearsight.errors import InputError
from nearsight.formats import abacus, deeph_legacy, deepx, dftio, petsc, scipy_csr, siesta, wannier90
from nearsight.operators.calculation import Calculation


@dataclass(frozen=True)
class Writer:
    """One layout.

    Attributes
    ----------
    description : str
        What it is, and which program reads it.
    write : callable
        Writes a calculation and returns the files.
    folder : bool, default True
        Whether it is a folder of files, or one file.
    hamiltonians : tuple of str
        Names of H in the folder: of a calculation and, where it differs, of a prediction.
    overlap : str, optional
        Name of S in the folder.
    """

    description: str
    write: Callable[[Path, Calculation], list[Path]]
    folder: bool = True
    hamiltonians: tuple[str, ...] = ()
    overlap: str | None = None


def is_prediction(calculation: Calculation) -> bool:
    """Tell whether a network made H."""
    return calculation.provenance.get("predicted") == "yes"


WRITERS: dict[str, Writer] = {
    "deepx": Writer(
        "DeepH's present layout",
        lambda p, c: deepx.write(p, c, prediction=is_prediction(c)),
        hamiltonians=(deepx.HAMILTONIAN, deepx.PREDICTION),
        overlap=deepx.OVERLAP,
    ),
    "deeph": Writer(
        "DeepH's first layout",
        lambda p, c: deeph_legacy.write(p, c, prediction=is_prediction(c)),
        hamiltonians=(deeph_legacy.HAMILTONIAN, deeph_legacy.PREDICTION),
        overlap=deeph_legacy.OVERLAP,
    ),
    "abacus": Writer(
        "ABACUS' H(R) and S(R) in CSR, for `init_chg hr`",
        abacus.write,
        hamiltonians=abacus.HAMILTONIANS[:1],
        overlap=abacus.OVERLAPS[0],
    ),
    "dftio": Writer(
        "a folder of dftio, for DeePTB", dftio.write, hamiltonians=(dftio.HAMILTONIAN,), overlap=dftio.OVERLAP
    ),
    "wannier90": Writer("H(R) of an orthonormal basis, for WannierTools", wannier90.write),
    "csr": Writer(
        "SciPy's sparse matrices", scipy_csr.write, hamiltonians=(scipy_csr.HAMILTONIAN,), overlap=scipy_csr.OVERLAP
    ),
    "petsc": Writer(
        "PETSc's binary matrices at Γ, for SLEPc", petsc.write, hamiltonians=(petsc.HAMILTONIAN,), overlap=petsc.OVERLAP
    ),
    "tshs": Writer("one file .TSHS for TranSIESTA, TBtrans and sisl", siesta.write, folder=False),
}
"""Name → layout."""


def check_target(path: Path, writer: Writer, inputs: list[object]) -> None:
    """Refuse a folder in which something else lies, or from which something is read.

    Parameters
    ----------
    path : pathlib.Path
        Where to write.
    writer : Writer
        The layout.
    inputs : list of object
        What is read; paths are compared.

    Raises
    ------
    InputError
        If it is not a place for new files.
    """
    if not writer.folder:
        return
    for source in inputs:
        if isinstance(source, str | Path) and Path(source).exists() and path.exists():
            own = Path(source).resolve()
            if path.resolve() in (own, own.parent):
                raise InputError(f"expected another folder to write than that which is read, got {path}")
    if path.exists() and not path.is_dir():
        raise InputError(f"expected a folder to write into, got the file {path}")
    if not path.resolve().parent.is_dir():
        raise InputError(f"expected an existing folder for {path}, got none at {path.resolve().parent}; make it first")


def check_leftovers(path: Path, writer: Writer, calculation: Calculation) -> None:
    """Refuse a folder whose matrices would be read together with those to be written.

    Parameters
    ----------
    path : pathlib.Path
        Where to write.
    writer : Writer
        The layout.
    calculation : Calculation
        What is written.

    Raises
    ------
    InputError
        If H or S of something else would stay there.
    """
    written: set[str] = set()
    if calculation.hamiltonian is not None and writer.hamiltonians:
        written.add(writer.hamiltonians[-1 if is_prediction(calculation) else 0])
    if calculation.overlap is not None and writer.overlap is not None:
        written.add(writer.overlap)
    names = [*writer.hamiltonians, *([] if writer.overlap is None else [writer.overlap])]
    others = [name for name in names if name not in written and (path / name).is_file()]
    if others:
        raise InputError(
            f"expected a folder without matrices of something else, got {path} with {', '.join(others)}, which would "
            "be read together with what is written; remove it, or name another folder"
        )
