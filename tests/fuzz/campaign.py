"""Runs many cases in workers, tells what became of them, and goes on where it was stopped.

`python -m tests.fuzz.campaign FOLDER --first N --count N --workers N --state FILE` runs cases from number N on, in
blocks. Finished blocks stand in the state; the next call with it runs the others, and again those that went wrong.

A worker that computes for ten seconds with one case hangs, and one that ends before its last case has crashed; both are
found out here, and another worker goes on after the case. FOLDER is best one in memory (/dev/shm).
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import mmap
import queue
import selectors
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from nearsight.atomic_files import write_text_atomically
from tests.fuzz.seeds import write_seeds

SILENCE = 10.0
"""Seconds of processor time that one case may take."""
_PATIENCE = 180.0
"""Seconds that one case may take where the machine does something else."""
BLOCK = 1000
KINDS = ("refused", "accepted", "wrong")


@dataclasses.dataclass
class Outcome:
    """What became of the cases.

    Attributes
    ----------
    first, count : int
        The cases that were asked for.
    finished : list of (int, int)
        Blocks that are done: number of the first case, and how many.
    readers : dict
        By reader: cases refused, accepted and wrong; seconds in all and of the slowest; MB that one case took at most.
    wrong : list of str
        What should not have happened, with reader and number of the case.
    mended : list of str
        What once was wrong and is not any more.
    grown, probe : int
        MB by which the largest worker grew; MB of the process that tries HDF5 files.
    """

    first: int = 0
    count: int = 0
    finished: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    readers: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    wrong: list[str] = dataclasses.field(default_factory=list)
    mended: list[str] = dataclasses.field(default_factory=list)
    grown: int = 0
    probe: int = 0

    @property
    def done(self) -> int:
        """Cases that were run."""
        return int(sum(own[kind] for own in self.readers.values() for kind in KINDS))

    def add(self, first: int, count: int, answer: dict[str, Any]) -> None:
        """Add what a worker says of a block."""
        self.finished.append((first, count))
        for name, new in answer["readers"].items():
            own = self.readers.setdefault(name, dict.fromkeys(new, 0))
            for key, value in new.items():
                own[key] = max(own[key], value) if key in ("slowest", "MB") else own[key] + value
        self.wrong += answer["wrong"]
        self.grown, self.probe = max(self.grown, answer["grown"]), max(self.probe, answer["probe"])

    def table(self) -> str:
        """Counts, a line for each reader."""
        lines = [f"{'':24}{'refused':>9}{'accepted':>9}{'wrong':>7}{'ms each':>9}{'slowest s':>10}{'MB':>6}"]
        for name, own in sorted(self.readers.items()):
            cases = sum(own[kind] for kind in KINDS)
            lines.append(
                f"{name:24}{own['refused']:9.0f}{own['accepted']:9.0f}{own['wrong']:7.0f}"
                f"{1e3 * own['seconds'] / max(cases, 1):9.2f}{own['slowest']:10.2f}{own['MB']:6.0f}"
            )
        return "\n".join(lines)


def run(folder: Path, first: int, count: int, workers: int = 1, state: Path | None = None) -> Outcome:
    """Run cases `first` to `first + count`, but for those that the state says to be done."""
    outcome, lock = _begun(state) or Outcome(first, count), threading.Lock()
    if not (folder / "seeds").exists():
        (folder / "seeds").mkdir(parents=True)
        write_seeds(folder / "seeds")
    blocks: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
    again = [int(line.split(":")[0].split(" ")[-1]) for line in outcome.wrong]
    said, outcome.wrong = outcome.wrong, []
    for block in [*((number, 1) for number in again), *_left(outcome)]:
        blocks.put(block)

    def keep() -> None:
        if state is not None:
            write_text_atomically(state, json.dumps(dataclasses.asdict(outcome), indent=1))

    def work() -> None:
        worker: _Worker | None = None
        while not blocks.empty():
            try:
                begin, length = blocks.get_nowait()
            except queue.Empty:
                break
            worker = worker or _Worker(folder)
            answer, failed = worker.block(begin, length)
            with lock:
                if answer is not None:
                    repeated = begin in again and length == 1
                    if repeated:
                        outcome.wrong += answer["wrong"]
                        outcome.mended += [] if answer["wrong"] else [said[again.index(begin)]]
                    else:
                        outcome.add(begin, length, answer)
                else:
                    worker = None
                    outcome.wrong.append(failed.text)
                    own = outcome.readers.setdefault(failed.reader, dict.fromkeys((*KINDS, *MEASURES), 0))
                    own["wrong"] += 1
                    outcome.finished.append((failed.number, 1))
                    for part in (
                        (begin, failed.number - begin),
                        (failed.number + 1, begin + length - failed.number - 1),
                    ):
                        if part[1] > 0:
                            blocks.put(part)
                keep()
        if worker is not None:
            worker.end()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


MEASURES = ("seconds", "slowest", "MB")


def _begun(state: Path | None) -> Outcome | None:
    if state is None or not state.exists():
        return None
    known = Outcome(**json.loads(state.read_text()))
    known.finished = [(first, count) for first, count in known.finished]
    return known


def _left(outcome: Outcome) -> list[tuple[int, int]]:
    """Blocks of cases that are not done."""
    result, at, end = [], outcome.first, outcome.first + outcome.count
    for first, count in [*sorted(outcome.finished), (end, 0)]:
        while at < first:
            length = min(BLOCK, first - at)
            result.append((at, length))
            at += length
        at = max(at, first + count)
    return result


@dataclasses.dataclass
class _Failed:
    """A case at which a worker ended."""

    number: int
    reader: str
    text: str


class _Worker:
    """A process that runs blocks of cases."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.fuzz.worker", str(folder)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError(f"expected a worker that begins, got none; try {' '.join(command)} 0 1")
        with open(folder / f"case-{self.process.pid}", "r+b") as file:
            self._shared = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    @property
    def _number(self) -> int:
        return ctypes.c_int64.from_buffer_copy(self._shared[:8]).value

    def block(self, first: int, count: int) -> tuple[dict[str, Any] | None, _Failed]:
        """The answer to a block, or the case at which it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{first} {count}\n")
        self.process.stdin.flush()
        seen, since, used = -1, time.monotonic(), 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not selector.select(1.0):
                number = self._number
                if number != seen:
                    seen, since, used = number, time.monotonic(), _cpu_seconds(self.process.pid)
                elif (
                    _cpu_seconds(self.process.pid) - used > SILENCE or time.monotonic() - since > _PATIENCE
                ) and number >= first:
                    self.end()
                    return None, self._failed(number, "hangs")
        line = self.process.stdout.readline()
        if line:
            return json.loads(line), _Failed(-1, "", "")
        self.process.wait()
        return None, self._failed(max(self._number, first), f"crashed with {self.process.returncode}")

    def _failed(self, number: int, what: str) -> _Failed:
        from tests.fuzz.worker import in_order

        order = in_order()
        reader = order[number % len(order)].name
        return _Failed(number, reader, f"{reader} {number}: {what}")

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def main() -> None:
    """Run a campaign, or go on with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=BLOCK)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--state", type=Path)
    given = parser.parse_args()
    began = time.monotonic()
    found = run(given.folder, given.first, given.count, given.workers, given.state)
    print(found.table())
    print(
        f"{found.done} cases from {found.first} on, {len(found.wrong)} wrong, {len(found.mended)} mended; workers grew "
        f"by up to {found.grown} MB, the process that tries HDF5 has {found.probe} MB; {time.monotonic() - began:.0f} s"
    )
    for line in found.wrong[:200]:
        print(line)


if __name__ == "__main__":
    main()
