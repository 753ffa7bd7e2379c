"""Campaigns that run: killed anywhere they end with the same files; failures, locks, inputs for other machines."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nearsight.cli.main import app
from nearsight.errors import ConfigError
from nearsight.operators.bloch import fold
from nearsight.operators.store import read_calculation
from nearsight.progress import Event, StopToken
from nearsight.recipes.campaign import load_campaign
from nearsight.recipes.campaign_run import CampaignRun
from nearsight.units import HARTREE_IN_EV
from tests.recipes.killed_campaign import differences, killed_again_and_again

WATER = """
structures:
  - {name: water, molecules: {molecule: water, count: 3, temperature: 300}}
dft: {code: pyscf, basis: sto-3g}
processes: 2
"""

CRYSTAL = """
structures:
  - {name: oxide, files: [cell.xyz]}
dft: {code: cp2k, cutoff: 100, rel_cutoff: 30, eps_scf: 1.0e-7}
"""

CELL = """3
Lattice="0.0 2.54 2.54 2.54 0.0 2.54 2.54 2.54 0.0" Properties=species:S:1:pos:R:3 pbc="T T T"
Hf 0.0 0.0 0.0
O 1.34 1.22 1.38
O 3.81 3.81 3.81
"""

needs_cp2k = [pytest.mark.dft, pytest.mark.skipif(shutil.which("cp2k.psmp") is None, reason="CP2K is not installed")]


def campaign(folder: Path, text: str) -> Path:
    path = folder / "campaign.yaml"
    path.write_text(text)
    (folder / "cell.xyz").write_text(CELL)
    return path


def run(path: Path, output: Path, **changes) -> CampaignRun:
    return CampaignRun(load_campaign(path, changes), output, path.parent)


def test_killed_it_goes_on_to_the_same_files(tmp_path):
    """SIGKILL at random moments; real PySCF, two jobs at a time."""
    path = campaign(tmp_path, WATER)
    assert not run(path, tmp_path / "whole").run().failed
    assert killed_again_and_again(path, tmp_path / "cut", 3, 4.0, seed=1)
    assert differences(tmp_path / "whole", tmp_path / "cut") == []
    made = [read_calculation(tmp_path / "cut" / f"water-{k}.h5") for k in (1, 2, 3)]
    assert all(c.structure.formula == "H2O" and c.energy is not None for c in made)
    assert not np.array_equal(made[0].structure.positions, made[1].structure.positions)


def test_the_command_says_what_it_made(tmp_path):
    path = campaign(tmp_path, WATER.replace("count: 3", "count: 1"))
    result = CliRunner().invoke(app, ["generate", str(path), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "H2O, isolated" in result.output
    assert "1 of 1 structures" in result.output
    again = CliRunner().invoke(app, ["generate", str(path), "-o", str(tmp_path / "out"), "--set", "dft.basis=6-31g"])
    assert again.exit_code == 2
    assert "dft.basis: sto-3g → 6-31g" in " ".join(again.output.split())


INTERRUPTED = """
import os, signal
from nearsight.cli.main import main
from nearsight.progress import silent
from nearsight.recipes.campaign_run import CampaignRun

run = CampaignRun.run

def interrupted(campaign, progress=silent, stop=None):
    def told(event):
        progress(event)
        if event.values.get("state") == "done":
            os.kill(os.getpid(), signal.SIGINT)
    return run(campaign, told, stop)

CampaignRun.run = interrupted
main()
"""
"""The command, to which Ctrl-C is said at the moment a job is done."""


def test_ctrl_c_ends_the_jobs_and_the_next_call_goes_on(tmp_path):
    path = campaign(tmp_path, WATER.replace("processes: 2", "processes: 1"))
    call = [sys.executable, "-c", INTERRUPTED, "generate", str(path), "-o", str(tmp_path / "out")]
    assert subprocess.run(call, stdout=subprocess.DEVNULL, timeout=120).returncode == 130
    assert (tmp_path / "out" / "water-1.h5").exists()
    done = run(path, tmp_path / "out").result()
    assert done.unfinished
    assert not done.failed
    assert not run(path, tmp_path / "out").run().unfinished


def test_one_that_fails_does_not_stop_the_others(tmp_path):
    (tmp_path / "bad.xyz").write_text("2\n\nXe 0 0 0\nU 0 0 2\n")
    (tmp_path / "good.xyz").write_text("2\n\nH 0 0 0\nH 0 0 0.74\n")
    path = campaign(
        tmp_path,
        'structures: [{name: m, files: ["bad.xyz", "good.xyz"], cell: none}]\ndft: {code: pyscf, basis: sto-3g}\n',
    )
    campaign_run = run(path, tmp_path / "out")
    assert list(campaign_run.run().failed) == ["m-bad"]
    assert campaign_run.folders["m-bad"].error
    assert "Traceback" not in campaign_run.folders["m-bad"].error
    assert (tmp_path / "out" / "m-good.h5").is_file()
    assert not (tmp_path / "out" / "m-bad.h5").exists()


def test_a_stopped_campaign_says_what_it_did_not_finish_and_goes_on(tmp_path):
    """The first job to end stops the run; events say which jobs began and ended, and how many."""
    path, stop, events = campaign(tmp_path, WATER.replace("processes: 2", "processes: 1")), StopToken(), []

    def watch(event: Event) -> None:
        events.append(event)
        if event.values.get("state") == "done":
            stop.stop()

    result = run(path, tmp_path / "out").run(watch, stop)
    assert list(result.stores) == ["water-1"]
    assert result.unfinished == ("water-2", "water-3")
    assert not result.failed
    assert result.summaries["water-1"][0] == "H2O, isolated"
    ended = next(event for event in events if event.values.get("state") == "done")
    assert (ended.message, ended.done, ended.total) == ("water-1: done", 1, 3)
    assert ended.values["seconds_left"] > 0
    assert "water-1: begins" in [event.message for event in events]
    whole = run(path, tmp_path / "out").run()
    assert list(whole.stores) == ["water-1", "water-2", "water-3"]
    assert not whole.unfinished


def test_a_folder_in_use_is_refused(tmp_path):
    path = campaign(tmp_path, WATER)
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another nearsight at work in it"):
            run(path, tmp_path / "out").run()


def test_inputs_for_another_machine(tmp_path):
    path = campaign(tmp_path, CRYSTAL)
    written = run(path, tmp_path / "out").write_inputs()
    assert [folder.name for folder in written] == ["external"]
    assert {p.name for p in written[0].iterdir()} == {"job.inp", "run.sh"}
    collected = run(path, tmp_path / "out").collect()
    assert (list(collected.stores), list(collected.failed)) == ([], ["oxide-cell"])  # it has not run yet
    with pytest.raises(ConfigError, match=r"expected dft.code=cp2k"):
        run(campaign(tmp_path, WATER), tmp_path / "water").write_inputs()


class TestCp2k:
    """With CP2K itself (a quarter of a minute a run)."""

    pytestmark = needs_cp2k

    def test_images_and_their_sum(self, tmp_path):
        """Two runs, real-space and at Γ: the sum of the first is the second."""
        path = campaign(tmp_path, CRYSTAL)
        assert not run(path, tmp_path / "images").run().failed
        assert not run(path, tmp_path / "folded", **{"dft.images": False, "dft.h0": True}).run().failed
        images, folded = (read_calculation(tmp_path / name / "oxide-cell.h5") for name in ("images", "folded"))
        summed = fold(images.require_hamiltonian())
        whole = folded.require_hamiltonian().on_pairs(summed.source, summed.target, summed.shift)
        assert np.abs(whole.values - summed.values).max() / HARTREE_IN_EV < 1e-5
        h0 = folded.require_h0()
        assert 1e-3 < np.abs(h0.values - whole.values).mean() / HARTREE_IN_EV < 0.3
        assert "RUN_TYPE ENERGY" in images.provenance["input"]

    def test_what_ran_elsewhere_is_collected(self, tmp_path):
        path = campaign(tmp_path, CRYSTAL)
        folder = run(path, tmp_path / "out").write_inputs()[0]
        subprocess.run(
            ["sh", "run.sh"],
            cwd=folder,
            check=True,
            env={"PATH": "/usr/bin:/bin", "CP2K_DATA_DIR": "/usr/share/cp2k", "HOME": str(tmp_path)},
        )
        collected = run(path, tmp_path / "out").collect()
        assert (list(collected.stores), list(collected.failed)) == (["oxide-cell"], [])
        text = (folder / "job.inp").read_text()
        (tmp_path / "out" / "oxide-cell.h5").unlink()
        (folder / "job.inp").write_text(text.replace("O 1.34 1.22 1.38", "O 1.34 1.22 1.39"))
        assert list(run(path, tmp_path / "out").collect().failed) == ["oxide-cell"]
        assert "they are of different runs" in run(path, tmp_path / "out").folders["oxide-cell"].error

    def test_a_fallback_converges_to_the_same_ground_state(self, tmp_path):
        """Twelve steps are too few; it goes on from there with less mixing, and the file says so."""
        path = campaign(tmp_path, CRYSTAL)
        assert not run(path, tmp_path / "once", **{"dft.images": False}).run().failed
        changes = {"dft.images": False, "dft.max_scf": 12}
        assert not run(path, tmp_path / "again", **changes).run().failed
        once, again = (read_calculation(tmp_path / name / "oxide-cell.h5") for name in ("once", "again"))
        assert again.provenance["fallback"].startswith("on from there")
        assert "fallback" not in once.provenance
        assert again.energy == pytest.approx(once.energy, abs=1e-4)

    def test_no_convergence_is_a_failure_in_words(self, tmp_path):
        path = campaign(tmp_path, CRYSTAL)
        campaign_run = run(path, tmp_path / "out", **{"dft.max_scf": 2, "dft.eps_scf": 1e-12})
        assert list(campaign_run.run().failed) == ["oxide-cell"]
        assert "expected a self-consistent field, got none with any of: as given; on from there" in (
            campaign_run.folders["oxide-cell"].error
        )
