"""Models of many molecules have bond terms: in training, in files, in runs that go on, and in predictions by parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearsight.baselines import bond_terms
from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import TrainingConfig, training_config
from nearsight.learning.loop import Trainer
from nearsight.learning.training import train
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.nn.loading import load_model
from tests.baselines.test_bond_terms import CUTOFF, calculations
from tests.listening import listening


@pytest.fixture(autouse=True)
def few_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bond_terms, "LENGTHS", 3)
    monkeypatch.setattr(bond_terms, "DENSITIES", 3)


def config(folder: Path, **changes: Any) -> TrainingConfig:
    small = {"architecture": "nearsight", "cutoff": CUTOFF, "density_functions": 4, "channels": 4, "hidden": [8, 4]}
    return training_config(
        {
            "model": {**small, "bond_functions": 6, "l_max": 2},
            "partition": {"bonds_per_batch": 100, "axis": 0, "count": 3, "thickness": None},
            "data": {"train": ["a.h5"], "validation_slabs": 0},
            "max_epochs": 3,
            "run_dir": str(folder),
            "precision": "float64",
            **changes,
        }
    )


def run(folder: Path, count: int = 20) -> list[str]:
    said: list[str] = []
    train(config(folder), calculations(count), calculations(3, seed=8), progress=listening(messages=said))
    return said


def error(model: NearsightModel) -> float:
    """R.m.s. error between the atoms of unseen molecules, eV."""
    squares = []
    for calculation in calculations(4, seed=21):
        h = calculation.require_hamiltonian()
        off = np.repeat(~h.on_site, h.lengths)
        values = predict_hamiltonian(model, calculation.structure).on_pairs(h.source, h.target, h.shift).values
        squares.append(((values - h.values)[off] ** 2).mean())
    return float(np.sqrt(np.mean(squares)))


def test_bond_terms_are_fitted_to_many_molecules_stored_and_said(tmp_path: Path) -> None:
    said = run(tmp_path / "many", count=40)
    assert any("bonds H-O: linear terms" in line for line in said)
    model = load_model(tmp_path / "many")
    assert isinstance(model, NearsightModel)
    assert model.bond_terms is not None
    run(tmp_path / "few", count=9)
    few = load_model(tmp_path / "few")
    assert isinstance(few, NearsightModel)
    assert few.bond_terms is None
    assert error(model) < 0.5 * error(few)


def test_a_run_that_was_stopped_goes_on_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")
    steps, step = iter(range(10_000)), Trainer._step

    def interrupted(self: Trainer, chosen: Any) -> Any:
        if next(steps) == 2:
            self.stop.stop("stopped")
        return step(self, chosen)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    run(tmp_path / "parts")
    monkeypatch.undo()
    monkeypatch.setattr(bond_terms, "LENGTHS", 3)
    monkeypatch.setattr(bond_terms, "DENSITIES", 3)
    run(tmp_path / "parts")
    whole, parts = (load_model(tmp_path / name).tensors() for name in ("whole", "parts"))
    assert set(whole) == set(parts)
    for key, values in whole.items():
        torch.testing.assert_close(parts[key], values, rtol=1e-9, atol=1e-11)


@pytest.mark.exact
def test_rows_of_some_atoms_are_those_of_all(tmp_path: Path) -> None:
    run(tmp_path / "run")
    model = load_model(tmp_path / "run")
    assert isinstance(model, NearsightModel)
    structure = calculations(1, seed=30)[0].structure
    whole, tables = predict_hamiltonian(model, structure), model.atom_tables(structure, np.arange(len(structure)))
    for rows in (np.array([0, 2]), np.array([1, 3])):
        part = model.predict_rows(structure, rows, tables).operator()
        same = whole.on_pairs(part.source, part.target, part.shift)
        np.testing.assert_allclose(part.values, same.values, atol=1e-11)
