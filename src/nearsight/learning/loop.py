"""The training loop: steps over several parts with one denominator, validation, schedule, checkpoints, resuming."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from nearsight.errors import NearsightError
from nearsight.learning.checkpoint import Progress, load_checkpoint, save_checkpoint
from nearsight.learning.config import TrainingConfig
from nearsight.learning.dataset import Pieces
from nearsight.learning.loss import error_sums, is_additive, loss_of_sums, part_sums
from nearsight.learning.metrics import ErrorSums
from nearsight.nn.model import Model
from nearsight.nn.xia2025 import parameter_dtype

Record = dict[str, float | int | str]


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
        self, model: Model, config: TrainingConfig, train: Pieces, validation: Pieces,
        fabric: Fabric, report: Callable[[Record], None] = lambda record: None,
    ) -> None:
        if not len(train):
            raise NearsightError("expected at least one part to train on, got none")
        self.model, self.config, self.fabric, self.report = model, config, fabric, report
        self.train, self.validation = train, validation
        plain = torch.optim.Adam(model.network.parameters(), lr=config.optimizer.learning_rate)
        self.network, self.optimizer = fabric.setup(model.network, plain)
        o = config.optimizer
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            plain, factor=o.decay_factor, patience=o.decay_patience, threshold=o.decay_threshold,
            min_lr=o.minimum_learning_rate,
        )
        self.progress = Progress()
        self.folder = Path(config.run_dir)
        self._stop_signal: int | None = None
        self._resumed_at = 0.0
        self._saved_at = 0.0

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def resume(self) -> None:
        """Continue from the run's last checkpoint."""
        path = self.folder / "last.safetensors"
        self.progress = load_checkpoint(path, self.model, self.optimizer.optimizer, self.scheduler)
        self._trim_log()

    def run(self) -> str:
        """Train until the schedule, the epochs, the time or a signal ends it; returns which, as text."""
        handlers = self._catch_signals()
        self._resumed_at = time.monotonic() - self.progress.seconds
        self._saved_at = time.monotonic()
        try:
            reason = self._epochs()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
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
        if self.learning_rate <= self.config.optimizer.minimum_learning_rate:
            return "the learning rate reached its minimum"
        if budget is not None and self.progress.seconds >= 60 * budget:
            return f"{budget:g} minutes are over"
        return ""

    def _epoch(self) -> bool:
        """The steps left in this epoch; False when something stopped it in between."""
        self.network.train()
        steps = self._steps()
        while self.progress.step_in_epoch < len(steps):
            if self._stop_signal is not None or self._out_of_time():
                return False
            sums, terms = self._step(steps[self.progress.step_in_epoch])
            for k, value in enumerate([*sums.tolist(), terms]):
                self.progress.epoch_sums[k] += value
            self.progress.step_in_epoch += 1
            self.progress.step += 1
            self.progress.seconds = time.monotonic() - self._resumed_at
        return True

    def _out_of_time(self) -> bool:
        budget = self.config.budget_minutes
        return budget is not None and self.progress.seconds >= 60 * budget

    def _steps(self) -> list[list[int]]:
        """Pieces of every step of this epoch, in an order of seed and epoch alone: a resumed run repeats it."""
        order = list(range(len(self.train)))
        if self.config.optimizer.shuffle:
            generator = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.progress.epoch)
            order = torch.randperm(len(order), generator=generator).tolist()
        size = self.config.optimizer.partitions_per_step
        return [order[k:k + size] for k in range(0, len(order), size)]

    def _step(self, chosen: Sequence[int]) -> tuple[Tensor, int]:
        """One optimiser step over several pieces; returns its error sums and number of terms."""
        loss_config = self.config.loss
        terms = self.train.n_terms(chosen, loss_config.masked)
        self.optimizer.zero_grad()
        total = torch.zeros(2, device=self.fabric.device, dtype=parameter_dtype(self.model.network))
        for k in chosen:
            total = total + self._sums(k, terms)
        loss = loss_of_sums(total, terms, loss_config)
        if not is_additive(loss_config):
            self.fabric.backward(loss)
        if not bool(torch.isfinite(loss)):
            raise NearsightError(f"expected a finite loss, got {float(loss)} at step {self.progress.step}: lower "
                                 "optimizer.learning_rate; the last checkpoint is intact")
        self.optimizer.step()
        return total.detach(), terms

    def _sums(self, k: int, terms: int) -> Tensor:
        """Error sums of one piece, whose gradient is taken at once where it can be; the piece is let go."""
        sums = part_sums(self.network, self.train[k], self.config.loss)
        if not is_additive(self.config.loss):
            return sums
        self.fabric.backward(loss_of_sums(sums, terms, self.config.loss))
        return sums.detach()

    def _finish_epoch(self) -> None:
        """Validate, step the schedule, log, keep the best."""
        p = self.progress
        loss = self._loss_of(p.epoch_sums)
        p.epoch += 1
        p.step_in_epoch, p.epoch_sums = 0, [0.0, 0.0, 0.0]
        record: Record = {"epoch": p.epoch, "step": p.step, "seconds": round(p.seconds, 3), "loss": loss,
                          "learning_rate": self.learning_rate}
        with_metrics = p.epoch % self.config.metrics_every == 0 or p.epoch == 1
        if len(self.validation):
            record |= self.validate(with_metrics)
        judged = float(record.get("validation_loss", loss))
        self.scheduler.step(judged)
        p.seconds = time.monotonic() - self._resumed_at
        self._log(record)
        if judged < p.best_loss:
            p.best_loss, p.best_epoch = judged, p.epoch
            self._save("best.safetensors")

    def _loss_of(self, sums: Sequence[float]) -> float:
        return float(loss_of_sums(torch.tensor(sums[:2], dtype=torch.float64), int(sums[2]), self.config.loss))

    @torch.no_grad()
    def validate(self, with_metrics: bool = True) -> Record:
        """Loss, and on demand ε_n, ε_e, ε_tot, of the validation pieces."""
        self.network.eval()
        errors, sums, terms = ErrorSums(), torch.zeros(2, dtype=torch.float64), 0
        for k in range(len(self.validation)):
            sums += self._validate(k, errors if with_metrics else None)
            terms += self.validation.n_terms([k], self.config.loss.masked)
        record: Record = {"validation_loss": float(loss_of_sums(sums, terms, self.config.loss))}
        return record | {f"validation_{k}": v for k, v in errors.summary().items()}

    def _validate(self, k: int, errors: ErrorSums | None) -> Tensor:
        """Error sums of one validation piece, which is let go afterwards."""
        piece = self.validation[k]
        output = piece.targets.gather(*self.network(piece.graph))
        if errors is not None:
            errors.add(output, piece.targets, self.model.layout)
        return error_sums(output, piece.targets, self.config.loss).double().cpu()

    def _save(self, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(self.folder / name, self.model, self.optimizer.optimizer, self.scheduler, self.progress)
        if name == "last.safetensors":
            self._saved_at = time.monotonic()

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
            temporary = path.with_suffix(".tmp")
            temporary.write_text("".join(line + "\n" for line in kept))
            temporary.replace(path)

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
