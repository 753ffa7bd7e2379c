"""Running a campaign: jobs in processes of their own, begun again where they were killed, none done twice."""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from nearsight.atomic_files import remove_leftovers
from nearsight.child_process import ChildProcess, end
from nearsight.errors import ConfigError, NearsightError
from nearsight.folder_lock import locked_folder
from nearsight.operators.store import is_store
from nearsight.progress import Event, Progress, StopToken, Value, labelled, silent
from nearsight.recipes.campaign import Campaign, Task, tasks
from nearsight.recipes.cp2k_job import Cp2kJob
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.job import JobFolder, carry_out, finish, make_structure
from nearsight.recipes.program import end_with_parent

_POLL = 0.3


@dataclass(frozen=True)
class CampaignResult:
    """What became of the jobs of a campaign.

    Attributes
    ----------
    folder : Path
        The folder of the campaign.
    stores : mapping of str to Path
        The store of each job that is done, by the job's name.
    summaries : mapping of str to list of str
        What was found of each result, a line each.
    failed : mapping of str to str
        Why each job failed that did.
    unfinished : tuple of str
        The names of the jobs that were not begun or not finished, since a stop was asked for.
    """

    folder: Path
    stores: Mapping[str, Path]
    summaries: Mapping[str, list[str]]
    failed: Mapping[str, str]
    unfinished: tuple[str, ...] = ()


class CampaignRun:
    """A campaign in its folder.

    Parameters
    ----------
    campaign : Campaign
        What is made, and how.
    output : Path
        The folder of the results; made if it is not there.
    base : Path
        The folder in which the campaign's relative files are looked for.

    Raises
    ------
    ConfigError
        Where there are no such files, or two results would have the same name.
    """

    def __init__(self, campaign: Campaign, output: Path, base: Path) -> None:
        self.campaign, self.output = campaign, output
        self.tasks = tasks(campaign, base)
        self.folders = {task.name: JobFolder(output, task.name) for task in self.tasks}

    def claim(self) -> None:
        """Mark every job's folder with its settings.

        Raises
        ------
        ConfigError
            Where a job was begun with other settings.
        """
        dft = self.campaign.dft.model_dump(mode="json", exclude={"threads"})
        stored = {
            "precision": self.campaign.precision,
            "drop_below": self.campaign.drop_below,
            "resolution": self.campaign.resolution,
        }
        for task in self.tasks:
            self.folders[task.name].claim({**task.claim(), "dft": dft, **stored})

    def run(self, progress: Progress = silent, stop: StopToken | None = None) -> CampaignResult:
        """Do every job that is not done yet.

        Parameters
        ----------
        progress : callable, optional
            Told when a job's status changes, when it ends, and a few times per second how many have ended. The values
            of an event name the `job` and its `state` (running, done, failed); `seconds_left` is estimated from the
            jobs that ended in this run.
        stop : StopToken, optional
            Ends the jobs that run; the next call goes on where they were.

        Raises
        ------
        ConfigError
            Where another process works in the folder, or jobs were begun with other settings.
        """
        with self._locked():
            self.claim()
            _Jobs(self.campaign, self.tasks, self.folders).run(progress, stop or StopToken())
        return self.result()

    def result(self) -> CampaignResult:
        """Return what became of the jobs so far, as their folders have it."""
        stores = {name: folder.result for name, folder in self.folders.items() if is_store(folder.result)}
        failed = {name: folder.error for name, folder in self.folders.items() if name not in stores and folder.error}
        return CampaignResult(
            self.output,
            stores,
            {name: self.folders[name].summary for name in stores},
            failed,
            tuple(name for name in self.folders if name not in stores and name not in failed),
        )

    def write_inputs(self, progress: Progress = silent) -> list[Path]:
        """Make the structures and write inputs for another machine; returns the folders to run in.

        Parameters
        ----------
        progress : callable, optional
            Told the steps of making the structures.

        Raises
        ------
        ConfigError
            Where the campaign's code is not one that reads inputs.
        """
        settings, written = self._cp2k(), []
        with self._locked():
            self.claim()
            for task in self.tasks:
                folder = self.folders[task.name]
                if is_store(folder.result) or (folder.path / "external").exists():
                    continue
                sample = make_structure(task, folder, labelled(progress, f"{task.name}: "))
                Cp2kJob(sample.structure, settings).write(folder.path / "external")
                written.append(folder.path / "external")
        return written

    def collect(self, progress: Progress = silent) -> CampaignResult:
        """Read what ran elsewhere; jobs that are not finished or faulty are among those that failed.

        Parameters
        ----------
        progress : callable, optional
            Told the steps of reading.

        Raises
        ------
        ConfigError
            Where the campaign's code is not one that reads inputs.
        """
        settings = self._cp2k()
        with self._locked():
            self.claim()
            for task in self.tasks:
                folder = self.folders[task.name]
                if is_store(folder.result) or not (folder.path / "external").exists():
                    continue
                folder.clear_error()
                try:
                    sample = make_structure(task, folder, progress)
                    found = Cp2kJob(sample.structure, settings).collect(folder.path / "external")
                    finish(found, sample, task, self.campaign, folder, progress)
                except NearsightError as error:
                    folder.write("error.txt", str(error))
        return self.result()

    def _cp2k(self) -> Cp2kSettings:
        """Return the settings of CP2K, for which inputs can be written."""
        if not isinstance(self.campaign.dft, Cp2kSettings):
            raise ConfigError(
                f"expected dft.code=cp2k for inputs of another machine, got {self.campaign.dft.code}, "
                "which runs here: leave --write-only and --collect out"
            )
        return self.campaign.dft

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes out of the folder."""
        with locked_folder(self.output, "give another --output"):
            for folder in (self.output, *(folder.path for folder in self.folders.values())):
                remove_leftovers(folder)
            yield


@dataclass
class _Jobs:
    """The jobs of one run: which wait, run and have ended, and what has been told of them."""

    campaign: Campaign
    tasks: Sequence[Task]
    folders: Mapping[str, JobFolder]
    running: dict[str, ChildProcess] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    ended: int = 0

    def run(self, progress: Progress, stop: StopToken) -> None:
        """Do the jobs that are not done, several at a time."""
        waiting = [task for task in self.tasks if not is_store(self.folders[task.name].result)]
        self.ended = len(self.tasks) - len(waiting)
        for task in waiting:
            self.folders[task.name].clear_error()
        try:
            while (waiting or self.running) and not stop.stopped:
                while waiting and len(self.running) < self.campaign.processes:
                    self._begin(waiting.pop(0))
                for name in [n for n, process in self.running.items() if not process.alive]:
                    self._end(name, len(waiting), progress)
                self._tell(len(waiting), progress)
                time.sleep(_POLL if self.running else 0)
        finally:
            end(list(self.running.values()))

    def _begin(self, task: Task) -> None:
        folder = self.folders[task.name]
        folder.write("status.txt", "begins")
        # A fresh interpreter: threads of BLAS do not survive a fork.
        threads = {"OMP_NUM_THREADS": str(getattr(self.campaign.dft, "threads", 1))}
        self.running[task.name] = ChildProcess(_child, task, self.campaign, folder, environment=threads)
        self.begun[task.name] = time.monotonic()

    def _end(self, name: str, waiting: int, progress: Progress) -> None:
        """Note that a job has ended, and say how."""
        code = self.running.pop(name).exit_code
        self.seconds.append(time.monotonic() - self.begun[name])
        self.ended += 1
        state = "done" if self._is_done(name, code) else "failed"
        values = {"job": name, "state": state, **self._seconds_left(waiting)}
        progress(Event(f"{name}: {state}", self.ended, len(self.tasks), values))

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

    def _tell(self, waiting: int, progress: Progress) -> None:
        """Say what is new in the status of the jobs that run, and how many have ended."""
        for name in self.running:
            status = self.folders[name].status
            if status != self.told.get(name):
                self.told[name] = status
                values: dict[str, Value] = {"job": name, "state": "running", "status": status}
                progress(Event(f"{name}: {status}", self.ended, len(self.tasks), values))
        progress(Event("", self.ended, len(self.tasks), self._seconds_left(waiting)))

    def _seconds_left(self, waiting: int) -> dict[str, Value]:
        """Return the time that remains, from the median of the jobs that ended; nothing before the first."""
        if not self.seconds:
            return {}
        typical = sorted(self.seconds)[len(self.seconds) // 2]
        under_way = [max(0.0, typical - (time.monotonic() - self.begun[name])) for name in self.running]
        return {"seconds_left": (sum(under_way) + typical * waiting) / self.campaign.processes}


def _child(_: Connection, task: Task, campaign: Campaign, folder: JobFolder) -> None:
    """Carry out a job in its own process; it ends with its parent, and says why it failed."""
    end_with_parent()
    try:
        carry_out(task, campaign, folder)
    except NearsightError as error:
        folder.write("error.txt", str(error))
        raise SystemExit(1) from None
    except Exception:
        folder.write("error.txt", f"a fault of nearsight:\n{traceback.format_exc()}")
        raise SystemExit(1) from None
