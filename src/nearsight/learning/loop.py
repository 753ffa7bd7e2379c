"""The training loop: steps over several batches with one denominator, validation, schedule, checkpoints, resuming."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nearsight.atomic_files import append_line, write_text_atomically
from nearsight.errors import NearsightError
from nearsight.launch import LostProcessError
from nearsight.learning.checkpoint import TrainingState, load_checkpoint, save_checkpoint, write_tensors
from nearsight.learning.config import TrainingConfig
from nearsight.learning.optimisation import Schedule, make_optimizer, moving_average
from nearsight.learning.shares import Shares
from nearsight.learning.weight_vector import WeightVector
from nearsight.nn.error_sums import ErrorSums
from nearsight.nn.model import HamiltonianModel, TrainingData
from nearsight.nn.processes import Processes
from nearsight.progress import Event, Progress, StopToken, Value, silent

Record = dict[str, Value]
Levels = Callable[[HamiltonianModel], Mapping[str, float]]
"""Computes errors of the levels around the gap of a model's predictions, by key; `LEVELS` is among the keys."""
LEVELS = "validation_levels_meV"

BEST_SECONDS = 5.0
"""Least time in seconds between two files of the best model."""


class Trainer:
    """Training of one model on batches, with the files of the run's folder.

    Several processes take the same steps as one: each computes its share of a step's batches, the gradients are added
    up with the denominator of the whole step, and every process applies the same update to the same weights. Only the
    first one writes files.

    Parameters
    ----------
    model : HamiltonianModel
        The model that is trained; its network is changed in place.
    config : TrainingConfig
        The configuration of the run.
    data : TrainingData
        Batches where the network is; without validation the training loss drives the schedule.
    processes : Processes
        Device of the network, and the processes that train together.
    progress : Progress
        Given every log record as the values of an event.
    levels : callable, optional
        Computes errors of the levels of the validation structures.
    stop : StopToken, optional
        Ends the run at the next step, so that it can be resumed.

    Raises
    ------
    NearsightError
        There is no batch to train on; or, while it runs, the loss is not finite.
    ConfigError
        A step has nothing to compute for some process.
    LostProcessError
        While it runs, another process has ended.
    """

    def __init__(
        self,
        model: HamiltonianModel,
        config: TrainingConfig,
        data: TrainingData,
        processes: Processes,
        progress: Progress = silent,
        levels: Levels | None = None,
        stop: StopToken | None = None,
    ) -> None:
        if not len(data.training):
            raise NearsightError("expected at least one batch to train on, got none")
        self.model, self.config, self.processes, self.levels = model, config, processes, levels
        self.training, self.validation = (Shares(own, processes) for own in (data.training, data.validation))
        self.training.check(config.optimizer.batches_per_step)
        self.progress, self.stop = progress, stop or StopToken()
        o = config.optimizer
        self.network = model.network.to(processes.device)
        processes.as_first(self.network.state_dict().values())
        self.vector = WeightVector.of(self.network)
        self.optimizer = make_optimizer(list(self.network.parameters()), o, self.vector)
        self.schedule = Schedule(self.optimizer, o)
        self.objective = model.objective(config.loss)
        self.average = None if o.ema_decay is None else moving_average(model.network, o.ema_decay)
        self.state = TrainingState()
        self.epochs = config.epochs(len(data.training))
        self.folder = Path(config.run_dir)
        self._halted = False
        self._resumed_at = 0.0
        self._saved_at = 0.0
        self._best_saved_at = -math.inf
        self._best: dict[str, Tensor] | None = None
        self._monitored_step = 0

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return self.schedule.rate

    def resume(self) -> None:
        """Continue from the run's last checkpoint."""
        path = self.folder / "last.safetensors"
        self.state = load_checkpoint(path, self.model, self.optimizer, self.schedule, self.average)
        if self.processes.first:
            self._trim_log()

    def run(self) -> str:
        """Train until the schedule, the epochs, the time, early stopping or a stop token ends the run.

        Returns
        -------
        str
            Why the run ended.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resumed_at = time.monotonic() - self.state.seconds
        self._saved_at = time.monotonic()
        try:
            reason = self._epochs()
            self._monitor_end()
        finally:
            self._write_best()
        self._save("last.safetensors")
        return reason

    def _epochs(self) -> str:
        while True:
            self._agree()
            reason = self.processes.said_by_first(self._reason_to_stop())
            if reason:
                return reason
            if self._steps_of_epoch():
                self._finish_epoch()
            if time.monotonic() - self._saved_at > self.config.checkpoint_seconds:
                self._save("last.safetensors")

    def _steps_of_epoch(self) -> bool:
        """Do the steps that remain in this epoch; those done are not lost where another process has ended."""
        try:
            return self._epoch()
        except LostProcessError as error:
            self._save("last.safetensors")
            raise LostProcessError(
                f"{error}; {self.folder} holds the run up to step {self.state.step}: the same command goes on from "
                "there, with any number of processes"
            ) from error

    def _agree(self) -> None:
        """Let all processes have the time of the first one, and stop together."""
        if self.processes.count > 1:
            self._take(self.processes.sum(self._own_state(torch.float64)))
        else:
            self._halted = self.stop.stopped

    def _own_state(self, dtype: torch.dtype) -> Tensor:
        """(2,) whether this process was asked to stop, and the time (s), which is that of the first one."""
        own = [float(self.stop.stopped), self.state.seconds if self.processes.first else 0.0]
        return torch.tensor(own, dtype=dtype, device=self.processes.device)

    def _take(self, sums: Tensor) -> None:
        """Take over what the states of all processes sum up to."""
        stopped, self.state.seconds = sums.tolist()
        self._halted = stopped > 0
        if self._halted:
            self.stop.stop("another process of the run was stopped")

    def _reason_to_stop(self) -> str:
        budget = self.config.budget_minutes
        if self._halted:
            return self.stop.reason
        if self.state.epoch >= self.epochs:
            return f"{self.epochs} epochs done"
        if self.schedule.finished:
            return "the learning rate reached its minimum"
        if self._out_of_time():
            return f"{budget:g} minutes are over"
        if self._stops_early():
            return f"no better model in {self.config.early_stopping} epochs"
        return ""

    def _stops_early(self) -> bool:
        """Return whether the best model is too long ago; before one was chosen, none is waited for."""
        s, patience = self.state, self.config.early_stopping
        return patience is not None and s.best_epoch >= 0 and s.epoch - s.best_epoch >= patience

    def _epoch(self) -> bool:
        """Do the steps that remain in this epoch; return False when something stopped it in between."""
        self.network.train()
        steps = self._steps()
        while self.state.step_in_epoch < len(steps):
            if self.processes.count == 1:
                self._agree()
            # Several processes agree before an epoch and, in the message of the gradients, in each step.
            if self._halted or self._out_of_time():
                return False
            self.schedule.before_step(self.state.step, self._fraction(len(steps)))
            sums, terms = self._step(steps[self.state.step_in_epoch])
            for k, value in enumerate([*sums.tolist(), terms]):
                self.state.epoch_sums[k] += value
            self.state.step_in_epoch += 1
            self.state.step += 1
            if self.average is not None:
                self.average.update_parameters(self.model.network)
            if self.processes.count == 1:
                self.state.seconds = time.monotonic() - self._resumed_at
        return True

    def _fraction(self, steps: int) -> float:
        """Return the part of the run that is over, by time or by epochs."""
        done = self.state.step / (steps * self.epochs)
        budget = self.config.budget_minutes
        return done if budget is None else max(done, self.state.seconds / (60 * budget))

    def _out_of_time(self) -> bool:
        """Return whether the time is over; one whole epoch is done in any case."""
        budget = self.config.budget_minutes
        return budget is not None and self.state.epoch > 0 and self.state.seconds >= 60 * budget

    def _steps(self) -> list[list[int]]:
        """Return the batches of every step of this epoch; the order depends on seed and epoch alone, to be resumed."""
        order = list(range(len(self.training)))
        if self.config.optimizer.shuffle:
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.state.epoch)
            order = torch.randperm(len(order), generator=generator).tolist()
        size = self.config.optimizer.batches_per_step
        return [order[k : k + size] for k in range(0, len(order), size)]

    def _step(self, chosen: Sequence[int]) -> tuple[Tensor, int]:
        """Do one optimiser step over several batches; return its sums and number of terms."""
        terms = self.training.n_terms(chosen)
        if self.vector is None:
            self.optimizer.zero_grad()
        else:
            self.vector.clear()
        own = torch.zeros(2, device=self.processes.device, dtype=self.model.dtype)
        for batch in self.training.own(chosen):
            own = own + self._sums(batch, terms)
        if own.requires_grad:
            # The sums of all processes, with the gradient of this one's share.
            total = self.processes.sum(own.detach().clone()) + (own - own.detach())
            self.objective.loss(total, terms).backward()
        total = self._combined(own.detach())
        loss = float(self.objective.loss(total, terms))
        if not math.isfinite(loss):
            raise NearsightError(
                f"expected a finite loss, got {loss} at step {self.state.step}: lower "
                "optimizer.learning_rate; the last checkpoint is intact"
            )
        self._clip(self.config.optimizer.clip_norm)
        self.optimizer.step()
        return total, terms

    def _clip(self, norm: float | None) -> None:
        if norm is not None and self.vector is not None:
            self.vector.clip(norm)
        elif norm is not None:
            nn.utils.clip_grad_norm_(self.model.network.parameters(), norm)

    def _combined(self, sums: Tensor) -> Tensor:
        """Sum gradients, the sums of the step and the states of all processes, in one message."""
        if self.processes.count == 1:
            return sums
        if self.processes.first:
            self.state.seconds = time.monotonic() - self._resumed_at
        own = torch.cat([sums, self._own_state(sums.dtype)]).to(self.model.dtype)
        if self.vector is not None:
            said = self.vector.sum_gradients(self.processes, own)
        else:
            said = self.processes.sum_gradients(self.model.network.parameters(), own)
        self._take(said[2:])
        return said[:2].to(sums.dtype)

    def _sums(self, batch: Any, terms: int) -> Tensor:
        """Return the sums of one batch, whose gradient is taken at once where possible to release the batch."""
        if self.objective.additive:
            return self.objective.add_gradient(self.network, batch, terms)
        return self.objective.sums(self.network, batch)

    def _finish_epoch(self) -> None:
        """Validate, step the schedule, log, and keep the best model."""
        s = self.state
        loss = self._loss_of(s.epoch_sums)
        s.epoch += 1
        s.step_in_epoch, s.epoch_sums = 0, [0.0, 0.0, 0.0]
        record: Record = {
            "epoch": s.epoch,
            "step": s.step,
            "seconds": round(s.seconds, 3),
            "loss": loss,
            "learning_rate": self.learning_rate,
        }
        due = s.epoch % self.config.validation_every == 0 or s.epoch == self.epochs
        if len(self.validation) and due:
            # Metrics that fell due since the last validation are measured now.
            late = s.epoch % self.config.metrics_every
            record |= self.validate(late < self.config.validation_every or s.epoch == 1)
            loss = float(record["validation_loss"])
        monitored = due or not len(self.validation)
        if monitored:
            self.schedule.after_epoch(loss)
        if self._levels_due():
            record |= self._level_errors()
        s.seconds = time.monotonic() - self._resumed_at
        self._log(record)
        if self.config.monitor == "levels":
            monitored, loss = LEVELS in record, float(record.get(LEVELS, math.inf))
        if monitored:
            self._monitor(loss)

    def _levels_due(self) -> bool:
        every = self.config.levels_every
        return (
            every is not None
            and self.levels is not None
            and (self.state.epoch % every == 0 or self.state.epoch == self.epochs)
        )

    def _level_errors(self) -> Record:
        """Return errors of the levels around the gap of the validation structures, with the averaged weights."""
        assert self.levels is not None
        self.network.eval()
        return self.processes.said_by_first(dict(self.levels(self._averaged_model())) if self.processes.first else {})

    def _monitor(self, value: float) -> None:
        """Keep the present model if its monitored value is the best one."""
        s = self.state
        self._monitored_step = s.step
        # Without validation an averaged run is best at its end, whatever the noise of the last epochs.
        if value < s.best_loss or (self.average is not None and not len(self.validation)):
            s.best_loss, s.best_epoch = value, s.epoch
            self._keep_best()

    def _monitor_end(self) -> None:
        """Validate steps that no validation has seen: a cosine is often best at its very end, within an epoch."""
        cosine = self.config.optimizer.schedule == "cosine"
        if self._halted or not cosine or self.state.step == self._monitored_step:
            return
        if self.config.monitor == "levels":
            self._monitor(float(self._level_errors()[LEVELS]))
        elif len(self.validation):
            self._monitor(float(self.validate(False)["validation_loss"]))
        elif self.average is not None:
            self._monitor(self.state.best_loss)

    def _loss_of(self, sums: Sequence[float]) -> float:
        return float(self.objective.loss(torch.tensor(sums[:2], dtype=torch.float64), int(sums[2])))

    def _averaged_model(self) -> HamiltonianModel:
        """Return the model with its averaged weights, where there are such."""
        return self.model if self.average is None else self.model.with_network(self.average.module)

    @torch.no_grad()
    def validate(self, with_metrics: bool = True) -> Record:
        """Validate the model, with its averaged weights where there are such.

        Parameters
        ----------
        with_metrics : bool
            Whether ε_n, ε_e and ε_tot are wanted, too.

        Returns
        -------
        dict of str to float
            The loss under `validation_loss`, and the errors in mE_h under `validation_eps_n_mEh` and so on.
        """
        network = self.network if self.average is None else self.average.module
        network.eval()
        errors, sums, every = ErrorSums(), torch.zeros(2, dtype=torch.float64), range(len(self.validation))
        for batch in self.validation.own(every):
            sums += self.objective.validate(network, batch, errors if with_metrics else None)
        sums, errors = self._of_all(sums, errors)
        record: Record = {"validation_loss": float(self.objective.loss(sums, self.validation.n_terms(every)))}
        return record | {f"validation_{k}": v for k, v in errors.summary().items()}

    def _of_all(self, sums: Tensor, errors: ErrorSums) -> tuple[Tensor, ErrorSums]:
        """Return sums over a validation set from those over the shares of the processes."""
        numbers = torch.cat([sums, sums.new_tensor(list(astuple(errors)))]).to(self.processes.device)
        a, b, *found = self.processes.sum(numbers).tolist()
        return sums.new_tensor([a, b]), ErrorSums(found[0], round(found[1]), found[2], round(found[3]))

    def _save(self, name: str) -> None:
        if not self.processes.first:
            return
        # First the best model: the checkpoint says that it is there.
        self._write_best()
        save_checkpoint(self.folder / name, self.model, self.optimizer, self.schedule, self.state, self.average)
        self._saved_at = time.monotonic()

    def _keep_best(self) -> None:
        """Keep the present model as the best one; its file is written soon."""
        if not self.processes.first:
            return
        self._best = {k: v.clone() for k, v in self._averaged_model().tensors().items()}
        if time.monotonic() - self._best_saved_at > BEST_SECONDS:
            self._write_best()

    def _write_best(self) -> None:
        if self._best is not None:
            write_tensors(self.folder / "best.safetensors", self._best, self.model.metadata())
            self._best, self._best_saved_at = None, time.monotonic()

    def _log(self, record: Record) -> None:
        if not self.processes.first:
            return
        append_line(self.folder / "log.jsonl", json.dumps({k: v for k, v in record.items() if not _is_nan(v)}))
        done = self.state.epoch / self.epochs
        if self.config.budget_minutes:
            done = max(done, self.state.seconds / (60 * self.config.budget_minutes))
        self.progress(Event(done=min(done, 1.0), total=1.0, values=record))

    def _trim_log(self) -> None:
        """Drop records of epochs after the checkpoint: they will be trained again."""
        path = self.folder / "log.jsonl"
        if path.exists():
            lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
            kept = [line for line in lines if _epoch_of(line) <= self.state.epoch]
            write_text_atomically(path, "".join(line + "\n" for line in kept))


def _epoch_of(line: str) -> float:
    try:
        return float(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf


def _is_nan(value: Value) -> bool:
    return isinstance(value, float) and math.isnan(value)
