"""Trainings that protocols share, and the tests of their models on unseen structures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.api.matrices import Hamiltonian
from nearsight.api.models import Model, load_model, train
from nearsight.api.numbers import evaluation_numbers
from nearsight.api.spectra import evaluate
from nearsight.electronic.evaluation import Evaluation
from nearsight.progress import Event, Progress, StopToken, labelled
from nearsight.reproduction.data_sets import data_sets
from nearsight.reproduction.networks import PRESETS, base_settings, merged, ways
from nearsight.reproduction.unit import Unit
from nearsight.reproduction.workspace import Workspace, read_numbers, write_numbers
from nearsight.self_consistency.solver import NotConvergedError

OVERHEAD = 15.0
"""Seconds of a training beside its time: reading, baseline, what is fitted last."""
SECONDS_OF_TEST = 12.0
KEPT = (
    "eps_n_mEh",
    "eps_e_mEh",
    "eps_tot_mEh",
    "eps_tot_meV",
    "gap_error_meV",
    "gap_pred_eV",
    "gap_ref_eV",
    "n_nodes",
    "n_edges",
)
PER_CENT = {"eig_rel_l1": "levels_percent", "eig_rel_l1_occupied": "occupied_percent"}


@dataclass(frozen=True, eq=False)
class Training:
    """One network trained on some data for some minutes.

    Attributes
    ----------
    workspace : Workspace
        Where it is kept.
    network : str
        `xia2025` or `nearsight`.
    data : tuple of str
        Data sets.
    settings : mapping
        Changes of the preset.
    minutes : float
        Training time; what it will take, roughly, where epochs end it.
    start : Training or None
        The training whose model this one begins with.
    epochs : int or None
        Epochs that it takes, however long.
    """

    workspace: Workspace
    network: str
    data: tuple[str, ...]
    settings: Mapping[str, Any]
    minutes: float
    start: Training | None = None
    epochs: int | None = None

    @property
    def claim(self) -> dict[str, Any]:
        """What must be the same for two trainings to be one."""
        files = [self.workspace.content(self.workspace.needed(name)) for name in self.data]
        return {
            "network": self.network,
            "data": files,
            "settings": dict(self.settings),
            "budget": f"{self.minutes:g} minutes" if self.epochs is None else f"{self.epochs} epochs",
            "seed": self.workspace.seed,
            "start": None if self.start is None else self.start.claim,
        }

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.workspace.place("trainings", f"{self.network}-{'+'.join(self.data)}", self.claim)

    @property
    def record(self) -> Path:
        """The file that is there when it is done."""
        return self.folder / "done.json"

    def unit(self) -> Unit:
        """Return the training as a piece of work."""
        return Unit(
            f"{self.network} on {', '.join(data_sets()[name].says for name in self.data)}{self._changes()}",
            self.record,
            60 * self.minutes + OVERHEAD,
            self._train,
        )

    def _changes(self) -> str:
        shown = ", ".join(f"{key}={value}" for key, value in self.settings.items())
        return f" ({shown})" if shown else ""

    def _train(self, progress: Progress, stop: StopToken) -> None:
        files = [self.workspace.needed(name) for name in self.data]
        shipped = all(data_sets()[name].is_shipped() for name in self.data)
        changes = merged(
            base_settings(self.network, self.minutes),
            {"seed": self.workspace.seed, "data.check": not shipped},
            {} if self.start is None else {"start_from": str(self.start.folder / "run")},
            {} if self.epochs is None else {"max_epochs": self.epochs, "budget_minutes": None},
            self.settings,
        )
        run = self.folder / "run"
        run.parent.mkdir(parents=True, exist_ok=True)
        model = train(
            files,
            preset=PRESETS[self.network],
            minutes=self.minutes if self.epochs is None else None,
            run_dir=run,
            overrides=changes,
            progress=labelled(progress, "  "),
            stop=stop,
        )
        result = model.training
        if result is None or result.interrupted:
            return
        write_numbers(
            self.record,
            {
                "network": self.network,
                "data": [path.name for path in files],
                "settings": changes,
                "epochs": result.state.epoch,
                "steps": result.state.step,
                "seconds": result.state.seconds,
                "reason": result.reason,
                "learnt_self_consistency": model.inner.density_functional is not None,
                "self_consistency": model.inner.provenance.get("self_consistency", ""),
            },
        )


@dataclass(frozen=True, eq=False)
class Test:
    """The predictions of a training's model for one unseen structure, compared with the reference.

    Attributes
    ----------
    training : Training
        Which model.
    data : str
        The data set that is tested on.
    levels : bool
        Whether eigenvalues are compared and self-consistent predictions made, too.
    """

    training: Training
    data: str
    levels: bool = True

    @property
    def record(self) -> Path:
        """The file that is there when it is done."""
        kind = "with-levels" if self.levels else "matrix"
        file = self.training.workspace.needed(self.data)
        return self.training.folder / f"test-{self.data}-{self.training.workspace.content(file)[:8]}-{kind}.json"

    def unit(self) -> Unit:
        """Return the test as a piece of work."""
        says = f"{self.training.network} on the unseen {data_sets()[self.data].says}"
        return Unit(says, self.record, SECONDS_OF_TEST * (2 if self.levels else 0.3), self._test)

    def found(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of each prediction by its name; nothing where it is not done."""
        return read_numbers(self.record) or {}

    def _test(self, progress: Progress, stop: StopToken) -> None:
        known = read_numbers(self.training.record)
        if known is None:
            return
        file, model = self.training.workspace.needed(self.data), load_model(self.training.folder / "run")
        found = {}
        for name, solved in ways(self.training.network, self.levels and known["learnt_self_consistency"]).items():
            if stop.stopped:
                return
            began = time.monotonic()
            predicted = prediction(model, file, solved, progress)
            if predicted is None:
                continue
            seconds = time.monotonic() - began
            found[name] = compared(predicted, file, self.levels) | {
                "prediction_seconds": seconds,
                "epochs": known["epochs"],
                "minutes": known["seconds"] / 60,
            }
        write_numbers(self.record, found)


def prediction(model: Model, file: Path, solved: bool, progress: Progress) -> Hamiltonian | None:
    """Return a prediction; none, which is said, where charges and H do not come to agree."""
    try:
        return model.predict(file, self_consistent=solved)
    except NotConvergedError as error:
        progress(Event(f"no self-consistent prediction: {error}"))
        return None


def compared(predicted: Hamiltonian, reference: Path, levels: bool) -> dict[str, Any]:
    """Return the errors of a prediction by the names of `measures.MEASURES`."""
    found = errors_of(evaluate(predicted, reference, eigenvalues=levels, states=False))
    if predicted.out_of_distribution is not None:
        found["unlike_percent"] = 100 * float(np.mean(predicted.out_of_distribution))
    return found


def errors_of(evaluation: Evaluation) -> dict[str, Any]:
    """Return the errors of an evaluation by the names of `measures.MEASURES`."""
    numbers = evaluation_numbers(evaluation)
    found = {key: numbers[key] for key in KEPT if key in numbers}
    found |= {ours: 100 * numbers[theirs] for theirs, ours in PER_CENT.items() if theirs in numbers}
    if "eig_mae_near_gap_meV" in numbers:
        found |= {"near_gap_meV": numbers["eig_mae_near_gap_meV"], "gap_eV": numbers["gap_pred_eV"]}
    return found


def with_levels(test: Test) -> Test:
    """Return the test with eigenvalues where it is done already, else as it is: more is known, and nothing is lost."""
    richer = replace(test, levels=True)
    return richer if richer.record.is_file() else test
