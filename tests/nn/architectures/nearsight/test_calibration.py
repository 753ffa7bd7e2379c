"""Last-layer uncertainty: known moments, out-of-distribution atoms, files, and what a prediction carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from nearsight.inference.predict import write_prediction
from nearsight.learning.checkpoint import write_tensors
from nearsight.nn.architectures.nearsight.batches import BondSource, random_split
from nearsight.nn.architectures.nearsight.calibration import fit_uncertainty
from nearsight.nn.architectures.nearsight.config import NearsightLoss
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.nn.architectures.nearsight.uncertainty import inverse_cholesky, leverage, to_arrays
from nearsight.nn.batches import PlannedBatches
from nearsight.nn.loading import load_model
from nearsight.operators.calculation import Calculation
from nearsight.structures.structure import Structure
from tests.baselines.random_baseline import random_calculation
from tests.nn.architectures.nearsight.random_model import random_bond_model


@pytest.fixture(scope="module")
def model() -> NearsightModel:
    bare = random_bond_model()
    sources = ([BondSource(random_calculation(seed), bare, NearsightLoss())] for seed in (1, 2))
    batches = [PlannedBatches([part for source in own for part in random_split(source, 500, 0)]) for own in sources]
    return replace(bare, uncertainty=fit_uncertainty(bare, *batches))


def test_leverage_is_one_on_average_over_what_the_moment_was_made_of() -> None:
    z = torch.randn(400, 2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = z.flatten(0, 1).numpy()
    inverse_factor = inverse_cholesky(rows.T @ rows / len(rows))
    assert leverage(z, inverse_factor).mean() == pytest.approx(1, rel=1e-2)
    np.testing.assert_allclose(leverage(3 * z, inverse_factor), 9 * leverage(z, inverse_factor))


def test_the_errors_of_validation_bonds_are_expected_on_average(model: NearsightModel) -> None:
    """Calibration: the mean square of the errors of every pair, over the mean of the expected squares, is about one."""
    known, network = model.uncertainty, model.network
    assert known is not None
    batch = random_split(BondSource(random_calculation(2), model, NearsightLoss()), 10_000, 0)[0].build()
    features = network.features(batch.graph)
    for pair, bonds in batch.graph.bonds.items():
        outputs, hidden = network.outputs_and_hidden(features, pair, bonds)
        errors = (outputs - batch.targets[pair].values).square()
        expected = known.bond_variances(network, hidden, pair, bonds)
        assert expected.shape == errors.shape
        assert float(errors.mean()) / expected.mean() == pytest.approx(1, abs=0.4)


def test_a_compressed_structure_is_out_of_distribution_and_a_training_one_is_not(model: NearsightModel) -> None:
    structure = random_calculation(1).structure
    squeezed = Structure(structure.numbers, 0.7 * structure.positions, 0.7 * structure.cell, structure.pbc)
    own, other = model.predict(structure), model.predict(squeezed)
    for prediction in (own, other):
        assert sum(len(values) for _, values in prediction.blocks()) > 0
    assert own.expected_errors is not None
    assert other.expected_errors is not None
    assert not own.expected_errors.out_of_distribution.any()
    assert other.expected_errors.out_of_distribution.mean() > 0.5
    on_site = [p.expected_errors.of_blocks[p.pairs.edge < 0].mean() for p in (own, other)]
    assert on_site[1] > on_site[0]


def test_files_keep_it_and_predictions_carry_it(model: NearsightModel, tmp_path: Path) -> None:
    write_tensors(tmp_path / "m.safetensors", model.tensors(), model.metadata())
    again = load_model(tmp_path / "m.safetensors")
    assert isinstance(again, NearsightModel)
    assert again.uncertainty is not None
    assert model.uncertainty is not None
    for key, array in to_arrays(model.uncertainty).items():
        np.testing.assert_array_equal(to_arrays(again.uncertainty)[key], array)
    structure = random_calculation(3).structure
    prediction = again.predict(structure)
    head = Calculation(structure, again.basis, cutoff=again.config.cutoff)
    write_prediction(tmp_path / "p.h5", head, prediction)
    with h5py.File(tmp_path / "p.h5") as file:
        estimate = file["error_estimate"]
        assert estimate.attrs["unit"] == "eV"
        assert len(estimate) == len(file["hamiltonian/source"])
        assert (estimate[...] > 0).all()
        assert file["out_of_distribution"].ndim == 1


def test_without_calibration_nothing_is_claimed() -> None:
    prediction = random_bond_model().predict(random_calculation(3).structure)
    assert prediction.expected_errors is None
    assert prediction.mean_expected_errors() is None
