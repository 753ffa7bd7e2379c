"""Calculations in the files of other programs."""

from __future__ import annotations

from pathlib import Path

from nearsight.api.sources import CalculationLike, OverlapLike, calculation_of
from nearsight.errors import InputError
from nearsight.formats.writers import WRITERS, Writer, check_leftovers, check_target
from nearsight.output_path import check_output
from nearsight.quantum_transport.quatrex_files import write_quatrex

EVERY: dict[str, Writer] = {
    **WRITERS,
    "quatrex": Writer("quatrex' input", lambda path, calculation: write_quatrex(calculation, path)),
}
"""Name → layout, all that `export` knows."""


def export(
    calculation: CalculationLike, path: str | Path, layout: str, *, overlap: OverlapLike | None = None
) -> list[Path]:
    """Write structure, H and S as another program reads them, in its units and its order and signs of the orbitals.

    Parameters
    ----------
    calculation : str, pathlib.Path, Calculation or object with an attribute `calculation`
        What to write; a path names anything that `read` reads.
    path : str or pathlib.Path
        The folder or the file to write.
    layout : str
        Which program's: ``"deepx"`` or ``"deeph"`` (DeepH's present and first layout), ``"abacus"``, ``"dftio"``,
        ``"tshs"``, ``"wannier90"``, ``"csr"``, ``"petsc"``, ``"quatrex"``.
    overlap : as `calculation`, or BlockOperator, optional
        Where S is taken from; the calculation's own by default.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    FormatError
        If a file cannot be read.
    InputError
        If the layout is unknown or has no place for what there is, such as matrices that are summed at Γ, or the files
        cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nearsight.api.exports import export
    >>> from nearsight.api.files import read
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = export("data/silicon_2.h5", Path(folder) / "silicon", "deepx")
    ...     back = read(Path(folder) / "silicon")
    >>> [file.name for file in files]
    ['POSCAR', 'info.json', 'overlap.h5', 'hamiltonian.h5']
    >>> back.structure.formula, back.basis.describe()
    ('Si2', 'Si 2s2p1d')
    """
    if layout not in EVERY:
        raise InputError(f"expected a layout among {', '.join(EVERY)}, got {layout!r}")
    writer, target = EVERY[layout], Path(path)
    if writer.folder:
        check_target(target, writer, [calculation, overlap])
    else:
        check_output(target, [calculation, overlap])
    whole = calculation_of(calculation, overlap)
    if whole.spin_polarised:
        raise InputError(
            "expected a calculation without spin to export, got H of two spins; export them one by one "
            "(calculation.of_spin('up'), calculation.of_spin('down'))"
        )
    check_leftovers(target, writer, whole)
    return writer.write(target, whole)
