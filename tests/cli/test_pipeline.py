"""Every command on real data, as a user types them: import, train, predict, evaluate, spectrum, report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nearsight.errors import CheckpointError, ConfigError, InputError
from nearsight.operators.bloch import to_csr
from nearsight.operators.store import read_calculation
from nearsight.units import HARTREE_IN_EV
from tests.called import call

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data" / "aHfO2_96_A.h5"
SMALL = [
    "model.channels=4",
    "model.hidden=4",
    "model.alpha=4",
    "model.value=4",
    "model.feed_forward=8",
    "model.cutoff=4",
    "partition.thickness=3",
    "max_epochs=4",
    "budget_minutes=null",
    "metrics_every=1",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained run and its prediction."""
    folder = tmp_path_factory.mktemp("pipeline")
    call("train", "demo", f"data.train=[{DATA}]", f"run_dir={folder / 'run'}", *SMALL)
    call("predict", folder / "run", DATA, "-o", folder / "prediction.h5")
    return folder


def test_prediction_is_a_store_with_overlap_and_origin(folder):
    calculation = read_calculation(folder / "prediction.h5")
    assert calculation.cutoff == 4.0
    assert calculation.overlap is not None
    assert "Hf32O64" in calculation.provenance["training_data"]
    assert not calculation.require_hamiltonian().folded


def test_prediction_needs_no_hamiltonian_and_parts_do_not_matter(folder, tmp_path):
    structure = read_calculation(DATA).structure
    structure.to_ase().write(tmp_path / "structure.xyz", format="extxyz")
    output = call("predict", folder / "run", tmp_path / "structure.xyz", "-o", tmp_path / "p.h5", "--parts", 3)
    assert "overlap matrix: exact, of the radial functions of the basis" in output
    predicted = read_calculation(tmp_path / "p.h5")
    exact, overlap = read_calculation(DATA).require_overlap(), predicted.require_overlap()
    difference = to_csr(overlap) - to_csr(exact)
    assert abs(difference.data).max() < 1.1e-6  # what CP2K neglects
    own = predicted.require_hamiltonian()
    other = read_calculation(folder / "prediction.h5").require_hamiltonian()
    assert abs(own.values - other.values).max() < 1e-4 * abs(other.values).max()


def test_evaluate(folder):
    numbers = json.loads(call("evaluate", folder / "prediction.h5", DATA, "--json"))
    assert {
        "eps_n_mEh",
        "eps_e_mEh",
        "eps_tot_mEh",
        "eps_tot_meV",
        "eig_rel_l1",
        "eig_rel_l1_occupied",
        "gap_pred_eV",
        "gap_ref_eV",
    } <= set(numbers)
    assert numbers["eps_tot_meV"] == pytest.approx(numbers["eps_tot_mEh"] * HARTREE_IN_EV)
    assert numbers["gap_ref_eV"] == pytest.approx(2.62, abs=0.01)
    assert "ε_n" in call("evaluate", folder / "prediction.h5", DATA)


def test_reference_against_itself_has_no_error():
    numbers = json.loads(call("evaluate", DATA, DATA, "--json"))
    assert numbers["eps_tot_mEh"] == 0
    assert numbers["eig_rel_l1"] == 0


def test_spectrum():
    numbers = json.loads(call("spectrum", DATA, "--json"))
    printed = read_calculation(DATA).eigenvalues
    assert abs(numbers["eigenvalues_eV"][0] - printed[0]) / HARTREE_IN_EV < 1e-6
    assert numbers["n_electrons"] == 32 * 12 + 64 * 6
    assert numbers["homo_eV"] < numbers["fermi_eV"] < numbers["lumo_eV"]
    assert "printed by the code" in call("spectrum", DATA)


def test_spectrum_takes_the_overlap_from_another_file(folder, tmp_path):
    from dataclasses import replace

    from nearsight.operators.store import write_calculation

    bare = replace(read_calculation(folder / "prediction.h5"), overlap=None)
    write_calculation(tmp_path / "bare.h5", bare)
    with pytest.raises(InputError, match="expected an overlap matrix S"):
        call("spectrum", tmp_path / "bare.h5")
    with_overlap = json.loads(call("spectrum", tmp_path / "bare.h5", "--overlap", DATA, "--json"))
    assert with_overlap == json.loads(call("spectrum", folder / "prediction.h5", "--json"))


def test_report(folder, tmp_path):
    call("report", folder / "run", "-o", tmp_path / "run.html")
    call("report", folder / "prediction.h5", "--reference", DATA, "--run", folder / "run", "-o", tmp_path / "all.html")
    assert "Training" in (tmp_path / "run.html").read_text()
    page = (tmp_path / "all.html").read_text()
    assert "Eigenvalue spectrum" in page
    assert "cutoff: 4" in page


def test_model_of_another_basis(folder, tmp_path):
    from nearsight.operators.bloch import from_csr, to_csr
    from nearsight.operators.calculation import Calculation
    from nearsight.operators.store import write_calculation
    from nearsight.orbitals.basis import BasisSet

    old = read_calculation(DATA)
    other = BasisSet("other", {8: (1, 0), 72: (0, 0, 1, 2)}, {})
    overlap = from_csr(to_csr(old.require_overlap()), old.structure.numbers, other)
    write_calculation(tmp_path / "other.h5", Calculation(old.structure, other, None, overlap))
    with pytest.raises(CheckpointError, match="expected the basis of the model"):
        call("predict", folder / "run", tmp_path / "other.h5", "-o", tmp_path / "p.h5")


def test_training_without_data_and_missing_file():
    with pytest.raises(ConfigError, match=r"expected data.train=\[file"):
        call("train", "demo")


def test_show_prints_the_configuration():
    assert "decay_patience: 500" in call("train", "xia2025", "--show")
