"""The training loop: steps over several parts with one denominator, validation, schedule, checkpoints, resuming."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nearsight.atomic_files import write_text_atomically
from nearsight.errors import NearsightError
from nearsight.learning.checkpoint import Progress, load_checkpoint, save_checkpoint, write_tensors
from nearsight.learning.config import TrainingConfig
from nearsight.learning.metrics import ErrorSums
from nearsight.learning.objective import objective_for
from nearsight.learning.optimisation import Schedule, WeightAverage, make_optimizer
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.architectures.xia2025.network import parameter_dtype
from nearsight.nn.model import Model

Record = dict[str, float | int | str]
Levels = Callable[[Model | BondModel], Mapping[str, float]]
"""Errors of levels around the gap, by key; `LEVELS` is among them."""
LEVELS = "validation_levels_meV"


BEST_SECONDS = 5.0
"""At least so long between two files of the best model."""


class Parts(Protocol):
    """Parts of structures as tensors."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def n_terms(self, chosen: Sequence[int], masked: bool) -> int:
        """The common denominator of a step over several parts."""


class Trainer:
    """Trains one model on pieces of structures and writes the run's folder.

    Args:
        model: what is trained; its network is changed in place.
        config: how.
        train, validation: pieces on the fabric's device; without validation the training loss drives the schedule.
        fabric: device and precision.
        report: called with every log record.
    """

    def __init__(
        self,
        model: Model | BondModel,
        config: TrainingConfig,
        train: Parts,
        validation: Parts,
        fabric: Fabric,
        report: Callable[[Record], None] = lambda record: None,
        levels: Levels | None = None,
    ) -> None:
        if not len(train):
            raise NearsightError("expected at least one part to train on, got none")
        self.model, self.config, self.fabric, self.report, self.levels = model, config, fabric, report, levels
        self.train, self.validation = train, validation
        o = config.optimizer
        plain = make_optimizer(list(model.network.parameters()), o)
        self.network, self.optimizer = fabric.setup(model.network, plain)
        self.schedule = Schedule(plain, o)
        self.objective = objective_for(model, config.loss)
        self.average = None if o.average is None else WeightAverage(model.network, o.average)
        self.progress = Progress()
        self.folder = Path(config.run_dir)
        self._stop_signal: int | None = None
        self._resumed_at = 0.0
        self._saved_at = 0.0
        self._best_saved_at = -math.inf
        self._best: dict[str, Tensor] | None = None
        self._judged_step = 0

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self.schedule.rate

    def resume(self) -> None:
        """Continue from the run's last checkpoint."""
        path = self.folder / "last.safetensors"
        self.progress = load_checkpoint(path, self.model, self.optimizer.optimizer, self.schedule, self.average)
        self._trim_log()

    def run(self) -> str:
        """Train until the schedule, the epochs, the time, patience or a signal ends it; returns which, as text."""
        handlers = self._catch_signals()
        self._resumed_at = time.monotonic() - self.progress.seconds
        self._saved_at = time.monotonic()
        try:
            reason = self._epochs()
            self._judge_end()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            self._write_best()
        self._save("last.safetensors")
        return reason

    def _epochs(self) -> str:
        while True:
            reason = self._reason_to_stop()
            if reason:
                return reason
            if self._epoch():
                self._finish_epoch()
            if time.monotonic() - self._saved_at > self.config.checkpoint_seconds:
                self._save("last.safetensors")

    def _reason_to_stop(self) -> str:
        budget = self.config.budget_minutes
        if self._stop_signal is not None:
            return f"stopped by {signal.Signals(self._stop_signal).name}; run the same command to continue"
        if self.progress.epoch >= self.config.max_epochs:
            return f"{self.config.max_epochs} epochs done"
        if self.schedule.finished:
            return "the learning rate reached its minimum"
        if self._out_of_time():
            return f"{budget:g} minutes are over"
        if self._out_of_patience():
            return f"no better model in {self.config.patience} epochs"
        return ""

    def _out_of_patience(self) -> bool:
        """Whether the best model is too long ago; before one was judged, none is waited for."""
        p, patience = self.progress, self.config.patience
        return patience is not None and p.best_epoch >= 0 and p.epoch - p.best_epoch >= patience

    def _epoch(self) -> bool:
        """The steps left in this epoch; False when something stopped it in between."""
        self.network.train()
        steps = self._steps()
        while self.progress.step_in_epoch < len(steps):
            if self._stop_signal is not None or self._out_of_time():
                return False
            self.schedule.before_step(self.progress.step, self._fraction(len(steps)))
            sums, terms = self._step(steps[self.progress.step_in_epoch])
            for k, value in enumerate([*sums.tolist(), terms]):
                self.progress.epoch_sums[k] += value
            self.progress.step_in_epoch += 1
            self.progress.step += 1
            if self.average is not None:
                self.average.update(self.progress.step)
            self.progress.seconds = time.monotonic() - self._resumed_at
        return True

    def _fraction(self, steps: int) -> float:
        """How much of the run is over, by time or by epochs."""
        done = self.progress.step / (steps * self.config.max_epochs)
        budget = self.config.budget_minutes
        return done if budget is None else max(done, self.progress.seconds / (60 * budget))

    def _out_of_time(self) -> bool:
        """Whether the time is over; one whole epoch is done in any case."""
        budget = self.config.budget_minutes
        return budget is not None and self.progress.epoch > 0 and self.progress.seconds >= 60 * budget

    def _steps(self) -> list[list[int]]:
        """Pieces of every step of this epoch, in an order of seed and epoch alone: a resumed run repeats it."""
        order = list(range(len(self.train)))
        if self.config.optimizer.shuffle:
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.progress.epoch)
            order = torch.randperm(len(order), generator=generator).tolist()
        size = self.config.optimizer.partitions_per_step
        return [order[k : k + size] for k in range(0, len(order), size)]

    def _step(self, chosen: Sequence[int]) -> tuple[Tensor, int]:
        """One optimiser step over several pieces; returns its error sums and number of terms."""
        terms = self.train.n_terms(chosen, self.config.loss.masked)
        self.optimizer.zero_grad()
        total = torch.zeros(2, device=self.fabric.device, dtype=parameter_dtype(self.model.network))
        for k in chosen:
            total = total + self._sums(k, terms)
        loss = self.objective.loss(total, terms)
        if not self.objective.additive:
            self.fabric.backward(loss)
        if not bool(torch.isfinite(loss)):
            raise NearsightError(
                f"expected a finite loss, got {float(loss)} at step {self.progress.step}: lower "
                "optimizer.learning_rate; the last checkpoint is intact"
            )
        if self.config.optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.model.network.parameters(), self.config.optimizer.clip_norm)
        self.optimizer.step()
        return total.detach(), terms

    def _sums(self, k: int, terms: int) -> Tensor:
        """Error sums of one piece, whose gradient is taken at once where it can be; the piece is let go."""
        sums = self.objective.sums(self.network, self.train[k])
        if not self.objective.additive:
            return sums
        self.fabric.backward(self.objective.loss(sums, terms))
        return sums.detach()

    def _finish_epoch(self) -> None:
        """Validate, step the schedule, log, keep the best."""
        p = self.progress
        loss = self._loss_of(p.epoch_sums)
        p.epoch += 1
        p.step_in_epoch, p.epoch_sums = 0, [0.0, 0.0, 0.0]
        record: Record = {
            "epoch": p.epoch,
            "step": p.step,
            "seconds": round(p.seconds, 3),
            "loss": loss,
            "learning_rate": self.learning_rate,
        }
        due = p.epoch % self.config.validation_every == 0 or p.epoch == self.config.max_epochs
        if len(self.validation) and due:
            # Metrics that fell due since the last validation are measured now.
            late = p.epoch % self.config.metrics_every
            record |= self.validate(late < self.config.validation_every or p.epoch == 1)
            loss = float(record["validation_loss"])
        judged = due or not len(self.validation)
        if judged:
            self.schedule.after_epoch(loss)
        if self._levels_due():
            record |= self._level_errors()
        p.seconds = time.monotonic() - self._resumed_at
        self._log(record)
        if self.config.judge == "levels":
            judged, loss = LEVELS in record, float(record.get(LEVELS, math.inf))
        if judged:
            self._judge(loss)

    def _levels_due(self) -> bool:
        every = self.config.levels_every
        return (
            every is not None
            and self.levels is not None
            and (self.progress.epoch % every == 0 or self.progress.epoch == self.config.max_epochs)
        )

    def _level_errors(self) -> Record:
        """Errors of the levels around the gap of the validation structures, with the averaged weights."""
        assert self.levels is not None
        self.network.eval()
        with self._averaged():
            return dict(self.levels(self.model))

    def _judge(self, loss: float) -> None:
        """Keep the model as it is now if it is the best one."""
        p = self.progress
        self._judged_step = p.step
        # Without validation an averaged run is best at its end, whatever the noise of the last epochs.
        if loss < p.best_loss or (self.average is not None and not len(self.validation)):
            p.best_loss, p.best_epoch = loss, p.epoch
            self._keep_best()

    def _judge_end(self) -> None:
        """Judge steps that no validation has seen: a cosine is often best at its very end, within an epoch."""
        stopped = self._stop_signal is not None
        if stopped or self.config.optimizer.schedule != "cosine" or self.progress.step == self._judged_step:
            return
        if self.config.judge == "levels":
            self._judge(float(self._level_errors()[LEVELS]))
        elif len(self.validation):
            self._judge(float(self.validate(False)["validation_loss"]))
        elif self.average is not None:
            self._judge(self.progress.best_loss)

    def _loss_of(self, sums: Sequence[float]) -> float:
        return float(self.objective.loss(torch.tensor(sums[:2], dtype=torch.float64), int(sums[2])))

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The network with its averaged weights, where there are such."""
        if self.average is None:
            yield
            return
        with self.average.applied():
            yield

    @torch.no_grad()
    def validate(self, with_metrics: bool = True) -> Record:
        """Loss, and on demand ε_n, ε_e, ε_tot, of the validation pieces."""
        self.network.eval()
        errors, sums, terms = ErrorSums(), torch.zeros(2, dtype=torch.float64), 0
        with self._averaged():
            for k in range(len(self.validation)):
                sums += self.objective.validate(self.network, self.validation[k], errors if with_metrics else None)
                terms += self.validation.n_terms([k], self.config.loss.masked)
        record: Record = {"validation_loss": float(self.objective.loss(sums, terms))}
        return record | {f"validation_{k}": v for k, v in errors.summary().items()}

    def _save(self, name: str) -> None:
        # First the best model: the checkpoint says that it is there.
        self._write_best()
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            self.folder / name, self.model, self.optimizer.optimizer, self.schedule, self.progress, self.average
        )
        self._saved_at = time.monotonic()

    def _keep_best(self) -> None:
        """The model as it is now is the best one; its file is written soon."""
        with self._averaged():
            self._best = {k: v.clone() for k, v in self.model.tensors().items()}
        if time.monotonic() - self._best_saved_at > BEST_SECONDS:
            self._write_best()

    def _write_best(self) -> None:
        if self._best is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_tensors(self.folder / "best.safetensors", self._best, self.model.metadata())
            self._best, self._best_saved_at = None, time.monotonic()

    def _log(self, record: Record) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps({k: v for k, v in record.items() if not _is_nan(v)}) + "\n")
        self.report(record)

    def _trim_log(self) -> None:
        """Drop records of epochs after the checkpoint: they will be trained again."""
        path = self.folder / "log.jsonl"
        if path.exists():
            lines = [line for line in path.read_text().splitlines() if line.strip()]
            kept = [line for line in lines if _epoch_of(line) <= self.progress.epoch]
            write_text_atomically(path, "".join(line + "\n" for line in kept))

    def _catch_signals(self) -> dict[int, Any]:
        def stop(number: int, frame: FrameType | None) -> None:
            if self._stop_signal is not None:
                raise KeyboardInterrupt
            self._stop_signal = number

        try:
            return {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: the caller handles signals
            return {}


def _epoch_of(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError):
        return math.inf


def _is_nan(value: float | int | str) -> bool:
    return isinstance(value, float) and math.isnan(value)
