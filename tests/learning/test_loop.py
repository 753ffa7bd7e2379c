"""The loop: it learns, stops when told, and a resumed run continues the same trajectory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nearsight.errors import CheckpointError, ConfigError, NearsightError
from nearsight.learning.config import TrainingConfig, load_config, training_config
from nearsight.learning.training import train
from nearsight.nn.loading import load_model
from nearsight.progress import StopToken
from tests.learning.random_calculation import CUTOFF, random_calculation
from tests.listening import listening

SMALL = {
    "model": {
        "architecture": "xia2025",
        "cutoff": CUTOFF,
        "l_max": 4,
        "channels": 4,
        "hidden": 4,
        "alpha": 4,
        "value": 4,
        "feed_forward": 8,
    },
    "partition": {"axis": 0, "count": 3, "thickness": None},
    "optimizer": {"learning_rate": 0.01, "shuffle": True},
    "data": {"train": ["random.h5"]},
}


def config(folder: Path, **changes) -> TrainingConfig:
    return training_config({**SMALL, "run_dir": str(folder), **changes})


def run(folder: Path, records=None, at_record=lambda record: None, stop=None, **changes):
    progress = listening(records, at_record=at_record)
    return train(config(folder, **changes), [random_calculation()], [], progress=progress, stop=stop)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder / "last.safetensors").network.state_dict()


def test_loss_falls_and_the_run_folder_is_complete(tmp_path):
    records = []
    result = run(tmp_path / "run", records, max_epochs=12)
    assert records[-1]["loss"] < 0.9 * records[0]["loss"]
    assert result.state.epoch == 12
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "config.yaml",
        "log.jsonl",
        "best.safetensors",
        "last.safetensors",
    }
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in logged] == list(range(1, 13))
    assert logged[0]["validation_eps_n_mEh"] > 0
    assert load_config(tmp_path / "run" / "config.yaml") == config(tmp_path / "run", max_epochs=12)


@pytest.mark.exact
def test_a_stopped_and_resumed_run_equals_an_undisturbed_one(tmp_path):
    run(tmp_path / "whole", max_epochs=6)

    token = StopToken()

    def interrupt(record):
        if record["epoch"] == 3:
            token.stop("stopped by a test")

    stopped = run(tmp_path / "cut", at_record=interrupt, stop=token, max_epochs=6)
    assert stopped.reason == "stopped by a test"
    assert stopped.interrupted
    assert stopped.state.epoch == 3
    run(tmp_path / "cut", max_epochs=6)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[k], cut[k]) for k in whole)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    assert [r["validation_loss"] for r in logs[0]] == [r["validation_loss"] for r in logs[1]]


def test_a_step_over_all_parts_is_one_optimiser_step(tmp_path):
    result = run(tmp_path / "run", max_epochs=3, optimizer={"batches_per_step": 10})
    assert result.state.step == 3


def test_training_stops_at_the_minimum_rate(tmp_path):
    optimizer = {"learning_rate": 1e-3, "minimum_learning_rate": 5e-4, "decay_patience": 0, "decay_threshold": 0.99}
    result = run(tmp_path / "run", optimizer=optimizer, max_epochs=50)
    assert result.reason == "the learning rate reached its minimum"
    assert result.state.epoch < 50


def test_another_configuration_does_not_continue_a_run(tmp_path):
    run(tmp_path / "run", max_epochs=1)
    with pytest.raises(ConfigError, match=r"expected the configuration of the run in this folder.*loss.*run_dir"):
        run(tmp_path / "run", max_epochs=2, loss={"masked": True})


def test_checkpoint_of_another_basis(tmp_path):
    from dataclasses import replace

    from nearsight.operators.bloch import from_csr, to_csr
    from nearsight.orbitals.basis import BasisSet

    run(tmp_path / "run", max_epochs=1)
    old = random_calculation()
    other = BasisSet("other", {8: (1, 0), 72: (0, 0, 1, 2)}, {})
    hamiltonian = from_csr(to_csr(old.hamiltonian), old.structure.numbers, other)
    changed = replace(old, basis=other, hamiltonian=hamiltonian)
    with pytest.raises(CheckpointError, match="expected a checkpoint for the basis"):
        train(config(tmp_path / "run", max_epochs=2), [changed], [])


def test_a_device_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="expected a GPU for the device cuda, got no GPU that torch can use"):
        run(tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_a_gpu_without_enough_memory_ends_the_run_in_one_line(tmp_path, monkeypatch):
    def full(self, chosen):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    monkeypatch.setattr("nearsight.learning.loop.Trainer._step", full)
    with pytest.raises(
        NearsightError, match=r"memory on the GPU, got: CUDA out of memory. Tried to allocate 2.00 GiB; "
    ):
        run(tmp_path / "run")
