"""What a run of the network nearsight that holds nothing out prints, and its page."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from nearsight.api import training
from nearsight.api.reports import write_report
from nearsight.checks.linter import check_calculation
from nearsight.cli.train import train_shown
from nearsight.errors import InputError
from nearsight.learning.config import load_config
from nearsight.operators.blocks import zeros
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.report.training_log import read_training_log

DATA = Path(__file__).parents[2] / "data" / "aHfO2_96_A.h5"
SMALL = ["model.cutoff=4", "model.channels=4", "model.hidden=[4,2]", "max_epochs=2", "data.validation_slabs=0"]
SMALL += ["model.self_consistent=false"]  # the local model is enough here


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, str]:
    """Folder and output."""
    folder = tmp_path_factory.mktemp("training") / "run"
    printed = io.StringIO()
    train_shown(
        load_config("nearsight", [f"data.train=['{DATA}']", f"run_dir='{folder}'", *SMALL]),
        Console(file=printed, width=100),
    )
    return folder, printed.getvalue()


def random(calculation, basis):
    """A random H in another basis, on site."""
    atoms = np.arange(len(calculation.structure))
    none = np.zeros((len(atoms), 3), dtype=np.int64)
    operator = zeros(calculation.structure.numbers, basis, atoms, atoms, none, True)
    return operator.with_values(np.random.default_rng(0).normal(size=operator.n_values))


def test_no_validation_is_spoken_of(run):
    _, text = run
    assert "best loss" in text
    assert "2 epochs done. 2 epochs" in text
    assert "best validation" not in text


def test_the_log_and_its_page(run):
    folder, _ = run
    log = read_training_log(folder / "log.jsonl")
    assert log.epoch.tolist() == [1, 2]
    assert not log.validated
    assert not log.measured
    page = write_report(folder, None, None, None).read_text()
    assert "last training loss" in page
    assert "best validation loss" not in page


def test_faulty_data_is_refused_before_training(tmp_path):
    """H in Hartree where eV is expected; who knows better says so."""
    right = read_calculation(DATA)
    h = right.require_hamiltonian()
    write_calculation(tmp_path / "hartree.h5", replace(right, hamiltonian=h.with_values(h.values / 27.211386)))
    arguments = [f"data.train=['{tmp_path / 'hartree.h5'}']", f"run_dir='{tmp_path / 'run'}'", *SMALL]
    printed = io.StringIO()
    with pytest.raises(InputError, match=r"expected sound training data, got .*hartree.h5.*data.check=false"):
        train_shown(load_config("nearsight", arguments), Console(file=printed, width=100))
    assert "error" in printed.getvalue()
    assert not (tmp_path / "run").exists()
    train_shown(load_config("nearsight", [*arguments, "data.check=false"]), Console(file=printed, width=100))
    assert (tmp_path / "run" / "best.safetensors").is_file()


def test_data_are_read_and_checked_before_torch_is_imported(tmp_path):
    """What takes longest to be imported is not waited for; the first line comes before the first file is read."""
    code = f"""
import sys
from rich.console import Console
from nearsight.api import training
from nearsight.cli import train
from nearsight.learning.config import load_config

def stop(*arguments):
    print("torch" if "torch" in sys.modules else "no torch")
    raise SystemExit

training.check_set = stop
train.train_shown(load_config("nearsight", ["data.train=['{DATA}']", "run_dir='{tmp_path}/run'"]), Console(width=200))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second, third, last = found.stdout.splitlines()
    assert first == f"nearsight, to {tmp_path}/run: reading the data"
    assert "Hf32O64" in second
    assert third.startswith("looking for faults in 1 structure")
    assert last == "no torch"


def test_bases_that_differ_are_refused_before_structures_are_looked_at(tmp_path, monkeypatch):
    """The same element with other shells: both files are named, and nothing else is waited for."""
    known = read_calculation(DATA)
    moved = known.structure.positions + np.random.default_rng(1).normal(0, 0.3, known.structure.positions.shape)
    basis = replace(known.basis, shells={8: (0, 1), 72: (0, 0, 1)}, functions={})
    h = random(known, basis)
    small = replace(
        known, structure=replace(known.structure, positions=moved), basis=basis, hamiltonian=h, overlap=None
    )
    write_calculation(tmp_path / "small.h5", replace(small, eigenvalues=None))
    monkeypatch.setattr(training, "check_calculation", lambda *a, **k: pytest.fail("looked at"))
    arguments = [f"data.train=['{DATA}','{tmp_path / 'small.h5'}']", f"run_dir='{tmp_path / 'run'}'", *SMALL]
    with pytest.raises(InputError, match=r"expected one shells of Hf in the whole set, got .*aHfO2_96_A.h5.*small.h5"):
        train_shown(load_config("nearsight", arguments), Console(file=io.StringIO()))


def test_a_structure_is_looked_at_once(tmp_path, monkeypatch):
    """What was found is said in every run: nothing, warnings, or errors, which end it."""
    monkeypatch.setenv("NEARSIGHT_CACHE", str(tmp_path / "kept"))
    looked_at = []

    def counted(calculation, name, **settings):
        looked_at.append(name)
        return check_calculation(calculation, name, **settings)

    monkeypatch.setattr(training, "check_calculation", counted)
    right = read_calculation(DATA)
    h = right.require_hamiltonian()
    wrong = replace(right, hamiltonian=h.with_values(h.values / 27.211386))
    said = []
    for name in ("a", "b"):
        config = load_config("nearsight", [*SMALL, f"data.train=[{name}]"])
        training.check_data(config, [right], [])
        with pytest.raises(InputError, match=f"expected sound training data, got {name}: expected a lowest diagonal"):
            training.check_data(config, [wrong], [], progress=lambda event: said.append(event.message))
    assert looked_at == ["a", "a"]
    assert said[: len(said) // 2] == [text.replace("b, ", "a, ") for text in said[len(said) // 2 :]]
