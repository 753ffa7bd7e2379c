"""Reading, importing and writing through the Python interface."""

from __future__ import annotations

import doctest
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.api import files
from nearsight.api.exports import export
from nearsight.api.files import import_calculation, read, write
from nearsight.errors import FormatError, InputError
from nearsight.operators.bloch import to_csr
from nearsight.progress import Event
from tests.formats.files import H_NAME, MHFO2

DATA = Path(__file__).parents[2] / "data"


def test_examples() -> None:
    assert doctest.testmod(files).failed == 0


def test_h0_is_attached_and_small_elements_are_dropped() -> None:
    h0 = MHFO2 / "text_upper" / H_NAME
    calculation = import_calculation(MHFO2 / "binary_upper", h0=h0, drop_below=1e-3)
    plain = import_calculation(MHFO2 / "binary_upper")
    assert plain.h0 is None
    assert calculation.provenance["initial Hamiltonian"] == H_NAME
    assert "below 0.001 E_h" in calculation.provenance["stored"]
    h, before = (to_csr(c.require_hamiltonian()).toarray() for c in (calculation, plain))
    np.testing.assert_array_equal(h, np.where(h == 0, 0, before))


@pytest.mark.parametrize("cell", ["20 20 20", 20.0, [20.0, 20.0, 20.0], 20 * np.eye(3)])
def test_a_cell_is_given_in_any_form(tmp_path: Path, cell: object) -> None:
    source = Path(shutil.copy(MHFO2 / "binary_upper" / H_NAME, tmp_path))
    calculation = import_calculation(source, structure=MHFO2 / "mhfo2.xyz", cell=cell)  # type: ignore[arg-type]
    np.testing.assert_array_equal(calculation.structure.cell, 20 * np.eye(3))


def test_a_cell_that_is_not_the_run_s() -> None:
    with pytest.raises(FormatError, match=r"has the cell .* 20 0 0 .*, got the cell .* 5\.117"):
        import_calculation(MHFO2 / "binary_upper", structure=MHFO2 / "mhfo2.xyz", cell=20.0)
    with pytest.raises(FormatError, match=r"expected the cell of the run, 5\.117 .*, got --cell 20 0 0"):
        import_calculation(MHFO2 / "binary_upper", cell=20.0)


def test_an_isolated_molecule(tmp_path: Path) -> None:
    """A crystal is none: its S says so."""
    source = Path(shutil.copy(MHFO2 / "binary_upper" / H_NAME, tmp_path))
    assert not import_calculation(source, structure=MHFO2 / "mhfo2.xyz", cell="none").structure.pbc.any()
    with pytest.raises(FormatError, match=r"the overlaps of these positions and this cell, got others for 40 of 40"):
        import_calculation(MHFO2 / "binary_upper", structure=MHFO2 / "mhfo2.xyz", cell="none")


def test_progress_is_told() -> None:
    events: list[Event] = []
    import_calculation(MHFO2 / "binary_upper", progress=events.append)
    assert events[0].message == f"reading {H_NAME}"
    assert events[-1].done == events[-1].total


def test_what_is_written_is_read(tmp_path: Path) -> None:
    calculation = import_calculation(MHFO2 / "binary_upper")
    write(tmp_path / "a.h5", calculation, compression="none")
    again = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(again.require_hamiltonian().values, calculation.require_hamiltonian().values)


def test_errors_say_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="nowhere"):
        read(tmp_path / "nowhere.h5")
    with pytest.raises(InputError, match="expected precision float32 or float64"):
        write(tmp_path / "a.h5", read(MHFO2 / "binary_upper"), precision="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected a cell such as"):
        import_calculation(MHFO2 / "binary_upper", cell="wide")


def test_s_of_other_positions_is_refused(tmp_path: Path) -> None:
    """Without an output that prints the functions, S itself shows that two atoms are exchanged."""
    calculation = read(DATA / "aHfO2_96_A.h5")
    structure = calculation.structure
    places = structure.positions.copy()
    places[[3, 80]] = places[[80, 3]]
    write(tmp_path / "a.h5", replace(calculation, structure=replace(structure, positions=places)))
    with pytest.raises(
        FormatError, match=r"expected the overlaps of these positions .* all with atom (3|80) .*, (3|80) "
    ):
        import_calculation(tmp_path / "a.h5")


@pytest.mark.parametrize(("name", "cut"), [("coord.inc", 10), ("cell.inc", 11)])
def test_an_include_that_was_cut_short_is_noticed_by_s(name: str, cut: int, tmp_path: Path) -> None:
    """There is no output to compare with; the last atom, or cell vector, is 0.1 or 0.2 Å off."""
    run = Path(shutil.copytree(MHFO2 / "text_full", tmp_path / "run"))
    assert import_calculation(run).provenance["overlaps"] == "those of the positions and the cell"
    (run / name).write_bytes((run / name).read_bytes()[:-cut])
    with pytest.raises(FormatError, match="expected the overlaps of these positions and this cell"):
        import_calculation(run)


def test_functions_of_another_basis_of_the_same_name(tmp_path: Path) -> None:
    """S of predictions would be that of the name; with a name of its own a file is taken as it is."""
    calculation = import_calculation(MHFO2 / "text_full")
    overlap = calculation.require_overlap()
    values = overlap.values
    scaled = overlap.with_values(np.where(np.abs(values) < 0.99, 0.9 * values, values))
    write(tmp_path / "a.h5", replace(calculation, overlap=scaled, provenance={}))
    with pytest.raises(FormatError, match="are the functions others than those of SZV-MOLOPT-SR-GTH"):
        import_calculation(tmp_path / "a.h5")
    own = replace(calculation.basis, name="own", functions={})
    h = replace(calculation.require_hamiltonian(), basis=own)
    write(
        tmp_path / "b.h5",
        replace(calculation, basis=own, hamiltonian=h, overlap=replace(scaled, basis=own), provenance={}),
    )
    assert "overlaps" not in import_calculation(tmp_path / "b.h5").provenance


def test_what_a_store_says_of_itself_is_not_believed(tmp_path: Path) -> None:
    """An atom moves after S was compared."""
    calculation = import_calculation(DATA / "aHfO2_96_A.h5")
    assert calculation.provenance["overlaps"] == "those of the positions and the cell"
    places = calculation.structure.positions.copy()
    places[50] += 0.3
    write(tmp_path / "a.h5", replace(calculation, structure=replace(calculation.structure, positions=places)))
    with pytest.raises(FormatError, match=r"all with atom 50 "):
        import_calculation(tmp_path / "a.h5")


@pytest.mark.parametrize("threshold", [1e-3, 0.01, 0.03])
def test_small_elements_may_be_missing(threshold: float, tmp_path: Path) -> None:
    export(import_calculation(DATA / "aHfO2_96_A.h5", drop_below=threshold), tmp_path / "dx", "deepx")
    assert import_calculation(tmp_path / "dx").structure.formula == "Hf32O64"


def test_additions_that_a_format_does_not_use_are_refused(tmp_path: Path) -> None:
    export(read(DATA / "silicon_2.h5"), tmp_path / "dftio", "dftio")
    with pytest.raises(InputError, match=r"of dftio .* needs, got basis, step, which it does not use"):
        import_calculation(tmp_path / "dftio", basis="DZVP-MOLOPT-SR-GTH", step="last")
    assert import_calculation(tmp_path / "dftio", row=0).structure.formula == "Si2"
