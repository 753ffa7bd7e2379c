"""Levels around the gap while training: right numbers, logged, the best model by them, runs that continue."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearsight.errors import ConfigError
from nearsight.inference import level_check
from nearsight.inference.level_check import LevelCheck
from nearsight.learning.loop import Trainer
from nearsight.learning.training import train
from nearsight.nn.loading import load_model
from nearsight.operators.calculation import Calculation
from tests.nn.architectures.nearsight.test_training import CALCULATIONS, config

DATA = {"train": ["a.h5"], "validation": ["b.h5"]}


def with_overlap(calculation: Calculation) -> Calculation:
    """S = 1."""
    h = calculation.require_hamiltonian()
    values = np.zeros(h.n_values)
    for pair in np.flatnonzero(h.on_site):
        values[h.offsets[pair] : h.offsets[pair + 1]] = np.eye(int(np.sqrt(h.lengths[pair]))).ravel()
    return replace(calculation, overlap=h.with_values(values))


VALIDATION = with_overlap(CALCULATIONS[1])


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def run(folder: Path, **changes: Any) -> None:
    settings = {"data": DATA, "levels_every": 2, "monitor": "levels", **changes}
    train(config(folder, **settings), CALCULATIONS[:1], [VALIDATION], levels=LevelCheck([VALIDATION], 10))


def test_a_perfect_model_has_no_errors_and_a_shift_is_one(monkeypatch):
    h, s = VALIDATION.require_hamiltonian(), VALIDATION.require_overlap()
    monkeypatch.setattr(level_check, "predict_hamiltonian", lambda model, structure, known: h)
    assert LevelCheck([VALIDATION])(None) == {"validation_levels_meV": 0.0, "validation_gap_meV": 0.0}
    monkeypatch.setattr(
        level_check, "predict_hamiltonian", lambda model, structure, known: h.with_values(h.values + 0.1 * s.values)
    )
    found = LevelCheck([VALIDATION], 6)(None)
    assert found["validation_levels_meV"] == pytest.approx(100)
    assert found["validation_gap_meV"] == pytest.approx(0, abs=1e-8)


def test_they_are_logged_and_choose_the_best_model(tmp_path):
    run(tmp_path / "run")
    records = log_of(tmp_path / "run")
    assert [r["epoch"] for r in records if "validation_levels_meV" in r] == [2, 4, 6]
    best = min(r["validation_levels_meV"] for r in records if "validation_levels_meV" in r)
    again = LevelCheck([VALIDATION], 10)(load_model(tmp_path / "run" / "best.safetensors"))
    assert again["validation_levels_meV"] == pytest.approx(best, rel=1e-6)


def test_patience_ends_a_run_without_better_levels(tmp_path, monkeypatch):
    """Levels get better at epochs 2 and 4 and no more: four epochs later training ends, whatever the loss does."""
    errors = iter([5.0, 3.0, 4.0, 3.5, 3.2, 9.0])
    monkeypatch.setattr(
        LevelCheck, "__call__", lambda self, model: {"validation_levels_meV": next(errors), "validation_gap_meV": 0.0}
    )
    run(tmp_path / "run", max_epochs=12, early_stopping=4)
    assert log_of(tmp_path / "run")[-1]["epoch"] == 8


def test_patience_needs_a_validation(tmp_path):
    with pytest.raises(ConfigError, match="early_stopping needs something to validate on"):
        config(tmp_path, early_stopping=3, **{"data": {**DATA, "validation": [], "validation_slabs": 0}})


@pytest.mark.exact
def test_a_run_that_continues_logs_the_same(tmp_path, monkeypatch):
    run(tmp_path / "whole")
    steps, step = iter(range(10_000)), Trainer._step

    def interrupted(self: Trainer, chosen: Any) -> Any:
        if next(steps) == 7:
            self.stop.stop("stopped")
        return step(self, chosen)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    run(tmp_path / "parts")
    monkeypatch.undo()
    run(tmp_path / "parts")
    whole, parts = (
        [(r["epoch"], r.get("validation_levels_meV")) for r in log_of(tmp_path / name)] for name in ("whole", "parts")
    )
    assert whole == parts


def test_what_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"expected H, S and valence in every file of data\.validation"):
        LevelCheck([CALCULATIONS[1]])
    with pytest.raises(ConfigError, match=r"give data\.validation"):
        config(tmp_path, levels_every=1)
    with pytest.raises(ConfigError, match="monitor=levels needs levels_every"):
        config(tmp_path, data=DATA, monitor="levels")
    with pytest.raises(ConfigError, match="something that computes levels"):
        train(config(tmp_path, data=DATA, levels_every=1), CALCULATIONS[:1], [VALIDATION])
