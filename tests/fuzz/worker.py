"""Runs cases in a process of its own, which may hang or crash.

`python -m tests.fuzz.worker FOLDER FIRST COUNT` runs some cases and prints what became of each. With `FOLDER` alone,
blocks of cases are asked for on the standard input (`FIRST COUNT`), and the answer to each is a line of JSON. The
number of the case under way stands in the file `FOLDER/case-PID`, where the parent finds it when it waits too long.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import resource
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from nearsight.errors import NearsightError
from nearsight.formats import ase_files
from nearsight.operators import hdf5_probe
from tests.fuzz.readers import READERS, Reader
from tests.fuzz.seeds import write_seeds


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


def run_case(reader: Reader, seed: int, seeds: Path, folder: Path) -> str:
    """Spoil a file and read it: "refused", "accepted", or "WRONG" with what happened."""
    rng = random.Random(f"{reader.name} {seed}")
    place, beside = folder / reader.file, Path(reader.file).parent
    if not place.parent.exists():
        place.parent.mkdir()
        for other in (seeds / beside).iterdir():
            (place.parent / other.name).write_bytes(_content(other))
    place.write_bytes(_content(seeds / reader.file))
    try:
        rng.choice(reader.mutations)(place, rng)
        os.utime(place, ns=(seed, seed))  # clocks of file systems are slower than cases, and answers are kept by them
        found = reader.read(place)
    except NearsightError as error:
        said = str(error)
        outcome = "refused" if place.name in said or str(folder) in said else f"WRONG no path in: {said[:300]}"
    except Exception:
        outcome = "WRONG " + traceback.format_exc()
    else:
        try:
            reader.audit(found)
            outcome = "accepted"
        except Exception:
            outcome = "WRONG content " + traceback.format_exc()
    if place.parent != folder:
        place.write_bytes(_content(seeds / reader.file))
    return outcome


def in_order() -> list[Reader]:
    """The readers by their shares, mixed; case n is one of number n modulo their total."""
    order = [reader for reader in READERS for _ in range(reader.share)]
    random.Random(0).shuffle(order)
    return order


@contextmanager
def _number_of_case(folder: Path) -> Iterator[Any]:
    """A number that another process can read at any time."""
    with open(folder / f"case-{os.getpid()}", "w+b") as file:
        file.truncate(mmap.PAGESIZE)
        with mmap.mmap(file.fileno(), mmap.PAGESIZE) as shared:
            number = ctypes.c_int64.from_buffer(shared)
            number.value = -1
            yield number
            del number


def _peak_of_probe() -> int:
    """MB that the processes which try HDF5 files, and run ASE, have had at most."""
    peak = 0
    for process in (hdf5_probe.PROCESS, ase_files.PROCESS):
        try:
            text = Path(f"/proc/{process.pid}/status").read_text() if process.pid else ""
        except OSError:
            continue
        peak = max([peak, *(int(line.split()[1]) // 1000 for line in text.splitlines() if line.startswith("VmHWM"))])
    return peak


def run_block(order: list[Reader], seeds: Path, work: Path, first: int, count: int, number: Any) -> dict[str, Any]:
    """Run cases `first` to `first + count`, and count them by reader."""
    readers: dict[str, dict[str, float]] = {}
    wrong, peak = [], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = peak
    for seed in range(first, first + count):
        reader = order[seed % len(order)]
        own = readers.setdefault(
            reader.name, {"refused": 0, "accepted": 0, "wrong": 0, "seconds": 0.0, "slowest": 0.0, "MB": 0}
        )
        began, number.value = time.perf_counter(), seed
        outcome = run_case(reader, seed, seeds, work)
        seconds, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        own["seconds"] += seconds
        own["slowest"] = max(own["slowest"], seconds)
        own["MB"] = max(own["MB"], (now - peak) // 1000)
        peak = max(peak, now)
        own[outcome.split(" ")[0].lower()] += 1
        if outcome.startswith("WRONG"):
            wrong.append(f"{reader.name} {seed}: {outcome[6:3000]}")
    number.value = -1
    return {"readers": readers, "wrong": wrong, "grown": (peak - start) // 1000, "probe": _peak_of_probe()}


def main(folder: Path, first: int | None = None, count: int = 1) -> None:
    """Run the cases that are asked for."""
    warnings.simplefilter("ignore")
    seeds, work, order = folder / "seeds", folder / f"work-{os.getpid()}", in_order()
    if not seeds.exists():
        seeds.mkdir(parents=True)
        write_seeds(seeds)
    work.mkdir()
    if first is not None:
        for seed in range(first, first + count):
            reader = order[seed % len(order)]
            print(f"{reader.name} {seed}: {run_case(reader, seed, seeds, work)}", flush=True)
        return
    for reader in READERS:  # what is imported and compiled once is not counted among the seconds of a case
        run_case(reader, 0, seeds, work)
    with _number_of_case(folder) as number:
        print("ready", flush=True)
        for line in sys.stdin:
            begin, length = map(int, line.split())
            print(json.dumps(run_block(order, seeds, work, begin, length, number)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
