"""Hundreds of molecules: named by their folder, some kept for validation, many in one batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nearsight as ns
from nearsight.api.models import Model
from nearsight.api.training import run_training
from nearsight.learning.config import load_config
from nearsight.learning.hold_out import MANY, divided
from nearsight.learning.training import suited_to_molecules, train
from nearsight.nn.architectures.nearsight.training import together
from nearsight.nn.fine_tuning import common_basis
from nearsight.operators.side_by_side import side_by_side
from nearsight.progress import Event
from tests.learning.random_calculation import random_calculation
from tests.learning.rattled_molecules import molecules


def test_molecules_of_a_folder_train_with_the_defaults_and_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number, molecule in enumerate(molecules(12)):
        ns.write(folder / f"m-{number}.h5", molecule)
    said: list[str] = []

    def listen(event: Event) -> None:
        said.append(event.message)

    settings = {"data.train": str(folder), "run_dir": str(tmp_path / "run"), "max_epochs": 2}
    first = run_training(load_config("nearsight", settings), progress=listen)
    assert any("1 of 12 structures are kept for validation" in text for text in said)
    assert any("a little longer than the molecules" in text for text in said)
    assert any("33 bonds in 1 batches, 3 for validation" in text for text in said)
    assert first.model.config.cutoff < 6
    assert first.model.provenance["training_data"].count("m-") == 11
    again = run_training(load_config("nearsight", settings, {"max_epochs": 3}))
    assert again.state.epoch == 3


def test_which_structures_are_kept() -> None:
    config = load_config("nearsight", {"data.train": [f"{k}.h5" for k in range(20)]})
    many = molecules(20)
    found = divided(config.data, many, [], 7)
    assert found.kept == 2
    assert len(found.training) == len(found.names) == 18
    assert {id(m) for m in [*found.training, *found.validation]} == {id(m) for m in many}
    assert [found.names[k] for k in (0, -1)] == [
        f"{next(n for n, m in enumerate(many) if m is one)}.h5" for one in (found.training[0], found.training[-1])
    ]
    assert divided(config.data, many, [], 8).validation != found.validation
    assert divided(config.data, many, many[:1], 7).kept == 0
    crystals = [random_calculation(seed=k) for k in range(MANY)]
    assert divided(config.data, crystals[:-1], [], 7).kept == 0
    assert divided(config.data, crystals, [], 7).kept == 1
    none = load_config("nearsight", {"data.validation_slabs": 0})
    assert divided(none.data, many, [], 7).kept == 0


def test_epochs_grow_where_they_are_short() -> None:
    config = load_config("nearsight")
    assert config.epochs(1) == 1000
    assert config.epochs(64) == 100
    assert load_config("nearsight", {"max_epochs": 3}).epochs(1) == 3


def test_a_cutoff_that_is_given_stays() -> None:
    few = molecules(2)
    assert suited_to_molecules(load_config("nearsight"), few).model.cutoff < 6
    assert suited_to_molecules(load_config("nearsight", {"model.cutoff": 8.0}), few).model.cutoff == 8.0
    assert suited_to_molecules(load_config("nearsight"), [random_calculation()]).model.cutoff == 8.0


def test_side_by_side_every_block_is_that_of_its_molecule() -> None:
    some = molecules(5)
    merged = side_by_side(some, common_basis(some), 10.0)
    first = 0
    for molecule in some:
        h, n = molecule.require_hamiltonian(), len(molecule.structure)
        for i in range(n):
            for j in range(n):
                np.testing.assert_array_equal(merged.require_hamiltonian().block(first + i, first + j), h.block(i, j))
                np.testing.assert_array_equal(
                    merged.require_overlap().block(first + i, first + j), molecule.require_overlap().block(i, j)
                )
        first += n
    assert merged.require_hamiltonian().n_pairs == sum(m.require_hamiltonian().n_pairs for m in some)
    x = merged.structure.positions[:, 0].reshape(5, 3)
    assert (x[1:].min(axis=1) - x[:-1].max(axis=1)).min() >= 10.0
    with pytest.raises(ns.NearsightError, match="periodic"):
        side_by_side([random_calculation()], common_basis([random_calculation()]), 10.0)


def test_side_by_side_a_model_predicts_and_learns_what_it_does_of_each(tmp_path: Path) -> None:
    some = molecules(6)
    config = load_config(
        "nearsight",
        {
            "max_epochs": 1,
            "precision": "float64",
            "run_dir": str(tmp_path / "run"),
            "data.check": False,
            "data.validation_slabs": 0,
        },
    )
    model = train(config, some).model
    assert len(together(some, model)) == 1
    (merged,) = together(some, model)
    whole, first = Model(model).predict(merged.structure).calculation.require_hamiltonian(), 0
    for molecule in some:
        single = Model(model).predict(molecule.structure).calculation.require_hamiltonian()
        for i in range(3):
            for j in range(3):
                np.testing.assert_allclose(whole.block(first + i, first + j), single.block(i, j), atol=1e-9)
        first += 3
    assert together(some, replace(model, informed=object())) == some  # charges of one would act on the others
    periodic = [*some, random_calculation()]
    assert together(periodic, model) == periodic


def test_a_single_molecule_says_what_to_validate_on(tmp_path: Path) -> None:
    config = load_config("nearsight", {"run_dir": str(tmp_path / "run"), "max_epochs": 1})
    with pytest.raises(ns.NearsightError, match=r"validate on nothing \(data.validation_slabs=0\)"):
        train(config, molecules(1))
