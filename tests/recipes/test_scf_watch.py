"""The state of CP2K's field, read from real output in pieces that end anywhere."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import pytest

from nearsight.recipes.cp2k_job import ScfWatch

DATA = Path(__file__).parents[1] / "data" / "cp2k_images.zip"


@pytest.fixture(scope="module")
def output() -> str:
    """15 steps to 1e-8."""
    return zipfile.ZipFile(DATA).read("k222/job.out").decode()


@pytest.mark.parametrize("size", [7, 1000, 10**6])
def test_every_step_is_seen_wherever_the_pieces_end(output, size):
    watch = ScfWatch(1e-8, 60)
    said = [watch.read(output[k : k + size]) for k in range(0, len(output), size)]
    states = [text for text in said if text]
    assert states[-1].startswith("SCF step 15 of at most 60: change ")
    if size == 7:
        assert len(states) == 15


def test_the_time_left_is_that_of_exponential_convergence():
    """A tenth per step of ten seconds: from 1e-5 to 1e-8 there are three steps left."""
    clock = itertools.count(step=10)
    watch = ScfWatch(1e-8, 60, clock=lambda: float(next(clock)))
    for step in range(1, 6):
        change = 10.0**-step
        text = watch.read(f"{step:6d} Broy./Diag. 0.30E+00    1.0     {change:.8f}      -326.4653462915 -1.00E+00\n")
    assert text == "SCF step 5 of at most 60: change 1e-05, energy -326.4653 E_h, about 0:30 left"


def test_the_orbital_transformation_prints_other_lines():
    line = "     3 OT DIIS     0.15E+00    0.9     0.00091406      -326.2345678901 -2.01E-02\n"
    assert ScfWatch(1e-6, 60).read(line) == "SCF step 3 of at most 60: change 9e-04, energy -326.2346 E_h"
