"""The page that shows a structure in 3D."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nearsight.atomic_files import write_text_atomically
from nearsight.operators.calculation import Calculation
from nearsight.output_path import PAGE, check_output
from nearsight.report.html import document
from nearsight.report.structure_view import ALL_STATES, colourings, structure_section


def view(
    path: str | Path,
    calculation: Calculation,
    *,
    title: str | None = None,
    reference: Calculation | None = None,
    energies: tuple[float, float] = (-4.0, 4.0),
    states: bool | None = None,
) -> None:
    """Write one HTML page that shows the structure in 3D and colours its atoms; it needs no network.

    Colours show the element; with H and S the Mulliken charge and the local density of states; with a reference the
    errors of each atom's matrix elements; for a prediction the errors that the model expects.

    Parameters
    ----------
    path : str or pathlib.Path
        The page to write.
    calculation : Calculation
        The structure, and the matrices that colours are made of. Without S that of the reference is taken.
    title : str, optional
        The line below the formula.
    reference : Calculation, optional
        A calculation of the same structure whose H is the exact one.
    energies : (float, float), default (-4.0, 4.0)
        Window of the local density of states in eV, counted from the Fermi level.
    states : bool, optional
        Whether all states are computed, which charges and local densities need. By default they are up to 6,000
        orbitals.

    Raises
    ------
    InputError
        If the reference is of another structure, or the page cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from nearsight.api.files import read
    >>> from nearsight.api.view import view
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     view(Path(folder) / "silicon.html", read("data/silicon_2.h5"), states=False)
    ...     (Path(folder) / "silicon.html").is_file()
    True
    """
    check_output(path, kind=PAGE)
    if calculation.overlap is None and reference is not None:
        calculation = replace(calculation, overlap=reference.overlap)
    structure, all_states = calculation.structure, computes_states(calculation, states)
    section = structure_section(structure, colourings(calculation, reference, energies, all_states))
    write_text_atomically(path, document(structure.formula, title or f"{len(structure):,} atoms.", [section]))


def computes_states(calculation: Calculation, states: bool | None = None) -> bool:
    """Tell whether `view` computes all states of a calculation.

    Parameters
    ----------
    calculation : Calculation
        The calculation to be shown.
    states : bool, optional
        What was asked for; by default states are computed up to 6,000 orbitals.

    Returns
    -------
    bool
        False also where there is no Hamiltonian.
    """
    h = calculation.hamiltonian
    return h is not None and (h.n_orbitals <= ALL_STATES if states is None else states)
