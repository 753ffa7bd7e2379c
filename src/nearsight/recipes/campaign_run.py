"""Running a campaign: jobs in processes of their own, begun again where they were killed, none done twice."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from nearsight.errors import ConfigError, NearsightError
from nearsight.operators.store import is_store
from nearsight.recipes.campaign import Campaign, Task, tasks
from nearsight.recipes.cp2k_job import Cp2kJob
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.job import carry_out, finish, make_structure
from nearsight.recipes.job_folder import JobFolder
from nearsight.recipes.program import end_with_parent

_POLL = 0.3


@dataclass(frozen=True)
class Progress:
    """Where a campaign stands.

    Attributes:
        running: name and status of each job under way.
        done: names of finished jobs, in the order in which they ended; those of earlier runs first.
        failed: names of jobs that failed.
        total: number of jobs.
        left: seconds that remain, estimated from the jobs that ended in this run; None before the first.
    """

    running: tuple[tuple[str, str], ...]
    done: tuple[str, ...]
    failed: tuple[str, ...]
    total: int
    left: float | None


Report = Callable[[Progress], None]


class CampaignRun:
    """A campaign in its folder.

    Args:
        campaign: what to do.
        output: folder of the results; made if it is not there.
        base: where the campaign's relative files are looked for.

    Raises:
        ConfigError: no such files, or jobs that were begun with other settings.
    """

    def __init__(self, campaign: Campaign, output: Path, base: Path) -> None:
        self.campaign, self.output = campaign, output
        self.tasks = tasks(campaign, base)
        self.folders = {task.name: JobFolder(output, task.name) for task in self.tasks}

    def claim(self) -> None:
        """Mark every job's folder with its settings."""
        dft = self.campaign.dft.model_dump(mode="json", exclude={"threads"})
        stored = {
            "precision": self.campaign.precision,
            "drop_below": self.campaign.drop_below,
            "resolution": self.campaign.resolution,
        }
        for task in self.tasks:
            self.folders[task.name].claim({**task.claim(), "dft": dft, **stored})

    def run(self, report: Report = lambda progress: None) -> list[str]:
        """Do what is left; returns the names of the jobs that failed.

        Raises:
            ConfigError: another process works in this folder.
        """
        with self._locked():
            self.claim()
            left = [task for task in self.tasks if not is_store(self.folders[task.name].result)]
            done = [task.name for task in self.tasks if task not in left]
            return self._run(left, done, report)

    def write_inputs(self, report: Callable[[str], None] = lambda text: None) -> list[Path]:
        """Make the structures and write inputs for another machine; returns the folders to run in.

        Raises:
            ConfigError: an engine that has no inputs.
        """
        settings, written = self._cp2k(), []
        with self._locked():
            self.claim()
            for task in self.tasks:
                folder = self.folders[task.name]
                if is_store(folder.result) or (folder.path / "external").exists():
                    continue
                sample = make_structure(task, folder, lambda text, n=task.name: report(f"{n}: {text}"))  # type: ignore[misc]
                Cp2kJob(sample.structure, settings).write(folder.path / "external")
                written.append(folder.path / "external")
        return written

    def collect(self, report: Callable[[str], None] = lambda text: None) -> tuple[list[str], list[str]]:
        """Read what ran elsewhere; returns the jobs that were read, and those that are not finished or faulty.

        Raises:
            ConfigError: an engine that has no inputs.
        """
        settings = self._cp2k()
        read: list[str] = []
        left: list[str] = []
        with self._locked():
            self.claim()
            for task in self.tasks:
                folder = self.folders[task.name]
                if is_store(folder.result) or not (folder.path / "external").exists():
                    continue
                try:
                    sample = make_structure(task, folder, report)
                    found = Cp2kJob(sample.structure, settings).collect(folder.path / "external")
                    finish(found, sample, task, self.campaign, folder, report)
                    read.append(task.name)
                except NearsightError as error:
                    folder.write("error.txt", str(error))
                    left.append(task.name)
        return read, left

    def _cp2k(self) -> Cp2kSettings:
        if not isinstance(self.campaign.dft, Cp2kSettings):
            raise ConfigError(
                f"expected dft.code=cp2k for inputs of another machine, got {self.campaign.dft.code}, "
                "which runs here: leave --write-only and --collect out"
            )
        return self.campaign.dft

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.output.mkdir(parents=True, exist_ok=True)
        with (self.output / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(
                    f"expected {self.output} to be free, got another nearsight at work in it; wait "
                    "for it, or give another --output"
                ) from error
            yield

    def _run(self, waiting: list[Task], done: list[str], report: Report) -> list[str]:
        running: dict[str, BaseProcess] = {}
        begun: dict[str, float] = {}
        took: list[float] = []
        failed: list[str] = []
        try:
            while waiting or running:
                while waiting and len(running) < self.campaign.processes:
                    task = waiting.pop(0)
                    running[task.name], begun[task.name] = self._begin(task), time.monotonic()
                for name in [n for n, process in running.items() if not process.is_alive()]:
                    code = running.pop(name).exitcode
                    took.append(time.monotonic() - begun[name])
                    (done if self._is_done(name, code) else failed).append(name)
                left = self._left(took, begun, list(running), len(waiting))
                report(self._progress(running, done, failed, left))
                time.sleep(_POLL if running else 0)
        finally:
            _end(list(running.values()))
        return failed

    def _begin(self, task: Task) -> BaseProcess:
        folder = self.folders[task.name]
        folder.clear_error()
        folder.write("status.txt", "begins")
        # A fresh interpreter: torch and BLAS threads do not survive a fork.
        process = multiprocessing.get_context("spawn").Process(target=_child, args=(task, self.campaign, folder))
        with _threads(getattr(self.campaign.dft, "threads", 1)):
            process.start()
        return process

    def _is_done(self, name: str, code: int | None) -> bool:
        folder = self.folders[name]
        if is_store(folder.result):
            return True
        if not folder.error:
            folder.write(
                "error.txt",
                f"expected the job to end well, got exit code {code} of its process; was it "
                "killed (memory)? Run the same command again.",
            )
        return False

    def _left(self, took: Sequence[float], begun: dict[str, float], running: list[str], waiting: int) -> float | None:
        if not took:
            return None
        typical = sorted(took)[len(took) // 2]
        under_way = [max(0.0, typical - (time.monotonic() - begun[name])) for name in running]
        return (sum(under_way) + typical * waiting) / self.campaign.processes

    def _progress(
        self, running: dict[str, BaseProcess], done: list[str], failed: list[str], left: float | None
    ) -> Progress:
        states = tuple((name, self.folders[name].status) for name in running)
        return Progress(states, tuple(done), tuple(failed), len(self.tasks), left)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    """The environment of a process that is started now: libraries read it when they are loaded."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _child(task: Task, campaign: Campaign, folder: JobFolder) -> None:
    """A job in its own process; it ends with its parent, and says why it failed."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        carry_out(task, campaign, folder)
    except NearsightError as error:
        folder.write("error.txt", str(error))
        raise SystemExit(1) from None
    except Exception:
        folder.write("error.txt", f"a fault of nearsight:\n{traceback.format_exc()}")
        raise SystemExit(1) from None


def _end(processes: Sequence[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(10)
        if process.is_alive():
            process.kill()
