"""Runs many cases in workers, and tells what became of them.

`python -m tests.fuzz.campaign FOLDER FIRST COUNT WORKERS` begins with case number FIRST.

A worker that computes for ten seconds in silence hangs, and one that ends before its last case has crashed; both are
found out here, and the next worker goes on after the case.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import os
import selectors
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from tests.fuzz.readers import write_seeds

SILENCE = 10.0
"""Seconds of processor time that one case may take."""
_PATIENCE = 120.0


@dataclasses.dataclass
class Outcome:
    """What became of the cases.

    Attributes
    ----------
    counts : Counter of (str, str)
        By reader and "refused", "accepted" or "wrong".
    wrong : list of str
        What should not have happened, with reader and seed.
    memory : int
        MB by which the largest worker grew.
    """

    counts: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    memory: int = 0

    def table(self) -> str:
        """Counts, a line for each reader."""
        readers = sorted({reader for reader, _ in self.counts})
        kinds = ("refused", "accepted", "wrong")
        return "\n".join(f"{r:24}" + "".join(f"{k} {self.counts[r, k]:7}  " for k in kinds) for r in readers)


def run(folder: Path, first: int, count: int, workers: int = 1) -> Outcome:
    """Run cases `first` to `first + count`."""
    outcome, lock = Outcome(), threading.Lock()
    if not (folder / "seeds").exists():
        (folder / "seeds").mkdir(parents=True)
        write_seeds(folder / "seeds")
    bounds = [first + count * k // workers for k in range(workers + 1)]
    threads = [
        threading.Thread(target=_run_part, args=(folder, a, b, outcome, lock)) for a, b in itertools.pairwise(bounds)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def _run_part(folder: Path, first: int, end: int, outcome: Outcome, lock: threading.Lock) -> None:
    while first < end:
        first = _run_worker(folder, first, end, outcome, lock)


def _run_worker(folder: Path, first: int, end: int, outcome: Outcome, lock: threading.Lock) -> int:
    """Run one worker to its end, and return the number of the next case."""
    command = [sys.executable, "-m", "tests.fuzz.worker", str(folder), str(first), str(end - first)]
    reader, seed, grown = "start", first - 1, 0
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
        selectors.DefaultSelector() as selector,
    ):
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        selector.register(process.stdout, selectors.EVENT_READ)
        rest, open_case, waited, before = b"", False, 0.0, 0.0
        while True:
            if not selector.select(SILENCE):
                waited += SILENCE
                if waited < _PATIENCE and (reader == "start" or _cpu_seconds(process.pid) - before < SILENCE):
                    continue  # the machine is busy with something else
                process.kill()
                with lock:
                    outcome.wrong.append(f"{reader} {seed}: hangs")
                    outcome.counts[reader, "wrong"] += 1
                return seed + 1
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                break
            waited, before = 0.0, _cpu_seconds(process.pid)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                text = line.decode(errors="replace")
                if text.startswith("> "):
                    reader, number = text[2:].rsplit(" ", 1)
                    seed, open_case = int(number), True
                elif text.startswith("< "):
                    open_case = False
                    kind = text[2:].split(" ")[0].lower()
                    with lock:
                        outcome.counts[reader, kind] += 1
                        if kind == "wrong":
                            outcome.wrong.append(f"{reader} {seed}: {text[2:2000]}")
                elif text.startswith("+ "):
                    grown += int(text.split(" ")[1])
                    with lock:
                        outcome.memory = max(outcome.memory, grown)
    if open_case or seed < end - 1:
        with lock:
            outcome.wrong.append(f"{reader} {seed}: crashed with {process.returncode}")
            outcome.counts[reader, "wrong"] += 1
        return seed + 1
    return end


def _cpu_seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


if __name__ == "__main__":
    found = run(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    print(found.table())
    print(f"{sum(found.counts.values())} cases, {len(found.wrong)} wrong, workers grew by up to {found.memory} MB")
    for line in found.wrong[:200]:
        print(line.replace("⏎", "\n    "))
