"""Baselines fitted to random Hamiltonians: all their numbers are far from zero, so that symmetries are tested."""

from __future__ import annotations

from functools import cache

import numpy as np

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.settings import BaselineSettings
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV
from tests.random_cases import HFO2_SZV, pairs_of, random_hfo2, random_operator

CUTOFF = 4.0
LAYOUT = CoupledLayout(HFO2_SZV)
SMALL = BaselineSettings(pair_functions=10, density_functions=4, carried_functions=2, hop_functions=2)


def random_calculation(seed: int, n_units: int = 8) -> Calculation:
    """Disordered HfO₂ in a periodic cell with a random Hermitian H (eV), resolved in R."""
    rng = np.random.default_rng(seed)
    structure = random_hfo2(n_units, rng)
    operator = random_operator(structure, build_graph(structure, CUTOFF), HFO2_SZV, rng)
    return Calculation(structure, HFO2_SZV, operator)


@cache
def random_baseline() -> Baseline:
    """Fitted to two random calculations."""
    return fit_baseline([random_calculation(1), random_calculation(2)], LAYOUT, CUTOFF, SMALL)


def operator_of(baseline: Baseline, structure: Structure, graph: Graph, h0: H0Matrices | None = None) -> BlockOperator:
    """The baseline as H (eV) on the graph's pairs and on site."""
    operator = zeros(structure.numbers, baseline.layout.basis, *pairs_of(graph), False)
    coupled = np.empty((operator.n_pairs, baseline.layout.size))
    coupled[operator.on_site] = baseline.nodes(structure, graph, h0)
    coupled[~operator.on_site] = baseline.edges(structure, graph, h0=h0)
    for (zi, zj), pairs in operator.element_pairs.items():
        operator.put(pairs, HARTREE_IN_EV * baseline.layout.uncouple(coupled[pairs], zi, zj))
    return operator
