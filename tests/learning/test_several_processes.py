"""Training in several processes takes the steps of one; a lost process loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from nearsight.errors import ConfigError
from nearsight.launch import Launch, launched
from nearsight.learning.config import training_config
from nearsight.learning.shares import Shares
from nearsight.learning.training import fingerprint
from nearsight.nn.loading import load_model
from nearsight.nn.processes import Processes, joined
from tests.learning.random_calculation import random_calculation
from tests.learning.test_loop import SMALL
from tests.learning.trained_together import train_one

ALL = ["squares", "rmse_mae", "bonds"]


def start(count: int, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [sys.executable, *torchrun, "-m", "tests.learning.trained_together", str(folder), *arguments]
    own = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=own, capture_output=True, text=True, timeout=600)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same_run(one: Path, other: Path, tolerance: float = 1e-9) -> None:
    first, second = log(one), log(other)
    assert [r["step"] for r in first] == [r["step"] for r in second]
    for a, b in zip(first, second):
        assert a.keys() == b.keys()
        for key in a.keys() - {"seconds"}:
            assert b[key] == pytest.approx(a[key], rel=tolerance), key
    weights = (load_model(folder / "last.safetensors").network.state_dict() for folder in (one, other))
    a, b = weights
    assert all(torch.allclose(a[k], b[k], rtol=0, atol=1e-9) for k in a)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of a process alone."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ALL:
        train_one(folder, name)
    return folder


@pytest.mark.exact
def test_two_processes_take_the_steps_of_one(alone: Path, tmp_path: Path) -> None:
    done = start(2, tmp_path, *ALL)
    assert done.returncode == 0, done.stderr
    for name in ALL:
        assert log(alone / name)[-1]["loss"] < log(alone / name)[0]["loss"]
        assert_same_run(alone / name, tmp_path / name)


def test_all_processes_divide_as_the_one_with_the_least_memory_must(tmp_path: Path) -> None:
    """A structure that fits whole into the memory of one machine and not of another is divided by both."""
    done = start(2, tmp_path, "auto", "--poor")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "auto" / "config.yaml").read_text())["partition"]["kind"] == "slabs"


@pytest.fixture(scope="module")
def left_by_kill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes of which one was killed in the step after epoch 7."""
    folder = tmp_path_factory.mktemp("killed")
    done = start(2, folder, "bonds", "--kill", "7")
    assert done.returncode not in (0, -signal.SIGKILL)
    said = [line for line in done.stderr.splitlines() if line.startswith("process 0")]
    assert len(said) == 1
    assert "one that has ended" in said[0]
    assert "the same command goes on from there" in said[0]
    assert [r["epoch"] for r in log(folder / "bonds")] == list(range(1, 8))
    return folder / "bonds"


@pytest.mark.exact
@pytest.mark.parametrize("count", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_processes_goes_on_after_a_kill(
    count: int, left_by_kill: Path, alone: Path, tmp_path: Path
) -> None:
    shutil.copytree(left_by_kill, tmp_path / "bonds")
    if count == 1:
        train_one(tmp_path, "bonds")
    else:
        done = start(count, tmp_path, "bonds")
        assert done.returncode == 0, done.stderr
    assert_same_run(alone / "bonds", tmp_path / "bonds")


def test_a_step_with_fewer_batches_than_processes_is_refused() -> None:
    shares = Shares(Costly([3, 4, 5]), Processes(torch.device("cpu"), Launch(0, 3)))
    shares.check(3)
    with pytest.raises(ConfigError, match=r"each of 3 processes, got 3 batches and optimizer.batches_per_step=2"):
        shares.check(2)


class Second(Processes):
    """The second of two processes, whose first has said something else."""

    def said_by_first(self, value: Any) -> Any:
        return "another"


def test_processes_with_other_data_are_refused(tmp_path: Path) -> None:
    second = Second(torch.device("cpu"), Launch(1, 2))
    second.check_same("another", "data")
    with pytest.raises(ConfigError, match="expected the data of the first process in all 2, got another in process 1"):
        second.check_same("own", "data")


def test_a_fingerprint_sees_configuration_atoms_and_matrices(tmp_path: Path) -> None:
    config, own = training_config({**SMALL, "run_dir": str(tmp_path)}), random_calculation()
    same = fingerprint(config, [random_calculation()])
    assert fingerprint(config, [own]) == same
    values = own.hamiltonian.values.copy()
    values[7] += 1e-9
    others = [
        (config.model_copy(update={"seed": 1}), own),
        (config, replace(own, hamiltonian=own.hamiltonian.with_values(values))),
        (config, replace(own, structure=own.structure.translated([1e-9, 0, 0]))),
    ]
    assert same not in {fingerprint(c, [data]) for c, data in others}


class Costly(list):
    """Batches whose number of terms is their cost."""

    def n_terms(self, chosen: list[int]) -> int:
        return sum(self[k] for k in chosen)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_whole_batches_are_shared_evenly_and_each_is_computed_once(count: int) -> None:
    costs = Costly(np.random.default_rng(count).integers(1, 100, 23).tolist())
    shares = [Shares(costs, Processes(torch.device("cpu"), Launch(rank, count))) for rank in range(count)]
    order = np.random.default_rng(1).permutation(23).tolist()
    chosen = [share._whole(order) for share in shares]
    assert sorted(k for own in chosen for k in own) == list(range(23))
    assert [k for k in order if k in chosen[0]] == chosen[0]
    loads = [costs.n_terms(own) for own in chosen]
    assert max(loads) - min(loads) <= max(costs)
    assert max(loads) < 1.1 * sum(costs) / count


def test_the_place_of_a_process_is_what_torchrun_says() -> None:
    assert launched({}) == Launch(0, 1, 0, 1)
    said = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
    assert launched(said) == Launch(5, 8, 1, 4)
    # Tasks of SLURM alone are no launch: one process trains, as the user started it.
    assert launched({"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}) == Launch()
    for wrong in ({"RANK": "8"}, {"RANK": "-1"}, {"WORLD_SIZE": "eight"}, {"LOCAL_RANK": "4"}):
        with pytest.raises(ConfigError, match="expected numbers of processes"):
            launched(said | wrong)


@pytest.mark.parametrize("port", [None, "", "no", "70000"])
def test_processes_that_do_not_know_where_to_meet_are_refused(
    monkeypatch: pytest.MonkeyPatch, port: str | None
) -> None:
    """A script of a batch system may set RANK and WORLD_SIZE for other programs."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    refused = pytest.raises(ConfigError, match=r"expected MASTER_ADDR and MASTER_PORT, where .* start them by torchrun")
    with refused, joined(torch.device("cpu")):
        pass
