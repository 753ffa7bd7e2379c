"""What a run of the network nearsight that holds nothing out prints, and its page."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from nearsight.api.reports import write_report
from nearsight.cli.train import train_shown
from nearsight.errors import InputError
from nearsight.learning.config import load_config
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
