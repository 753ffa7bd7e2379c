"""Files of version 0.1.0 are read as they were meant: stores, models, runs that continue."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import load_config
from nearsight.learning.training import train
from nearsight.nn.loading import load_model
from nearsight.operators.store import read_calculation

DATA = Path(__file__).parents[1] / "data" / "version_0_1_0"
RUNS = ("nearsight", "nearsight_h0", "xia2025")


def test_the_store_has_h0_under_its_name_of_today() -> None:
    calculation = read_calculation(DATA / "calculation.h5")
    h, h0 = calculation.require_hamiltonian(), calculation.require_h0()
    np.testing.assert_allclose(h0.values, 0.9 * h.values, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_models_predict_what_they_predicted(name: str) -> None:
    calculation, model = read_calculation(DATA / "calculation.h5"), load_model(DATA / name)
    found = predict_hamiltonian(model, calculation.structure, known=calculation)
    expected = np.load(DATA / f"{name}_prediction.npz")["values"]
    # float32 networks; kernels of other processors round otherwise
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", RUNS)
def test_configurations_keep_what_had_an_effect(name: str) -> None:
    config = load_config(DATA / name / "config.yaml")
    assert (config.max_epochs, config.seed, config.data.validation_slabs) == (4, 7, 1)
    if name == "xia2025":
        assert config.model.architecture == "xia2025"
        assert config.optimizer.kind == "adam"
    else:
        assert config.optimizer.ema_decay == 0.9
        assert config.loss.huber_delta == 0.3
        assert config.partition.bonds_per_batch == 64
        assert config.model.h0 == (name == "nearsight_h0")


@pytest.mark.parametrize("name", RUNS)
def test_runs_continue_where_they_stopped(name: str, tmp_path: Path) -> None:
    """Four more epochs end in the weights of the old program, up to the rounding of other processors."""
    shutil.copytree(DATA / name, tmp_path / "run")
    calculation = read_calculation(DATA / "calculation.h5")
    changes = {"run_dir": str(tmp_path / "run"), "max_epochs": 8}
    config = load_config(DATA / name / "config.yaml", changes)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = train(config, [calculation])
    finally:
        torch.set_num_threads(before)
    assert result.state.epoch == 8
    expected = load_model(DATA / f"{name}_after_8.safetensors").network.state_dict()
    for key, value in load_model(tmp_path / "run" / "last.safetensors").network.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)
