"""The lines of the README's second screen, from training to physics, on a structure of 96 atoms."""

from __future__ import annotations

from pathlib import Path

import ase
import numpy as np
import pytest

import nearsight as ns
from nearsight.operators.symmetry import hermiticity_error

FILE = Path(__file__).parents[2] / "data" / "aHfO2_96_A.h5"
SMALL = {"model.cutoff": 5.0, "model.channels": 4, "model.hidden": [8, 4], "max_epochs": 2, "partition.count": 3}
SMALL["model.self_consistent"] = False  # the local model is enough here


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ns.Model:
    folder = tmp_path_factory.mktemp("api") / "run"
    return ns.train([FILE], run_dir=folder, overrides=SMALL)


def test_from_training_to_physics(model: ns.Model, tmp_path: Path) -> None:
    known = ns.read(FILE)
    atoms = ase.Atoms(known.structure.numbers, known.structure.positions, cell=known.structure.cell, pbc=True)
    h = model.predict(atoms)
    s = ns.overlap(atoms, model.basis)
    assert hermiticity_error(h.operator) == 0
    assert ns.spectrum(h, s).gap == pytest.approx(ns.spectrum(known).gap, abs=1.0)
    gamma, other = h.to_csr(k=(0, 0, 0)), h.to_csr(k=(0.5, 0, 0))
    assert gamma.dtype == np.float64
    assert abs(other - other.conj().T).max() < 1e-12
    h.write(tmp_path / "pred.h5")
    errors = ns.evaluate(h, FILE)
    assert 0 < errors.matrix.eps_tot < 0.1
    assert ns.evaluate(tmp_path / "pred.h5", FILE).matrix.eps_tot == errors.matrix.eps_tot


def test_a_file_in_memory_and_block_by_block_give_one_file(model: ns.Model, tmp_path: Path) -> None:
    """Its overlap is passed on; expected errors are those of every block."""
    held = model.predict(FILE)
    held.write(tmp_path / "held.h5")
    written = model.predict_to(tmp_path / "streamed.h5", FILE, parts=2)
    one, two = ns.read(tmp_path / "held.h5"), ns.read(tmp_path / "streamed.h5")
    np.testing.assert_allclose(one.hamiltonian.values, two.hamiltonian.values, atol=1e-5)
    np.testing.assert_array_equal(one.overlap.values, two.overlap.values)
    np.testing.assert_allclose(one.error_estimate, two.error_estimate, rtol=1e-3)
    assert written.has_overlap
    assert held.expected_errors == pytest.approx(written.expected_errors, rel=1e-3)
    assert held.out_of_distribution.shape == (96,)


def test_the_same_call_goes_on_and_files_load(model: ns.Model) -> None:
    again = ns.train([FILE], run_dir=model.training.folder, overrides={**SMALL, "max_epochs": 3})
    assert again.training.state.epoch == 3
    assert ns.load_model(model.training.folder).basis == model.basis
    with pytest.raises(ns.NearsightError, match="another run_dir"):
        ns.train([FILE], run_dir=model.training.folder, overrides={**SMALL, "model.channels": 5})


def test_what_is_no_structure_is_refused(model: ns.Model) -> None:
    with pytest.raises(ns.NearsightError, match="expected a"):
        model.predict(3.0)
    with pytest.raises(ns.NearsightError, match=r"expected a structure of the model.s elements"):
        model.predict(ase.Atoms("Ti2", [[0, 0, 0], [2, 0, 0]]))
