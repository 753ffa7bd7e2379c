"""Small runs of CP2K that an input does not settle: what was run is what is read, or nothing is.

The runs (tests/data/cp2k_runs.zip) are water and the like, computed for these tests. Their right values are CP2K's own:
the printed eigenvalues, energies, cells and coordinates of the outputs.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nearsight.api.files import import_calculation, steps
from nearsight.api.spin import spin_spectrum
from nearsight.checks.linter import check_calculation
from nearsight.cli.main import app
from nearsight.errors import FormatError
from nearsight.formats.cp2k_output import read_output
from nearsight.formats.registry import read_any
from nearsight.formats.structure_files import read_structure
from nearsight.operators.store import read_calculation
from nearsight.units import HARTREE_IN_EV
from tests.formats.cp2k_runs import edit, off


@pytest.mark.parametrize(
    ("name", "shells", "electrons", "charge"),
    [
        ("admm", "H 1s, O 1s1p", 8, 0),
        ("allelectron", "H 2s, O 3s2p1d", 10, 0),
        ("angles", "H 1s, O 1s1p", 8, 0),
        ("both", "H 1s, O 1s1p", 8, 0),
        ("charged", "H 1s, O 1s1p", 8, -1),
        ("ghost", "X 1s, H 1s, O 1s1p", 8, 0),
        ("hexagonal", "H 1s, O 1s1p", 8, 0),
        ("named", "H 1s, O 1s1p", 8, 0),
        ("restart", "H 1s, O 1s1p", 8, 0),
        ("two", "H 2s1p, O 2s2p1d", 8, 0),
    ],
)
def test_levels_electrons_and_basis(runs: Path, name: str, shells: str, electrons: int, charge: int) -> None:
    calculation = read_any(runs / name)
    assert off(calculation) < 5e-6
    assert calculation.basis.describe() == shells
    assert (calculation.n_electrons, calculation.charge, calculation.multiplicity) == (electrons, charge, 1)
    output = read_output(runs / name / "job.out")
    assert output.cell is not None
    assert output.sites is not None
    assert np.abs(calculation.structure.cell - output.cell.vectors).max() < 6e-4
    assert np.abs(calculation.structure.positions - output.sites.positions).max() < 1e-6
    assert calculation.provenance["basis"] == calculation.basis.name


def test_cells(runs: Path) -> None:
    b = [5.2 / 2, 5.2 * np.sqrt(3) / 2, 0]
    hexagonal = read_any(runs / "hexagonal")
    np.testing.assert_allclose(hexagonal.structure.cell, [[5.2, 0, 0], b, [0, 0, 6]], atol=1e-6)
    assert hexagonal.provenance["cell"] == "of the output, for the input has SYMMETRY HEXAGONAL"
    np.testing.assert_allclose(read_any(runs / "both").structure.cell, np.diag([6, 6.1, 6.2]), atol=1e-6)
    tilted = read_any(runs / "angles").structure.cell
    cosine, sine = np.cos(np.radians(80)), np.sin(np.radians(80))
    np.testing.assert_allclose(tilted[2], [6.2 * cosine, 0, 6.2 * sine], atol=1e-9)


def test_names_of_basis_sets_and_ghosts(runs: Path) -> None:
    assert read_any(runs / "admm").basis.name.upper() == "SZV-MOLOPT-SR-GTH"
    assert read_any(runs / "two").basis.name == "H:DZVP-GTH, O:DZVP-MOLOPT-SR-GTH"
    assert read_any(runs / "allelectron").basis.name == "6-31G*"
    assert read_any(runs / "ghost").structure.numbers.tolist() == [8, 1, 1, 0]


def test_an_external_restart_has_its_own_positions(runs: Path, copy: Callable[[str], Path]) -> None:
    from_file, folder = read_any(runs / "restart"), copy("restart")
    assert np.abs(from_file.structure.positions[0] - [3, 3, 3]).max() > 0.1
    (folder / "geo-1.restart").unlink()
    from_output = read_any(folder).structure.positions
    np.testing.assert_allclose(from_output, from_file.structure.positions, atol=6e-7)
    assert np.abs(from_output - from_file.structure.positions).max() > 0  # the restart file has more digits
    (folder / "job.out").unlink()
    with pytest.raises(FormatError, match=r"settles atoms and cell, got one with EXT_RESTART; give the output"):
        read_any(folder)
    with pytest.raises(FormatError, match=r"settles atoms and cell, got one with EXT_RESTART; give them as xyz"):
        read_structure(folder / "job.inp")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hexagonal", "SYMMETRY HEXAGONAL"),
        ("both", "ABC beside A, B, C"),
        ("md", "RUN_TYPE MD"),
        ("geo", "RUN_TYPE GEO_OPT"),
    ],
)
def test_an_input_alone_that_leaves_something_open(copy: Callable[[str], Path], name: str, reason: str) -> None:
    folder = copy(name)
    (folder / "job.out").unlink()
    for path in folder.glob("*SPIN_2*"):
        path.unlink()
    with pytest.raises(FormatError, match=f"got (one with )?{reason}"):
        read_any(folder, step="last")


@pytest.mark.parametrize(
    ("line", "message"),
    [("METHOD DFTB", "got METHOD DFTB"), ("METHOD xTB", "got METHOD XTB"), ("METHOD PM6", "got METHOD PM6")],
)
def test_other_methods(copy: Callable[[str], Path], line: str, message: str) -> None:
    folder = copy("angles")
    edit(folder / "job.inp", ("EPS_DEFAULT 1.0E-10", line))
    (folder / "job.out").unlink()
    with pytest.raises(FormatError, match=message):
        read_any(folder)


def test_methods_and_spins_of_the_output(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    text = (folder / "job.out").read_text()
    edit(folder / "job.out", (r"QS\| Method: +GPW", "QS| Method:   xTB"))
    with pytest.raises(FormatError, match=r"expected a Kohn-Sham run of Quickstep .* got METHOD xTB"):
        read_any(folder)
    (folder / "job.out").write_text(re.sub(r"(?m)^ QS\| Method.*\n", "", text))  # as xTB
    assert read_any(folder).provenance["method"] == "GPW"
    (folder / "job.inp").rename(folder / "kept.txt.gz")
    with pytest.raises(FormatError, match=r"expected an output that says its METHOD"):
        read_any(folder)
    (folder / "kept.txt.gz").rename(folder / "job.inp")
    (folder / "job.out").write_text(re.sub("Orbital Basis Set", "No Basis", text))
    with pytest.raises(FormatError, match="kinds of atoms have no orbital basis"):
        read_any(folder)
    (folder / "job.out").write_text(re.sub(r"(Number of spin states +)1", r"\g<1>2", text))
    with pytest.raises(FormatError, match="got no KS_SPIN_2"):
        read_any(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("PROJECT angles", "PROJECT other", "has PROJECT other, got PROJECT angles"),
        ("^    POTENTIAL_FILE_NAME", "    CHARGE 1\n    POTENTIAL_FILE_NAME", "has CHARGE 1, got CHARGE 0"),
        ("EPS_DEFAULT 1.0E-10", "METHOD GAPW", "has METHOD GAPW, got METHOD GPW"),
        ("RUN_TYPE ENERGY", "RUN_TYPE MD", "has RUN_TYPE MD, got RUN_TYPE ENERGY"),
        ("ABC 6.0 ", "ABC 6.01 ", r"has the cell \(Å\) 6.01 .*, got the cell \(Å\) 6 0 0"),
        ("^O 3.0", "O 3.001", r"has positions \(atom 0\) 3.001 .*, got positions \(atom 0\) 3 3.1"),
        ("^O 3.0", "S 3.0", "has atoms H2S, got atoms H2O"),
        ("^O 3.0", "H 1.0 1.0 1.0\nO 3.0", "expected an output of 4 atoms, got one of 3"),
        ("GTH-PBE-q1$", "GTH-BLYP-q1", "has POTENTIAL of the kind H GTH-BLYP, got POTENTIAL of the kind H GTH-PBE"),
        ("ANGLES", "PERIODIC XY\nANGLES", "has PERIODIC .*, got PERIODIC"),
    ],
)
def test_input_and_output_of_different_runs(copy: Callable[[str], Path], old: str, new: str, message: str) -> None:
    folder = copy("angles")
    edit(folder / "job.inp", (old, new))
    with pytest.raises(FormatError, match=message):
        read_any(folder)


ENERGIES = {"md": {0: 0, 1: 1, 2: 2, 3: 3}, "geo": {0: 0, 1: 9, 2: 20}, "cellopt": {0: 0, 1: 1, 2: 2}}
"""Step → place among the energies of the output."""


@pytest.mark.parametrize(("name", "step"), [(name, step) for name, found in ENERGIES.items() for step in found])
def test_a_step_is_one_step(runs: Path, name: str, step: int) -> None:
    text = (runs / name / "job.out").read_text()
    energies = [float(e) for e in re.findall(r"ENERGY\| Total FORCE_EVAL .*?(-\d+\.\d+)", text)]
    calculation = read_any(runs / name, step=step)
    assert calculation.energy == pytest.approx(energies[ENERGIES[name][step]] * HARTREE_IN_EV, abs=1e-9)
    assert off(calculation) < 2e-6
    assert calculation.provenance["step"] == str(step)
    by_file = read_any(runs / name / f"{name}-KS_SPIN_1-1_{step}.csr")
    np.testing.assert_array_equal(by_file.structure.positions, calculation.structure.positions)
    assert by_file.energy == calculation.energy


def test_cells_of_steps(runs: Path, copy: Callable[[str], Path]) -> None:
    assert read_any(runs / "cellopt", step=2).structure.cell[0, 0] == pytest.approx(6.0126064329, abs=1e-9)
    folder = copy("cellopt")
    (folder / "cellopt-1.cell").unlink()
    with pytest.raises(FormatError, match=r"cells of the steps in cellopt-1\.cell .* got no such files"):
        read_any(folder, step=2)
    assert read_any(folder, step=0).structure.cell[0, 0] == 6.0


def test_the_choice_of_a_step(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"one step, got those of steps 0, 1, 2, 3; say which: --step 0, --step last"):
        read_any(runs / "md")
    with pytest.raises(FormatError, match="expected a step among 0, 1, 2, 3 or `last`, got 7"):
        read_any(runs / "md", step=7)
    assert steps(runs / "md") == (0, 1, 2, 3)
    assert import_calculation(runs / "md", step="last").provenance["step"] == "3"
    result = CliRunner().invoke(app, ["import", str(runs / "md"), "--step", "all", "-o", str(tmp_path / "water.h5")])
    assert result.exit_code == 0, result.output
    found = [read_calculation(tmp_path / f"water_{k}.h5") for k in range(4)]
    assert [c.provenance["step"] for c in found] == ["0", "1", "2", "3"]
    assert max(off(c) for c in found) < 2e-6


def test_the_last_try_of_a_line_search_has_no_positions(runs: Path) -> None:
    with pytest.raises(FormatError, match="the matrices are those of the last try of a line search"):
        read_any(runs / "geo", step=3)


def test_frames_that_are_not_there(copy: Callable[[str], Path]) -> None:
    folder = copy("md")
    (folder / "md-S_SPIN_1-1_2.csr").unlink()
    with pytest.raises(FormatError, match=r"expected H and S of one step, got H of step 2 and S of 0, 1, 3"):
        read_any(folder, step=2)
    (folder / "md-pos-1.xyz").unlink()
    assert off(read_any(folder, step=0)) < 2e-6
    with pytest.raises(FormatError, match=r"positions of step 3 in a trajectory \(md-pos-1\.xyz\), got none"):
        read_any(folder, step=3)


def test_frames_that_are_mixed(copy: Callable[[str], Path]) -> None:
    folder = copy("md")
    shutil.copy(folder / "md-S_SPIN_1-1_0.csr", folder / "md-S_SPIN_1-1_3.csr")
    with pytest.raises(FormatError, match="expected the overlaps of these positions and this cell, got others for"):
        read_any(folder, step=3)
    edit(folder / "md-pos-1.xyz", (r"(i = +2, .*E = +-17\.13)", r"\g<1>9"))
    with pytest.raises(FormatError, match=r"expected the energy of the matrices of step 2, .* are they of two runs"):
        read_any(folder, step=2)


def test_s_of_another_structure_is_found_by_import(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    for name in ("job.inp", "job.out"):
        edit(folder / name, (r"3\.757(000)?  *3\.686", "3.777000 3.686"))
    with pytest.raises(FormatError, match=r"expected the overlaps of these positions .*, all with atom 1 \(H\)"):
        read_any(folder)


def test_real_space_matrices_of_centred_atoms(runs: Path) -> None:
    calculation = read_any(runs / "centred")
    assert calculation.provenance["positions"] == "of the input, centred by CP2K"
    np.testing.assert_allclose(np.ptp(calculation.structure.positions, axis=0), [0.3, 0.2, 3.3], atol=1e-12)
    output = read_output(runs / "centred" / "job.out")
    assert output.sites is not None
    np.testing.assert_allclose(calculation.structure.positions, output.sites.positions, atol=1e-6)
    assert calculation.k_eigenvalues is not None


def test_matrices_at_k_points(runs: Path) -> None:
    with pytest.raises(FormatError, match=r"matrices at k-points .* run again with REAL_SPACE T in &KS_CSR_WRITE"):
        read_any(runs / "kpoints")


def test_two_spins(copy: Callable[[str], Path]) -> None:
    """H of either at Γ; the levels that CP2K printed, ALPHA and BETA, are theirs."""
    folder = copy("uks")
    found = read_any(folder)
    assert found.spin_polarised
    assert found.hamiltonian is None
    assert found.eigenvalues is None
    levels = spin_spectrum(found)
    tables = re.split(r"MO\| (?:ALPHA|BETA) EIGENVALUES", (folder / "job.out").read_text())[-2:]
    for own, table in zip((levels.up[0], levels.down[0]), tables):
        rows = re.findall(r"^ MO\| +\d+ +(-?\d+\.\d+)", table.split("Sum:")[0], re.M)
        printed = np.array(rows, dtype=float) * HARTREE_IN_EV
        assert len(printed) == len(own)
        np.testing.assert_allclose(own, printed, atol=2e-4)
    assert read_any(folder / "uks-KS_SPIN_2-1_0.csr").spin_polarised
    assert found.multiplicity == round(abs(levels.moment)) + 1
    assert found.k_eigenvalues is not None
    assert found.k_eigenvalues.shape == (2, 1, 8)
    assert import_calculation(folder).provenance["levels"] == "those that the code printed"
    text = (folder / "job.out").read_text()
    (folder / "job.out").write_text(
        text.replace(
            "Number of spin states                                                    2",
            "Number of spin states                                                    1",
        )
    )
    with pytest.raises(FormatError, match=r"of 1 spin as job\.out says, got uks-KS_SPIN_2"):
        read_any(folder)
    (folder / "job.out").write_text(text)
    (folder / "uks-KS_SPIN_2-1_0.csr").unlink()
    with pytest.raises(FormatError, match=r"of 2 spins as job\.out says, got no KS_SPIN_2"):
        read_any(folder)
    (folder / "job.out").unlink()
    with pytest.raises(FormatError, match=r"of 2 spins as job\.inp says, got no KS_SPIN_2"):
        read_any(folder)


def test_two_spins_of_which_one_is_another_matrix(copy: Callable[[str], Path]) -> None:
    """The printed levels show it; H of spin down alone is refused."""
    folder = copy("uks")
    up, down = (folder / f"uks-KS_SPIN_{k}-1_0.csr" for k in (1, 2))
    one, two = up.read_bytes(), down.read_bytes()
    for first, second in ((one, one), (two, one)):
        up.write_bytes(first)
        down.write_bytes(second)
        found = import_calculation(folder)
        assert found.provenance["levels"].startswith("NOT those that the code printed")
        assert "eigenvalues" in [f.check for f in check_calculation(found) if f.level == "error"]
    up.unlink()
    with pytest.raises(FormatError, match="that of spin 2 without KS_SPIN_1"):
        read_any(folder)


@pytest.mark.parametrize(("unit", "factor"), [("hartree", 1.0), ("Ry", 2.0), ("eV", HARTREE_IN_EV)])
def test_units_of_energy(unit: str, factor: float, copy: Callable[[str], Path]) -> None:
    """Since 2024 ENERGY_UNIT chooses it, and trajectories stay in Hartree."""
    folder = copy("geo")
    text = (folder / "job.out").read_text()
    pattern = re.compile(r"energy \[a\.u\.\]: +(-\d+\.\d+)")
    changed = pattern.sub(lambda m: f"energy [{unit}]  {float(m[1]) * factor:26.15f}", text)
    assert changed != text
    known = read_any(folder, step=2)
    (folder / "job.out").write_text(changed)
    assert read_any(folder, step=2).energy == pytest.approx(known.energy, abs=1e-9)
    (folder / "job.out").write_text(changed.replace(f"[{unit}]", "[K_e]"))
    with pytest.raises(FormatError, match=r"in hartree, Ry or eV, got K_e \(ENERGY_UNIT\)"):
        read_any(folder, step=2)


def test_files_under_any_name_and_in_other_folders(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("angles")
    expected = read_any(folder)
    (folder / "job.inp").rename(folder / "cp2k_job.in")
    (folder / "job.out").rename(folder / "slurm-17.log")
    assert read_any(folder).energy == expected.energy
    assert read_any(folder / "cp2k_job.in").energy == expected.energy
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("cp2k_job.in", "slurm-17.log", "angles-S_SPIN_1-1_0.csr"):
        (folder / name).rename(elsewhere / name)
    found = import_calculation(
        folder,
        input_file=elsewhere / "cp2k_job.in",
        output_file=elsewhere / "slurm-17.log",
        overlap=elsewhere / "angles-S_SPIN_1-1_0.csr",
    )
    assert off(found) < 2e-6


def test_the_input_that_was_run_is_the_one_that_the_output_names(copy: Callable[[str], Path]) -> None:
    folder = copy("angles")
    text = (folder / "job.inp").read_text()
    (folder / "relax.inp").write_text(text.replace("RUN_TYPE ENERGY", "RUN_TYPE GEO_OPT").replace("SZV", "DZVP"))
    assert read_any(folder).basis.name == "SZV-MOLOPT-SR-GTH"
    (folder / "job.out").unlink()
    with pytest.raises(FormatError, match=r"expected one input of CP2K, got several: job\.inp, relax\.inp; .*--input"):
        read_any(folder)
    assert read_any(folder, input=folder / "job.inp").basis.name == "SZV-MOLOPT-SR-GTH"


def test_names_as_given(runs: Path) -> None:
    for source in ("named", "named/ks.csr", "named/job.inp", "named/job.out"):
        assert off(read_any(runs / source)) < 2e-6
    with pytest.raises(FormatError, match="got the overlap"):
        read_any(runs / "named" / "s.csr")


def test_without_input_the_output_says_everything(copy: Callable[[str], Path]) -> None:
    folder = copy("two")
    expected = read_any(folder)
    (folder / "job.inp").unlink()
    found = read_any(folder)
    np.testing.assert_allclose(found.structure.positions, expected.structure.positions, atol=1e-6)
    assert found.basis == expected.basis
    assert off(found) < 2e-6


def test_an_input_alone_with_several_basis_files(copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy("two")
    (folder / "job.out").unlink()
    monkeypatch.setenv("CP2K_DATA_DIR", str(folder))
    with pytest.raises(FormatError, match=r"basis DZVP-GTH of H, .*--basis-file.*BASIS_MOLOPT, GTH_BASIS_SETS"):
        read_any(folder)
    entry = "H dzvp-gth DZVP-GTH-q1\n  2\n  1 0 0 2 2\n 8.0 0.1 0.2\n 1.0 0.3 0.4\n  2 1 1 1 1\n 0.7 1.0\n"
    data = folder / "data"
    data.mkdir()
    (data / "GTH_BASIS_SETS").write_text(entry)
    (data / "OTHER").write_text("Si other\n  1\n  1 0 0 1 1\n 8.0 0.1\n")
    files = [data / "OTHER", data / "GTH_BASIS_SETS"]
    assert read_any(folder, basis_file=files).basis.describe() == "H 2s1p, O 2s2p1d"
    monkeypatch.setenv("CP2K_DATA_DIR", str(data))
    assert read_any(folder).basis.describe() == "H 2s1p, O 2s2p1d"


ALL_ELECTRON = (("BASIS_SET 6-31G[*]", "BASIS_SET SZV-MOLOPT-SR-GTH"), ("EMSL_BASIS_SETS", "BASIS_MOLOPT"))


def test_the_valence_of_all_electrons_is_z(copy: Callable[[str], Path]) -> None:
    folder = copy("allelectron")
    edit(folder / "job.inp", *ALL_ELECTRON)
    (folder / "job.out").unlink()
    (folder / "allelectron-S_SPIN_1-1_0.csr").unlink()
    with pytest.raises(FormatError, match="expected indices 1 to 6"):
        read_any(folder)  # the basis of the input counts, though another fits the size


def test_a_count_of_atoms_that_is_not_there(copy: Callable[[str], Path]) -> None:
    """The end of the trajectory ends the frame."""
    folder = copy("md")
    edit(folder / "md-pos-1.xyz", (r"\A +3$", "2147483648"))
    began = time.process_time()
    with pytest.raises(FormatError, match="expected"):
        read_any(folder, step=0)
    assert time.process_time() - began < 5
