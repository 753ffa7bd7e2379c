"""Calculations with random H, H₀ and S, and baselines fitted to them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.operators.calculation import Calculation
from nearsight.structures.graph import build_graph
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, random_calculation
from tests.random_cases import HFO2_SZV, random_operator, random_overlap

WITH_INITIAL = replace(SMALL, h0=True, h0_pieces=2)


def random_h0_calculation(seed: int, n_units: int = 8) -> Calculation:
    """`random_calculation` with a random Hermitian H₀ (eV) and S, resolved in R and with blocks of all parities."""
    plain, rng = random_calculation(seed, n_units), np.random.default_rng(seed + 1000)
    graph = build_graph(plain.structure, CUTOFF)
    return replace(
        plain,
        overlap=random_overlap(plain.structure, graph, HFO2_SZV, rng),
        h0=random_operator(plain.structure, graph, HFO2_SZV, rng),
    )


@cache
def random_h0_baseline() -> Baseline:
    """Fitted to two random calculations."""
    return fit_baseline([random_h0_calculation(1), random_h0_calculation(2)], LAYOUT, CUTOFF, WITH_INITIAL)


def h0_of(seed: int, n_units: int = 8) -> H0Matrices:
    """H₀ and S of `random_h0_calculation`."""
    return H0Matrices.of(random_h0_calculation(seed, n_units))
