"""The loop against plain loops written out here, for both recipes; what is validated, kept and found again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nearsight.errors import NearsightError
from nearsight.learning import loop
from nearsight.learning.config import TrainingConfig, training_config
from nearsight.learning.loop import Trainer
from nearsight.learning.optimisation import Schedule
from nearsight.learning.training import train
from nearsight.nn.architectures.xia2025.batches import PartitionBatch
from nearsight.nn.architectures.xia2025.config import Xia2025Loss
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.batches import split_validation
from nearsight.nn.loading import load_model
from nearsight.nn.model import Objective, TrainingData
from nearsight.nn.processes import Processes
from tests.learning.random_calculation import random_calculation
from tests.learning.test_loop import SMALL
from tests.listening import listening
from tests.nn.architectures.xia2025.batches_of import make_batches

AVERAGED = {
    "kind": "adamw",
    "weight_decay": 0.1,
    "schedule": "cosine",
    "warmup_steps": 2,
    "clip_norm": 0.02,
    "ema_decay": 0.9,
    "learning_rate": 1e-2,
    "minimum_learning_rate": 1e-5,
    "shuffle": False,
}
PLATEAU = {"learning_rate": 1e-2, "decay_patience": 0, "decay_factor": 0.5, "decay_threshold": 0.5, "shuffle": False}
CALCULATION = random_calculation()


def config(folder: Path, optimizer: dict[str, Any], **changes: Any) -> TrainingConfig:
    return training_config({**SMALL, "optimizer": optimizer, "run_dir": str(folder), "max_epochs": 5, **changes})


def run(folder: Path, optimizer: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    """The records of a run."""
    records: list[dict[str, Any]] = []
    train(config(folder, optimizer, **changes), [CALCULATION], [], progress=listening(records))
    return records


def begun(folder: Path) -> tuple[Xia2025Model, list[PartitionBatch], list[PartitionBatch]]:
    own = config(folder, PLATEAU)
    basis = CALCULATION.basis.restricted(CALCULATION.structure.numbers)
    model = Xia2025Model.new(own.model, basis, torch.float32, own.seed)
    return model, *split_validation(make_batches(CALCULATION, model, own.partition), 1)


def mean_square(model: Xia2025Model, batch: PartitionBatch) -> torch.Tensor:
    output = batch.targets.gather(*model.network(batch.graph))
    return (output - batch.targets.values).square().mean()


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).network.state_dict()


def assert_near(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    for name, own in ours.items():
        assert torch.allclose(own, theirs[name], rtol=2e-4, atol=2e-6), name


def test_the_papers_recipe_is_a_plain_loop_with_adam(tmp_path: Path) -> None:
    records = run(tmp_path / "run", PLATEAU)
    model, batches, validation = begun(tmp_path)
    optimizer = torch.optim.Adam(model.network.parameters(), lr=1e-2)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5, min_lr=1e-5)
    for record in records:
        assert record["learning_rate"] == optimizer.param_groups[0]["lr"]
        for batch in batches:
            optimizer.zero_grad()
            mean_square(model, batch).backward()
            optimizer.step()
        with torch.no_grad():
            validation_loss = float(mean_square(model, validation[0]))
        assert math.isclose(record["validation_loss"], validation_loss, rel_tol=1e-4)
        plateau.step(validation_loss)
    assert records[-1]["learning_rate"] < 1e-2
    assert_near(weights(tmp_path / "run" / "last.safetensors"), model.network.state_dict())


def test_the_averaged_recipe_is_a_plain_loop_with_adamw(tmp_path: Path) -> None:
    run(tmp_path / "run", AVERAGED)
    model, batches, _ = begun(tmp_path)
    own = list(model.network.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in own if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0},
        ]
    )
    mean = {k: p.detach().clone() for k, p in model.network.named_parameters()}
    norms = []
    for step in range(5 * len(batches)):
        half = 0.5 + 0.5 * math.cos(math.pi * step / (5 * len(batches)))
        for group in optimizer.param_groups:
            group["lr"] = min(1, (step + 1) / 3) * (1e-5 + (1e-2 - 1e-5) * half)
        optimizer.zero_grad()
        mean_square(model, batches[step % len(batches)]).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(own, 0.02)))
        optimizer.step()
        keep = min(0.9, (2 + step) / (11 + step))
        mean = {k: keep * mean[k] + (1 - keep) * p.detach() for k, p in model.network.named_parameters()}
    assert max(norms) > 0.02
    assert_near(weights(tmp_path / "run" / "last.safetensors"), model.network.state_dict() | mean)


def test_validation_is_that_of_the_averaged_weights_in_the_file(tmp_path: Path) -> None:
    records = run(tmp_path / "run", AVERAGED)
    _, _, validation = begun(tmp_path)
    best = min(records, key=lambda record: record["validation_loss"])
    with torch.no_grad():
        stored = float(mean_square(load_model(tmp_path / "run" / "best.safetensors"), validation[0]))
    assert math.isclose(stored, best["validation_loss"], rel_tol=1e-5)


@pytest.mark.exact
@pytest.mark.parametrize("stopped_at", [1, 4, 5])
def test_an_averaged_run_stopped_at_any_step_continues_to_the_last_bit(
    tmp_path: Path, stopped_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    optimizer = AVERAGED | {"shuffle": True}
    whole = run(tmp_path / "whole", optimizer)
    step = Trainer._step

    def interrupted(self: Trainer, chosen: Any) -> Any:
        if self.state.step == stopped_at:
            self.stop.stop("stopped")
        return step(self, chosen)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    first = run(tmp_path / "cut", optimizer)
    monkeypatch.undo()
    second = run(tmp_path / "cut", optimizer)
    assert len(first) < 5
    compared = [[{k: v for k, v in r.items() if k != "seconds"} for r in rs] for rs in (whole, [*first, *second])]
    assert compared[0] == compared[1]
    for name in ("last.safetensors", "best.safetensors"):
        ours, theirs = weights(tmp_path / "whole" / name), weights(tmp_path / "cut" / name)
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_epochs_without_validation_are_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plateau waits for as many validations as it is told to, and the end is always validated."""
    judged: list[float] = []
    after_epoch = Schedule.after_epoch

    def noted(self: Schedule, loss: float) -> None:
        judged.append(loss)
        after_epoch(self, loss)

    monkeypatch.setattr(Schedule, "after_epoch", noted)
    records = run(tmp_path / "run", PLATEAU, max_epochs=7, validation_every=3)
    assert [r["epoch"] for r in records if "validation_loss" in r] == [3, 6, 7]
    assert judged == [r["validation_loss"] for r in records if "validation_loss" in r]


def test_metrics_are_measured_at_the_first_validation_when_they_are_due(tmp_path: Path) -> None:
    records = run(tmp_path / "run", PLATEAU, max_epochs=12, validation_every=2, metrics_every=5)
    assert [r["epoch"] for r in records if "validation_eps_n_mEh" in r] == [6, 10]


def test_a_run_shorter_than_validation_every_has_a_best_model(tmp_path: Path) -> None:
    run(tmp_path / "run", PLATEAU, max_epochs=2, validation_every=10)
    best, last = (weights(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "last"))
    assert all(torch.equal(best[k], last[k]) for k in best)


def test_a_cosine_that_time_ends_within_an_epoch_is_judged_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_out_of_time", lambda self: self.state.step >= 7)
    monkeypatch.setattr(Trainer, "_reason_to_stop", lambda self: "over" if self.state.step >= 7 else "")
    monkeypatch.setattr(Trainer, "validate", lambda self, with_metrics=True: {"validation_loss": 1.0 / self.state.step})
    run(tmp_path / "run", AVERAGED, max_epochs=100, validation_every=50)
    best, last = (weights(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "last"))
    assert all(torch.equal(best[k], last[k]) for k in best)


def test_the_best_model_is_written_when_training_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is not written in every epoch, and yet nothing is lost."""
    monkeypatch.setattr(loop, "BEST_SECONDS", 1e9)
    losses = iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(Trainer, "validate", lambda self, with_metrics=True: {"validation_loss": next(losses)})
    kept: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(
        Trainer,
        "_log",
        lambda self, record: kept.append({k: v.clone() for k, v in self.model.network.state_dict().items()}),
    )
    step = Trainer._step

    def failing(self: Trainer, chosen: Any) -> Any:
        if self.state.epoch == 3:
            raise NearsightError("expected a finite loss")
        return step(self, chosen)

    monkeypatch.setattr(Trainer, "_step", failing)
    with pytest.raises(NearsightError, match="finite loss"):
        run(tmp_path / "run", PLATEAU)
    best = weights(tmp_path / "run" / "best.safetensors")
    assert all(torch.equal(best[k], kept[2][k]) for k in best)


def test_the_best_model_is_not_written_in_every_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = loop.write_tensors
    monkeypatch.setattr(loop, "write_tensors", lambda path, *rest: (written.append(path.name), write(path, *rest)))
    monkeypatch.setattr(Trainer, "validate", lambda self, with_metrics=True: {"validation_loss": 1.0 / self.state.step})
    run(tmp_path / "run", PLATEAU)
    assert written == ["best.safetensors", "best.safetensors"]


class Halves:
    """Two batches that are numbers."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> float:
        return [1.0, 3.0][index]

    def n_terms(self, chosen: Any) -> int:
        return len(chosen)


class Distance(Objective):
    """(sum of all weights − a batch)²."""

    def sums(self, network: Any, batch: float) -> torch.Tensor:
        total = torch.stack([p.sum() for p in network.parameters()]).sum()
        return torch.stack([(total - batch).square(), total.new_zeros(())])


def test_the_loop_knows_batches_and_objectives_only_by_their_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that are numbers, and an objective that is least in their middle, where it is 1."""
    monkeypatch.setattr(Xia2025Model, "objective", lambda model, loss: Distance())
    model, _, _ = begun(tmp_path)
    own = config(tmp_path / "run", {"learning_rate": 1e-4, "batches_per_step": 2}, max_epochs=300)
    assert own.loss == Xia2025Loss()
    trainer = Trainer(model, own, TrainingData(own.partition, Halves(), Halves()), Processes(torch.device("cpu")))
    trainer.run()
    assert trainer.validate(False)["validation_loss"] == pytest.approx(1.0, abs=1e-2)
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[0])["validation_loss"] > 1.05
