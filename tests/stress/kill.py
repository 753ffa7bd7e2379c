"""Kill commands at random moments (kill -9) and look at what is left.

    python -m tests.stress.kill --seed 1 --import 80 --report 60 --predict 80 --train 80 --generate 20 --transport 60

After every kill each file under its final name must be the old one or a complete new one. After the next run of the
same command the result must be that of an undisturbed run, and no temporary file may be left. Prints a line of JSON for
each kind of command; exit code 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

import nearsight as ns
from nearsight.operators.hdf5_content import content_hash
from tests.quantum_transport.test_sweep import resonant

ROOT = Path(__file__).parents[2]
SILICON = ROOT / "data" / "silicon_2.h5"
KNOWN = ROOT / "tests" / "data" / "version_0_1_0"
SMALL = "max_epochs=6 budget_minutes=null checkpoint_seconds=0.01 validation_every=2 data.check=false"
CAMPAIGN = """structures:
  - {name: a, files: [a.xyz], cell: none}
  - {name: b, files: [b.xyz], cell: none}
dft: {code: pyscf, basis: sto-3g}
"""
JUNCTION = """device: device.h5
layer: 1.0
energies: {start: -0.3, end: 0.3, step: 0.03, adaptive: null}
biases: [0.1]
temperature: 100
local: true
"""


@dataclass
class Case:
    """A command with what it makes.

    Attributes
    ----------
    words : list of str
        The command, run in a folder of its own.
    prepare : callable
        Puts inputs and older results into a folder.
    result : callable
        What the finished folder holds, for comparison; raises where something is damaged.
    check : callable
        Looks at the folder right after a kill; the text says what is wrong.
    """

    words: list[str]
    prepare: Callable[[Path], None]
    result: Callable[[Path], object]
    check: Callable[[Path], Iterator[str]]
    counts: dict[str, int] = field(default_factory=dict)


def preload() -> None:
    """Import what the commands import, so that a fork of this process is one that has just started."""
    import torch

    from nearsight.api import models, reports  # noqa: F401
    from nearsight.cli.main import COMMANDS, load_command
    from nearsight.quantum_transport import sweep

    sweep.SAVE_EVERY = 0.0  # so that kills fall into the writing of points, too
    torch.set_num_threads(1)
    for name in COMMANDS:
        load_command(name)


def start(words: list[str], folder: Path) -> int:
    """Run a command in a child process, its output in a file; returns the process id."""
    child = os.fork()
    if child:
        return child
    status = 99
    try:
        os.setsid()
        os.chdir(folder)
        out = os.open(folder.parent / f"{folder.name}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["nearsight", *words]
        from nearsight.cli.main import main

        main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os._exit(status)


def finish(words: list[str], folder: Path) -> float:
    """Run a command to its end; returns its seconds."""
    began = time.monotonic()
    _, status = os.waitpid(start(words, folder), 0)
    if status:
        raise RuntimeError(f"{words}: status {status}: {(folder.parent / f'{folder.name}.out').read_text()[-2000:]}")
    return time.monotonic() - began


def leftovers(folder: Path) -> list[str]:
    """Temporary files and locks below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.name.endswith(".tmp") or p.name == ".lock")


def campaign(case: Case, number: int, folder: Path, dice: random.Random) -> dict[str, object]:
    """Kill a command `number` times."""
    whole = folder / "whole"
    whole.mkdir()
    case.prepare(whole)
    seconds = finish(case.words, whole)
    expected, wrong = case.result(whole), []
    killed = ended = left = k = 0
    again = folder / "again"
    again.mkdir()
    case.prepare(again)
    seconds = min(seconds, finish(case.words, again))
    while killed < number:
        k += 1
        own = folder / f"kill_{k}"
        own.mkdir()
        case.prepare(own)
        process = start(case.words, own)
        time.sleep(dice.uniform(0.0, seconds))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        killed, ended = killed + os.WIFSIGNALED(status), ended + os.WIFEXITED(status)
        time.sleep(0.05)
        left += bool(leftovers(own))
        wrong += [f"kill {k}: {text}" for text in case.check(own)]
        try:
            finish(case.words, own)
            if case.result(own) != expected:
                wrong.append(f"kill {k}: another result")
        except Exception as error:
            wrong.append(f"kill {k}: {error!r}")
        wrong += [f"kill {k}: left {name}" for name in leftovers(own)]
        shutil.rmtree(own, ignore_errors=True)
    return {
        "killed": killed,
        "ended_before": ended,
        "seconds": round(seconds, 2),
        "left_by_kill": left,
        "wrong": len(wrong),
        "first": wrong[:3],
    }


def matrices(path: Path) -> str:
    """A hash of the matrices of a store."""
    from nearsight.operators.store import read_calculation

    found, digest = read_calculation(path), hashlib.sha256()
    for operator in (found.hamiltonian, found.overlap, found.h0):
        if operator is not None:
            digest.update(np.ascontiguousarray(operator.values).tobytes())
    return digest.hexdigest()


def tensors(path: Path) -> str:
    """A hash of the weights of a model."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, values in sorted(load_file(path).items()):
        digest.update(name.encode() + values.tobytes())
    return digest.hexdigest()


def replaced(
    name: str, read: Callable[[Path], object], old: object, new: Callable[[], object]
) -> Callable[..., object]:
    """A check that a file is the old or the new one."""

    def check(folder: Path) -> Iterator[str]:
        try:
            if read(folder / name) not in (old, new()):
                yield f"{name} is neither old nor new"
        except Exception as error:
            yield f"{name}: {error!r}"

    return check


def cases(folder: Path) -> dict[str, Case]:
    """The commands."""
    old_store, old_page = KNOWN / "calculation.h5", "<!doctype html>old"

    def with_store(own: Path) -> None:
        shutil.copy(old_store, own / "out.h5")

    def with_page(own: Path) -> None:
        (own / "out.html").write_text(old_page)

    def page(path: Path) -> str:
        return path.read_text()

    def run_is_sound(own: Path) -> Iterator[str]:
        run = own / "run"
        for name in ("best.safetensors", "last.safetensors"):
            if (run / name).exists():
                try:
                    tensors(run / name)
                except Exception as error:
                    yield f"{name}: {error!r}"
        lines = (run / "log.jsonl").read_text().splitlines() if (run / "log.jsonl").exists() else []
        for line in lines:
            json.loads(line)
        if (run / "last.safetensors").exists() and not (run / "config.yaml").exists():
            yield "a checkpoint without a configuration"

    def trained(own: Path) -> object:
        log = [json.loads(line) for line in (own / "run" / "log.jsonl").read_text().splitlines()]
        return tensors(own / "run" / "best.safetensors"), [(r["epoch"], r["loss"]) for r in log]

    def molecules(own: Path) -> None:
        for name, length in (("a", 0.74), ("b", 0.80)):
            (own / f"{name}.xyz").write_text(f"2\n\nH 0 0 0\nH 0 0 {length}\n")
        (own / "campaign.yaml").write_text(CAMPAIGN)

    def stores(own: Path) -> object:
        return {p.name: matrices(p) for p in (own / "out").glob("*.h5")}

    def stores_are_sound(own: Path) -> Iterator[str]:
        try:
            stores(own)
        except Exception as error:
            yield repr(error)

    def junction(own: Path) -> None:
        ns.write(own / "device.h5", resonant(0.1))
        (own / "junction.yaml").write_text(JUNCTION)

    def transmitted(own: Path) -> object:
        names = ("transmission.csv", "transport.json", "report.html")
        return [(own / "out" / name).read_text() for name in names]

    def points_are_sound(own: Path) -> Iterator[str]:
        points = own / "out" / "points.h5"
        if not points.exists():
            return
        with h5py.File(points) as file:
            if file.attrs["sha256"] != content_hash(file):
                yield "points.h5 is not what was written"

    whole = {name: folder / name / "whole" for name in ("import", "report", "predict")}
    return {
        "import": Case(
            f"import {SILICON} -o out.h5".split(),
            with_store,
            lambda own: matrices(own / "out.h5"),
            replaced("out.h5", matrices, matrices(old_store), lambda: matrices(whole["import"] / "out.h5")),
        ),
        "report": Case(
            f"report {SILICON} --reference {SILICON} -o out.html".split(),
            with_page,
            lambda own: page(own / "out.html"),
            replaced("out.html", page, old_page, lambda: page(whole["report"] / "out.html")),
        ),
        "predict": Case(
            f"predict {KNOWN / 'nearsight'} {old_store} -o out.h5 --threads 1".split(),
            with_store,
            lambda own: matrices(own / "out.h5"),
            replaced("out.h5", matrices, matrices(old_store), lambda: matrices(whole["predict"] / "out.h5")),
        ),
        "train": Case(
            ["train", "nearsight", f"data.train=[{old_store}]", "run_dir=run", "--threads", "1", *SMALL.split()],
            lambda own: None,
            trained,
            run_is_sound,
        ),
        "generate": Case(["generate", "campaign.yaml", "--output", "out"], molecules, stores, stores_are_sound),
        "transport": Case(["transport", "junction.yaml", "-o", "out"], junction, transmitted, points_are_sound),
    }


def main() -> None:
    """Run the campaigns that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    numbers = {"import": 80, "report": 60, "predict": 80, "train": 80, "generate": 20, "transport": 60}
    for name, number in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=number)
    arguments = vars(parser.parse_args())
    preload()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        for name, case in cases(Path(place)).items():
            if not arguments[name]:
                continue
            (Path(place) / name).mkdir()
            found = campaign(case, arguments[name], Path(place) / name, random.Random(arguments["seed"]))
            print(json.dumps({"command": name, **found}), flush=True)
            bad += int(str(found["wrong"]))
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
