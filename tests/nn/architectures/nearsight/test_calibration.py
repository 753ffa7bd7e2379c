"""Uncertainty: known moments, atoms unlike those of training, files, and what a prediction carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nearsight.inference.predict import predict
from nearsight.inference.to_store import write_prediction
from nearsight.learning.checkpoint import write_tensors
from nearsight.learning.config import LossConfig
from nearsight.nn.architectures.nearsight.batches import BondPieces, BondSource, deal
from nearsight.nn.architectures.nearsight.calibration import fit_uncertainty
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.architectures.nearsight.uncertainty import inverse_root, leverage, to_arrays
from nearsight.nn.model import load_model
from nearsight.operators.calculation import Calculation
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import random_calculation
from tests.nn.architectures.nearsight.random_model import random_bond_model


@pytest.fixture(scope="module")
def model() -> BondModel:
    bare = random_bond_model()
    train, held = ([BondSource(random_calculation(seed), bare, LossConfig())] for seed in (1, 2))
    pieces = [BondPieces([part for source in own for part in deal(source, 500, 0)]) for own in (train, held)]
    return replace(bare, uncertainty=fit_uncertainty(bare, *pieces))


def test_leverage_is_one_on_average_over_what_the_moment_was_made_of() -> None:
    z = torch.randn(400, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = z.flatten(0, 1).numpy()
    root = inverse_root(rows.T @ rows / len(rows))
    assert leverage(z, root).mean() == pytest.approx(1, rel=1e-2)
    np.testing.assert_allclose(leverage(3 * z, root), 9 * leverage(z, root))


def test_the_errors_of_held_out_bonds_are_expected_on_average(model: BondModel) -> None:
    """Calibration: the mean square of the errors of every pair, over the mean of the expected squares, is about one."""
    known, network = model.uncertainty, model.network
    assert known is not None
    piece = deal(BondSource(random_calculation(2), model, LossConfig()), 10_000, 0)[0].build()
    features = network.features(piece.graph)
    for pair, bonds in piece.graph.bonds.items():
        errors = (network.outputs(features, {pair: bonds})[pair] - piece.targets[pair].values).detach().square()
        expected = known.bond_squares(network, features, pair, bonds)
        assert expected.shape == errors.shape
        assert float(errors.mean()) / expected.mean() == pytest.approx(1, abs=0.4)


def test_a_compressed_structure_is_strange_and_a_training_one_is_not(model: BondModel) -> None:
    structure = random_calculation(1).structure
    squeezed = Structure(structure.numbers, 0.7 * structure.positions, 0.7 * structure.cell, structure.pbc)
    own, other = predict(model, structure), predict(model, squeezed)
    for prediction in (own, other):
        assert sum(len(values) for _, values in prediction.groups) > 0
    assert own.bonds is not None
    assert other.bonds is not None
    assert own.bonds.out_of_distribution is not None
    assert not own.bonds.out_of_distribution.any()
    assert other.bonds.out_of_distribution is not None
    assert other.bonds.out_of_distribution.mean() > 0.5
    on_site = [p.bonds.estimates[p.pairs.edge < 0].mean() for p in (own, other) if p.bonds is not None]
    assert on_site[1] > on_site[0]


def test_files_keep_it_and_predictions_carry_it(model: BondModel, tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", model.tensors(), model.metadata())
    again = load_model(tmp_path / "m.safetensors")
    assert isinstance(again, BondModel)
    assert again.uncertainty is not None
    assert model.uncertainty is not None
    for key, array in to_arrays(model.uncertainty).items():
        np.testing.assert_array_equal(to_arrays(again.uncertainty)[key], array)
    structure = random_calculation(3).structure
    prediction = predict(again, structure)
    head = Calculation(structure, again.basis, cutoff=again.config.cutoff)
    write_prediction(tmp_path / "p.h5", head, prediction)
    with h5py.File(tmp_path / "p.h5") as file:
        estimate = file["error_estimate"]
        assert estimate.attrs["unit"] == "eV"
        assert len(estimate) == len(file["hamiltonian/source"])
        assert (estimate[...] > 0).all()
        assert file["strange_atoms"].ndim == 1


def test_without_calibration_nothing_is_claimed() -> None:
    prediction = predict(random_bond_model(), random_calculation(3).structure)
    assert prediction.bonds is not None
    assert prediction.bonds.out_of_distribution is None
    assert np.isnan(prediction.bonds.estimates).all()
