"""Campaigns through the Python interface."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from nearsight.api import data as module
from nearsight.api.data import campaign_run, collect, generate, write_inputs
from nearsight.errors import ConfigError
from nearsight.progress import StopToken
from nearsight.recipes.campaign import load_campaign

WATER = {"structures": [{"name": "water", "molecules": {"molecule": "water", "count": 2}}], "dft.basis": "sto-3g"}


def test_examples() -> None:
    assert doctest.testmod(module).failed == 0


def test_structures_are_made_once(tmp_path: Path) -> None:
    pytest.importorskip("pyscf")
    result = generate("molecules", tmp_path, overrides=WATER, processes=1)
    assert {name: path.name for name, path in result.stores.items()} == {
        "water-1": "water-1.h5",
        "water-2": "water-2.h5",
    }
    written = [path.stat().st_mtime_ns for path in result.stores.values()]
    again = generate("molecules", tmp_path, overrides=WATER)
    assert [path.stat().st_mtime_ns for path in again.stores.values()] == written
    assert again.summaries == result.summaries


def test_a_stop_before_the_beginning_does_nothing(tmp_path: Path) -> None:
    stop = StopToken()
    stop.stop()
    result = generate("molecules", tmp_path, overrides=WATER, stop=stop)
    assert (dict(result.stores), dict(result.failed)) == ({}, {})
    assert result.unfinished == ("water-1", "water-2")


def test_relative_files_are_beside_the_campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    path = tmp_path / "my.yaml"
    path.write_text("structures: [{name: m, files: [a.xyz], cell: none}]\ndft: {code: pyscf}\n")
    run = campaign_run(path, overrides=["dft.basis=sto-3g"], processes=3)
    assert run.tasks[0].file == tmp_path / "a.xyz"
    assert (run.output, run.campaign.processes) == (Path("runs/my"), 3)
    monkeypatch.chdir(tmp_path)  # a campaign that is loaded has no folder of its own
    assert campaign_run(load_campaign(path), tmp_path / "out").output == tmp_path / "out"


def test_inputs_are_for_cp2k(tmp_path: Path) -> None:
    for function in (write_inputs, collect):
        with pytest.raises(ConfigError, match=r"expected dft\.code=cp2k"):
            function("molecules", tmp_path, overrides=WATER)
