"""Train, predict a bare xyz, on the command line: the gap, levels and charges are nearer than those of the local H."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.io import write

import nearsight as ns
from nearsight.electronic.populations import atomic_charges
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from tests.called import call
from tests.self_consistency.tight_binding import world

SMALL = "model.cutoff=4.5 model.channels=4 model.hidden=[8,4] max_epochs=8 data.check=false"
TRAINED, VALIDATION, UNSEEN = (1, 2, 4, 5), 3, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four structures, and two predictions of a sixth, of which only an xyz was given."""
    result = tmp_path_factory.mktemp("end_to_end")
    for seed in (*TRAINED, VALIDATION, UNSEEN):
        write_calculation(result / f"{seed}.h5", world(seed))
    train = f"data.train=[{','.join(str(result / f'{seed}.h5') for seed in TRAINED)}]"
    validation = f"data.validation=[{result / f'{VALIDATION}.h5'}]"
    said = call("train", "nearsight", train, validation, f"run_dir={result / 'run'}", *SMALL.split())
    assert "self-consistency: on-site error of 24 unseen atoms" in said
    unseen = read_calculation(result / f"{UNSEEN}.h5").structure
    atoms = Atoms(unseen.numbers, unseen.positions, cell=unseen.cell, pbc=True)
    write(result / "bare.xyz", atoms, format="extxyz")
    said = call("predict", result / "run", result / "bare.xyz", "-o", result / "solved.h5")
    assert "diagonalisations, charges agree to" in said
    assert "exact, of the radial functions of the basis" in said
    call("predict", result / "run", result / "bare.xyz", "-o", result / "local.h5", "--no-self-consistent")
    return result


def plain(folder: Path, name: object) -> Calculation:
    """Without expected errors, which decide on doubtful directions of S, and mean little in so small a world."""
    return replace(read_calculation(folder / f"{name}.h5"), error_estimate=None)


def test_gap_levels_and_charges_are_nearer_than_those_of_the_local_prediction(folder: Path) -> None:
    exact, solved, local = (plain(folder, name) for name in (UNSEEN, "solved", "local"))
    n = exact.n_electrons // 2
    levels = [ns.spectrum(c).eigenvalues for c in (exact, solved, local)]
    occupied = [np.abs(own[:n] - levels[0][:n]).mean() for own in levels[1:]]
    gaps = [abs((own[n] - own[n - 1]) - (levels[0][n] - levels[0][n - 1])) for own in levels[1:]]
    charges = [atomic_charges(c, kind="loewdin") for c in (exact, solved, local)]
    wrong = [np.sqrt(((own - charges[0]) ** 2).mean()) for own in charges[1:]]
    assert wrong[0] < 0.4 * wrong[1]
    assert gaps[0] < 0.7 * gaps[1]
    assert occupied[0] < 0.9 * occupied[1]


def test_what_is_printed_and_stored_says_the_same(folder: Path) -> None:
    printed = call("evaluate", folder / "solved.h5", folder / f"{UNSEEN}.h5")
    assert "Mulliken charges" in printed
    assert "gap" in printed
    found = atomic_charges(plain(folder, "solved"), kind="loewdin")
    with h5py.File(folder / "solved.h5") as file:
        stored = np.asarray(file["charges"])
    assert np.sqrt(((stored - found) ** 2).mean()) < 5e-4
    assert "diagonalisations" in plain(folder, "solved").provenance["self_consistent"]
