"""Runs cases in a process of its own, which may hang or crash.

`python -m tests.fuzz.worker FOLDER FIRST COUNT [READER]` begins with case number FIRST. Before each case its name is
printed, after it the outcome; a case is known by reader and seed alone.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path

from nearsight.errors import NearsightError
from tests.fuzz.readers import READERS, Reader, write_seeds


def run_case(reader: Reader, seed: int, seeds: Path, folder: Path) -> str:
    """Spoil a file and read it: "refused", "accepted", or "WRONG" with what happened."""
    rng = random.Random(f"{reader.name} {seed}")
    place = folder / reader.file
    if len(Path(reader.file).parts) > 1 and not place.parent.exists():
        shutil.copytree(seeds / Path(reader.file).parent, place.parent)
    shutil.copy(seeds / reader.file, place)
    try:
        rng.choice(reader.mutations)(place, rng)
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
    if len(Path(reader.file).parts) > 1:
        shutil.copy(seeds / reader.file, place)
    return outcome


def main(folder: Path, first: int, count: int, only: str | None = None) -> None:
    """Run `count` cases from number `first` on, the readers by their weights."""
    warnings.simplefilter("ignore")
    seeds, work = folder / "seeds", folder / f"work-{os.getpid()}"
    if not seeds.exists():
        seeds.mkdir(parents=True)
        write_seeds(seeds)
    work.mkdir()
    order = [reader for reader in READERS for _ in range(reader.weight) if only in (None, reader.name)]
    random.Random(0).shuffle(order)
    for reader in order if count > 1 else []:  # what is compiled once is not counted among the seconds of a case
        if reader.name.startswith("model"):
            reader.read(seeds / reader.file)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(first, first + count):
        reader = order[seed % len(order)]
        print(f"> {reader.name} {seed}", flush=True)
        outcome = run_case(reader, seed, seeds, work)
        print("< " + outcome.replace("\n", "⏎"), flush=True)
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if now > memory + 200_000:
            print(f"+ {(now - memory) // 1000} MB", flush=True)
            memory = now


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
