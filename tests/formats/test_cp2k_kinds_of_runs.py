"""Runs of CP2K that were once read wrongly without a word, or refused without a cause (tests/data/cp2k_runs.zip)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nearsight.api.files import import_calculation
from nearsight.cli.main import app
from nearsight.errors import FormatError
from nearsight.formats.cp2k_files import matrix_name
from nearsight.formats.cp2k_output import read_output
from nearsight.formats.registry import read_any
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from tests.formats.cp2k_runs import edit, off


def positions_of_frame(path: Path, number: int) -> np.ndarray:
    rows = path.read_text().splitlines()
    length = int(rows[0]) + 2
    rows = rows[number * length + 2 : (number + 1) * length]
    return np.array([[float(x) for x in row.split()[1:4]] for row in rows])


def test_a_crystal_of_one_atom_with_two_s_shells(runs: Path) -> None:
    assert off(read_any(runs / "single")) < 2e-6


def test_a_trajectory_in_bohr(runs: Path, copy: Callable[[str], Path]) -> None:
    found = read_any(runs / "mdbohr", step=1)
    expected = positions_of_frame(runs / "mdbohr" / "mdbohr-pos-1.xyz", 1) * BOHR_IN_ANGSTROM
    np.testing.assert_allclose(found.structure.positions, expected, atol=1e-9)
    assert off(found) < 2e-6
    folder = copy("mdbohr")
    (folder / "job.inp").unlink()
    (folder / "mdbohr-S_SPIN_1-1_1.csr").unlink()
    (folder / "mdbohr-S_SPIN_1-1_0.csr").unlink()
    with pytest.raises(FormatError, match=r"as far apart as those in the output, .* in another unit"):
        read_any(folder, step=1)


def test_an_unknown_unit_of_a_trajectory(copy: Callable[[str], Path]) -> None:
    folder = copy("mdbohr")
    edit(folder / "job.inp", ("UNIT bohr", "UNIT furlong"))
    with pytest.raises(FormatError, match=r"UNIT of &TRAJECTORY to be one of .*, got furlong"):
        read_any(folder, step=1)


def test_files_that_every_step_overwrites(runs: Path, copy: Callable[[str], Path]) -> None:
    with pytest.raises(FormatError, match=r"named by their step .* does not say it .*COMMON_ITERATION_LEVELS"):
        read_any(runs / "common")
    folder = copy("angles")
    for path in folder.glob("*-1_0.csr"):  # a run whose atoms stay has nothing to mix up
        path.rename(path.with_name(path.name.replace("-1_0.csr", ".csr")))
    assert off(read_any(folder)) < 2e-6


def test_h_of_a_step_and_s_that_every_step_overwrites(copy: Callable[[str], Path]) -> None:
    folder = copy("md")
    shutil.copy(folder / "md-S_SPIN_1-1_3.csr", folder / "md-S_SPIN_1-1.csr")
    for path in folder.glob("md-S_SPIN_1-1_*.csr"):
        path.unlink()
    with pytest.raises(FormatError, match="whose name does not say it"):
        read_any(folder, step=0)


@pytest.mark.parametrize(
    ("name", "step"),
    [("w-KS_SPIN_1-1_3.csr", 3), ("w-KS_SPIN_1-1.csr", None), ("w-KS_SPIN_1.csr", None), ("w-KS_SPIN_1-1_l.csr", None)],
)
def test_names_and_their_steps(name: str, step: int | None) -> None:
    found = matrix_name(Path(name))
    assert found is not None
    assert (found.run, found.kind, found.spin) == ("w", "KS", 1)
    assert (found.step if found.says_step else None) == step


def test_a_cell_that_changes_in_an_ensemble_that_does_not_begin_with_np(runs: Path) -> None:
    assert off(read_any(runs / "msst", step=0)) < 2e-6
    with pytest.raises(FormatError, match=r"the cells of the steps in msst-1\.cell"):
        read_any(runs / "msst", step=1)


def test_an_optimiser_that_moves_atoms_before_its_first_step(runs: Path) -> None:
    for step in (1, 2):  # with PRINT_LEVEL LOW, which prints no coordinates
        found = read_any(runs / "lbfgs", step=step)
        expected = positions_of_frame(runs / "lbfgs" / "lbfgs-pos-1.xyz", step - 1)
        np.testing.assert_array_equal(found.structure.positions, expected)
        assert found.n_electrons == 8
        assert off(found) < 2e-6
    assert found.energy == pytest.approx(-17.125377548112127 * HARTREE_IN_EV, abs=1e-3)


def test_floating_functions_are_ghosts(runs: Path, copy: Callable[[str], Path]) -> None:
    found = read_any(runs / "floating")
    assert (found.structure.formula, found.n_electrons) == ("H2OX", 8)
    assert off(found) < 2e-6
    folder = copy("floating")
    (folder / "job.out").unlink()
    assert read_any(folder).structure.formula == "H2OX"


def test_two_basis_sets_of_one_element(runs: Path, copy: Callable[[str], Path]) -> None:
    message = r"one basis and potential for H, got DZVP-MOLOPT-SR-GTH of H with 1 electrons .* H2, DZVP-GTH of H"
    with pytest.raises(FormatError, match=message):  # both are 2s1p
        read_any(runs / "bases")


def test_a_basis_in_the_input_and_one_that_is_made_of_two(runs: Path) -> None:
    found = read_any(runs / "inline")
    assert found.basis.describe() == "H 1s, O 2s2p"
    assert found.basis.name == "H:of the input's own &BASIS, O:SZV-GTH + SZV-MOLOPT-SR-GTH"
    assert off(found) < 2e-6


def test_a_plus_in_the_name_of_a_basis(copy: Callable[[str], Path]) -> None:
    folder = copy("allelectron")
    for path, old in ((folder / "job.inp", r"6-31G[*]"), (folder / "job.out", r"6-31G[*](?=\s*$)")):
        edit(path, (old, "6-31++G*"))
    assert read_any(folder).basis.name == "6-31++G*"
    edit(folder / "job.out", (r"6-31\+\+G[*]", "6-31G*"))
    with pytest.raises(FormatError, match=r"BASIS_SET of the kind O 6-31\+\+G"):
        read_any(folder)


def test_cell_and_coordinates_in_nanometres(runs: Path, copy: Callable[[str], Path]) -> None:
    expected = read_any(runs / "nm")
    assert off(expected) < 2e-6
    np.testing.assert_allclose(np.linalg.norm(expected.structure.cell, axis=1), [6.0123, 6.1234, 6.2345], atol=1e-9)
    folder = copy("nm")
    (folder / "job.inp").unlink()
    found = read_any(folder)
    np.testing.assert_allclose(found.structure.cell, expected.structure.cell, atol=2e-5)
    np.testing.assert_allclose(found.structure.positions, expected.structure.positions, atol=1e-5)
    edit(folder / "job.out", (r"\[nm\]", "[ly]"))
    with pytest.raises(FormatError, match=r"expected lengths in one of angstrom, .*, got ly"):
        read_any(folder)


def test_levels_from_the_middle_of_the_spectrum(runs: Path) -> None:
    found = read_any(runs / "range")
    assert found.eigenvalues is None
    assert found.n_electrons == 8


def test_levels_that_were_not_computed(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    row = r"^( MO\|\s+\d+\s+)-?\d+\.\d+(\s+)-?\d+\.\d+(\s+\d\.\d+)$"
    edit(folder / "job.out", (row, r"\g<1>0.000000000000\g<2>0.000000000000\g<3>"))
    assert read_any(folder).eigenvalues is None


def test_rows_of_another_table_after_the_levels(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    edit(folder / "job.out", (r"^( MO\| Sum:.*\n)", r"\g<1>\n     1    -0.5    0.3    0.2\n"))
    assert off(read_any(folder)) < 2e-6


def test_levels_are_compared_with_the_printed_ones(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("angles")
    assert import_calculation(folder).provenance["levels"] == "those that the code printed"
    edit(folder / "job.out", (r"^( MO\|\s+1\s+-\d\.\d)\d", r"\g<1>9"))
    said = import_calculation(folder).provenance["levels"]
    assert re.match(r"NOT those that the code printed: .* got differences up to \d", said)
    result = CliRunner().invoke(app, ["import", str(folder), "-o", str(tmp_path / "a.h5")])
    assert result.exit_code == 0
    assert "the levels of H and S are NOT those that the code printed" in " ".join(result.output.split())


def test_matrices_named_as_those_of_the_public_data_set(copy: Callable[[str], Path]) -> None:
    folder = copy("named")
    (folder / "ks.csr").rename(folder / "H.csr")
    (folder / "s.csr").rename(folder / "S.csr")
    edit(folder / "job.inp", ("=ks.csr", "=H.csr"), ("=s.csr", "=S.csr"))
    (folder / "structure.xyz").write_text("3\nanother structure\nO 0 0 0\nH 0 0 1\nV 0 1 0\n")
    for source in (folder, folder / "H.csr"):
        found = read_any(source)
        assert found.provenance["format"] == "CP2K run at Γ"
        assert found.structure.formula == "H2O"
        assert off(found) < 2e-6


def test_matrices_with_names_in_another_folder(copy: Callable[[str], Path]) -> None:
    folder = copy("named")
    (folder / "mats").mkdir()
    (folder / "ks.csr").rename(folder / "mats" / "ks.csr")
    (folder / "s.csr").rename(folder / "mats" / "s.csr")
    edit(folder / "job.inp", ("=ks.csr", "=mats/ks.csr"), ("=s.csr", "=./mats/s.csr"))
    assert off(read_any(folder)) < 2e-6


def test_derivatives_of_s_are_not_s(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    for spin in (2, 3, 4):  # so CP2K names them in TDDFPT
        shutil.copy(folder / "angles-S_SPIN_1-1_0.csr", folder / f"angles-S_SPIN_{spin}-1_0.csr")
    assert read_any(folder).provenance["files"].startswith("angles-KS_SPIN_1-1_0.csr, angles-S_SPIN_1-1_0.csr")


def test_embedded_molecules_and_environments(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    text = (folder / "job.out").read_text()
    for method in ("QMMM", "MIXED", "EMBED"):
        (folder / "job.out").write_text(text.replace("FORCE_EVAL ( QS )", f"FORCE_EVAL ( {method} )"))
        with pytest.raises(FormatError, match=f"expected a Kohn-Sham run of Quickstep .* got METHOD {method}"):
            read_any(folder)
    (folder / "job.out").write_text(text)
    edit(folder / "job.inp", ("EPS_DEFAULT 1.0E-10", "KG_METHOD"))
    with pytest.raises(FormatError, match="got METHOD KG"):
        read_any(folder)


def test_a_kind_whose_name_is_no_element(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    edit(folder / "job.inp", ("^O 3.0", "OXT 3.0"), ("KIND O$", "KIND OXT"))
    edit(folder / "job.out", (r"Atomic kind: O  ", "Atomic kind: OXT"))
    assert off(read_any(folder)) < 2e-6  # the output says what it is
    (folder / "job.out").unlink()
    with pytest.raises(FormatError, match="expected an element for the kind 'OXT'"):
        read_any(folder)


def test_a_table_of_more_than_999_images(tmp_path: Path) -> None:
    rows = "".join(
        f"       {n if n < 1000 else '***':>3}{n % 50 - 20:7d}{n // 50:7d}{-n // 500:7d}\n" for n in range(1, 1203)
    )
    head = " CP2K| version string:                    CP2K version 2023.1\n"
    text = head + "\n KS CSR write|1202 periodic images\n      Number    X      Y      Z\n" + rows
    (tmp_path / "job.out").write_text(text + " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:   -1.0\n")
    images = read_output(tmp_path / "job.out").images["KS"]
    assert len(images) == 1202
    assert images[1200] == (1200 % 50 - 20, 24, -1200 // 500)


def test_several_force_evals_write_matrices_of_one_name(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    edit(folder / "job.out", (r"^( GLOBAL\| Force Environment number +)1", r"\g<1>2"))
    with pytest.raises(FormatError, match="one &FORCE_EVAL, got one with 2"):
        read_any(folder)
    (folder / "job.out").unlink()
    edit(folder / "job.inp", (r"\Z", "&FORCE_EVAL\n&END\n"))
    with pytest.raises(FormatError, match="one &FORCE_EVAL, got one with 2"):
        read_any(folder)
