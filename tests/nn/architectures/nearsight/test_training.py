"""Training the network nearsight: the loss falls, a stopped run continues to the last bit, files hold the average."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nearsight.errors import ConfigError, InputError
from nearsight.inference.predict import predict_hamiltonian
from nearsight.learning.config import TrainingConfig, training_config
from nearsight.learning.loop import Trainer
from nearsight.learning.training import train
from nearsight.nn.architectures.nearsight import training as nearsight_training
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.nn.architectures.nearsight.training import check_density
from nearsight.nn.loading import load_model
from tests.baselines.random_baseline import CUTOFF, random_calculation
from tests.listening import listening

CALCULATIONS = [random_calculation(1), random_calculation(2)]
HFO2_UNKNOWN = replace(CALCULATIONS[0].basis, valence={})


def config(folder: Path, **changes: Any) -> TrainingConfig:
    small = {
        "architecture": "nearsight",
        "cutoff": CUTOFF,
        "density_functions": 4,
        "channels": 4,
        "hidden": [8, 4],
        "bond_functions": 6,
        "l_max": 4,
    }
    optimizer = {
        "kind": "adamw",
        "schedule": "cosine",
        "weight_decay": 0.1,
        "warmup_steps": 3,
        "clip_norm": 10.0,
        "ema_decay": 0.99,
        "learning_rate": 1e-2,
        "minimum_learning_rate": 1e-5,
    }
    return training_config(
        {
            "model": small,
            "optimizer": optimizer,
            "partition": {"bonds_per_batch": 150, "axis": 0, "count": 3, "thickness": None},
            "data": {"train": ["a.h5"], "validation_slabs": 0},
            "max_epochs": 6,
            "run_dir": str(folder),
            "precision": "float64",
            **changes,
        }
    )


def run(folder: Path, **changes: Any) -> list[float]:
    losses: list[float] = []
    train(
        config(folder, **changes),
        CALCULATIONS,
        [],
        progress=listening(at_record=lambda record: losses.append(float(record["loss"]))),
    )
    return losses


def weights(path: Path) -> dict[str, torch.Tensor]:
    model = load_model(path)
    assert isinstance(model, NearsightModel)
    return model.network.state_dict()


def test_the_loss_falls_and_the_best_model_is_the_averaged_one(tmp_path: Path) -> None:
    losses = run(tmp_path / "run", max_epochs=30)
    assert losses[-1] < 0.96 * losses[0]
    best, last = weights(tmp_path / "run" / "best.safetensors"), weights(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(best[k], last[k]) for k in best)


@pytest.mark.exact
def test_a_stopped_run_continues_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path / "whole")
    steps, step = iter(range(10_000)), Trainer._step

    def interrupted(self: Trainer, chosen: Any) -> Any:
        if next(steps) == 7:
            self.stop.stop("stopped")
        return step(self, chosen)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    run(tmp_path / "parts")
    monkeypatch.undo()
    first = len((tmp_path / "parts" / "log.jsonl").read_text().splitlines())
    run(tmp_path / "parts")
    assert first < len((tmp_path / "parts" / "log.jsonl").read_text().splitlines()) == 6
    whole, parts = (weights(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[k], parts[k]) for k in whole)


def test_data_without_a_density_train_the_local_model_and_say_so_in_one_line(tmp_path: Path) -> None:
    """No S, as here: the default learns what can be learnt."""
    messages: list[str] = []
    result = train(config(tmp_path / "run", max_epochs=1), CALCULATIONS, [], progress=listening(messages=messages))
    (said,) = (m for m in messages if "self-consistency" in m)
    assert said.startswith("self-consistency: not used: expected S in the training data")
    assert "--basis-file" in said
    assert "\n" not in said
    assert load_model(result.folder).density_functional is None
    local = train(
        config(
            tmp_path / "local", max_epochs=1, model={**config(tmp_path).model.model_dump(), "self_consistent": False}
        ),
        CALCULATIONS,
        [],
    )
    one, other = (weights(r.folder / "best.safetensors") for r in (result, local))
    assert all(torch.equal(one[k], other[k]) for k in other)


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({}, {}, None),
        ({}, {"overlap": None}, r"expected S in the training data, .* got Hf8O16 without"),
        ({}, {"basis": HFO2_UNKNOWN}, r"expected the valence of O"),
        ({"h0": True}, {}, r"expected model.h0=false"),
        ({"strictly_local": True}, {}, r"expected model.strictly_local=false"),
    ],
)
def test_what_h_cannot_be_learnt_from_as_a_functional_of_the_density(
    settings: dict[str, bool], changes: dict[str, Any], said: str | None
) -> None:
    known = replace(CALCULATIONS[0], **{"overlap": CALCULATIONS[0].hamiltonian, **changes})
    section = NearsightConfig(**settings)
    if said is None:
        check_density(section, [known])
    else:
        with pytest.raises(InputError, match=said):
            check_density(section, [known])


def test_large_training_structures_are_not_diagonalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearsight_training, "MOST_ORBITALS", 143)
    with pytest.raises(InputError, match=r"at most 143 orbitals, .* got Hf8O16 with 144"):
        check_density(NearsightConfig(), [replace(CALCULATIONS[0], overlap=CALCULATIONS[0].hamiltonian)])


def test_held_out_bonds_are_validated_and_not_trained_on(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    train(
        config(tmp_path / "run", data={"train": ["a.h5"], "validation_slabs": 1}),
        CALCULATIONS,
        [],
        progress=listening(records),
    )
    assert all(record["validation_loss"] > 0 for record in records)
    assert records[0]["validation_eps_e_mEh"] > 0


def test_the_stored_model_predicts_what_it_was_trained_on_better_than_its_baseline(tmp_path: Path) -> None:
    run(tmp_path / "run", max_epochs=40)
    model = load_model(tmp_path / "run")
    assert isinstance(model, NearsightModel)
    truth = CALCULATIONS[0].require_hamiltonian()
    structure = CALCULATIONS[0].structure
    trained = predict_hamiltonian(model, structure)
    with torch.no_grad():
        for own in model.network.pairs.values():
            for weight in own.last:
                weight.zero_()
    baseline = predict_hamiltonian(model, structure)
    errors = []
    for operator in (trained, baseline):
        pairs = np.flatnonzero(~operator.on_site)
        found = truth.find(operator.source[pairs], operator.target[pairs], operator.shift[pairs])
        assert (found >= 0).all()
        errors.append(
            sum(
                float(np.abs(operator.stack(pairs[k : k + 1]) - truth.stack(found[k : k + 1])).sum())
                for k in range(len(pairs))
            )
        )
    assert errors[0] < 0.98 * errors[1]


def test_a_folder_with_a_run_of_another_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run", max_epochs=1)
    with pytest.raises(ConfigError, match="model"):
        run(
            tmp_path / "run",
            model={"architecture": "xia2025", "cutoff": CUTOFF},
            partition={"axis": 0, "count": 3, "thickness": None},
        )
