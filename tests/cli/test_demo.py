"""The demo, shortened to seconds on a small structure: it ends with numbers and a page of both networks."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from nearsight.cli import demo as demo_module
from nearsight.cli import train as train_module
from nearsight.cli.demo import data_folder, demo_config, run_demo, ways_to_predict
from nearsight.learning.training import TrainingResult
from nearsight.nn.architectures.nearsight.config import NearsightConfig

MINUTES = 0.05
SMALL = "aHfO2_96_A.h5"


def demo(folder: Path, minutes: float = MINUTES, only: str | None = None) -> str:
    """What the demo prints, with 96 atoms to train and to test on."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "TRAIN", SMALL)
        patch.setattr(demo_module, "TEST", SMALL)
        run_demo(minutes, folder, 42, Console(file=printed, width=100), only)
    return printed.getvalue()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, str]:
    """Folder and output of a demo of both networks."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo(folder)


def row(text: str, name: str) -> list[str]:
    """The cells of a row of the table that is printed."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_table_of_both_networks(both):
    _, text = both
    ours, theirs, nothing = row(text, "ε_tot, in meV")
    assert 0 < float(ours.split()[0]) < float(theirs.split()[0])
    assert nothing == ""
    assert float(row(text, "gap")[2].removesuffix(" eV")) == pytest.approx(2.62, abs=0.01)
    assert re.search(r"nearsight +┃ +xia2025 ┃ reference", text)


def test_one_page_of_both_networks(both):
    folder, text = both
    page = (folder / "report.html").read_text()
    assert str((folder / "report.html").resolve()) in text
    for shown in (
        "Hf32O64",
        "<th>nearsight</th><th>xia2025</th><th>reference</th>",
        "Training curves",
        "Densities of states",
        "Prediction: nearsight",
        "Prediction: xia2025",
    ):
        assert shown in page
    for cell in row(text, "ε_n, on site")[:2]:
        assert f"<td>{cell.replace('E_h', 'E<sub>h</sub>')}</td>" in page
    assert {p.name for p in folder.iterdir()} == {
        "nearsight_0.05_minutes",
        "xia2025_0.05_minutes",
        "nearsight.h5",
        "xia2025.h5",
        "report.html",
    }


def test_a_model_that_has_learnt_it_predicts_both_ways(monkeypatch):
    for functional, expected in (
        (None, [("nearsight", False)]),
        (object(), [("nearsight, plain", False), ("nearsight, self-consistent", True)]),
    ):
        model = SimpleNamespace(inner=SimpleNamespace(density_functional=functional))
        monkeypatch.setattr("nearsight.api.models.load_model", lambda run, model=model: model)
        assert ways_to_predict("nearsight", Path("run")) == expected


def test_a_demo_that_is_there_is_continued(both):
    """Both runs are over: nothing is trained again, and the same numbers come out."""
    folder, before = both
    logs = [(folder / f"{name}_0.05_minutes" / "log.jsonl").read_text() for name in demo_module.PRESETS]
    after = demo(folder)
    assert after.count("continuing at epoch") == 2
    assert [(folder / f"{name}_0.05_minutes" / "log.jsonl").read_text() for name in demo_module.PRESETS] == logs
    assert row(after, "ε_tot, in meV") == row(before, "ε_tot, in meV")


def test_one_network_alone(both, tmp_path):
    """Its training is over, as in the test above."""
    folder, _ = both
    shutil.copytree(folder / "nearsight_0.05_minutes", tmp_path / "nearsight_0.05_minutes")
    text = demo(tmp_path, only="nearsight")
    assert text.count("continuing at epoch") == 1
    assert len(row(text, "ε_n, on site")) == 2
    assert "relative L1" in text
    assert "Hf32O64" in (tmp_path / "report.html").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {"nearsight_0.05_minutes", "nearsight.h5", "report.html"}


def test_a_training_that_was_stopped_stops_the_demo(tmp_path, monkeypatch):
    """Neither the next network nor a page of half a run."""
    trained = []

    def stopped(config, console):
        trained.append(config.model.architecture)
        return TrainingResult(None, None, "stopped by SIGINT; run the same command to continue", tmp_path, True)

    monkeypatch.setattr(train_module, "train_shown", stopped)
    with pytest.raises(KeyboardInterrupt):
        demo(tmp_path)
    assert trained == ["nearsight"]
    assert list(tmp_path.iterdir()) == []


def test_time_alone_ends_both_runs(tmp_path):
    ours, theirs = (demo_config(name, tmp_path / "C.h5", 10, tmp_path, 7) for name in demo_module.PRESETS)
    assert isinstance(ours.model, NearsightConfig)
    assert theirs.model.architecture == "xia2025"
    assert theirs.optimizer.decay_patience == 7
    for config in (ours, theirs):
        assert (config.budget_minutes, config.max_epochs, config.seed) == (10, 20000, 7)


def test_structures_are_shipped():
    assert (data_folder() / demo_module.TRAIN).exists()
    assert (data_folder() / demo_module.TEST).exists()
