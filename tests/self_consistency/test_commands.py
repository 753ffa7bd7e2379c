"""`nearsight train` and `nearsight predict` by default, where self-consistency does not help or is not validated."""

from __future__ import annotations

from pathlib import Path

import pytest

import nearsight as ns
from nearsight.errors import InputError
from nearsight.operators.store import read_calculation
from nearsight.progress import StopToken
from tests.called import call
from tests.listening import listening

DATA = Path(__file__).parents[2] / "data" / "aHfO2_96_A.h5"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that learns H as a functional of the density."""
    folder = tmp_path_factory.mktemp("self_consistent")
    settings = ["max_epochs=2", "budget_minutes=null"]
    print(call("train", "nearsight", f"data.train=[{DATA}]", f"run_dir={folder / 'run'}", *settings))
    return folder / "run"


def test_where_it_does_not_help_the_run_says_so_and_the_local_model_predicts(run: Path, tmp_path: Path) -> None:
    # Two epochs are too few: the charges of such a Hamiltonian do not come to agree.
    assert "self-consistent: no: not used" in call("predict", run, DATA, "-o", tmp_path / "h.h5")
    assert "self_consistent" not in read_calculation(tmp_path / "h.h5").provenance
    with pytest.raises(InputError, match="not used"):
        call("predict", run, DATA, "-o", tmp_path / "no.h5", "--self-consistent")
    with pytest.raises(InputError, match="expected auto, dense, purification as density_solver, got 'sparse'"):
        call("predict", run, DATA, "-o", tmp_path / "no.h5", "--density-solver", "sparse")
    assert not (tmp_path / "no.h5").exists()


def test_a_run_that_was_stopped_is_not_validated_and_predicts_the_local_h(tmp_path: Path) -> None:
    """Ctrl-C does not wait for a trial; what was learnt waits for the run's end."""
    stop, messages = StopToken(), list[str]()
    small = {"model.cutoff": 5, "model.channels": 4, "model.hidden": [8, 4]}
    progress = listening(messages=messages, at_record=lambda record: stop.stop("stopped"))
    model = ns.train([DATA], run_dir=tmp_path / "run", overrides=small, progress=progress, stop=stop)
    assert model.training is not None
    assert model.training.interrupted
    assert not any("judging" in m for m in messages)
    assert model.inner.density_functional is None
    assert "self_consistent" not in model.predict(DATA).calculation.provenance
    with pytest.raises(InputError, match="the run has not ended"):
        model.predict(DATA, self_consistent=True)
