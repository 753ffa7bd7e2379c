"""The pairs of a prediction: every edge and every atom once, in the store's order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.nn.prediction import pairs_of
from nearsight.operators.symmetry import in_half
from nearsight.structures.graph import build_graph, is_ascending
from tests import random_cases
from tests.random_cases import structures


@pytest.mark.parametrize("half", [False, True])
@given(structure=structures(), cutoff=st.floats(1.0, 6.0))
def test_pairs_are_those_of_the_graph_and_the_atoms(half, structure, cutoff):
    graph = build_graph(structure, cutoff)
    source, target, shift = random_cases.pairs_of(graph)
    kept = in_half(source, target, shift) if half else np.ones(len(source), dtype=bool)
    pairs = pairs_of(graph, half)
    assert is_ascending(pairs.source, pairs.target, pairs.shift, strictly=True)
    np.testing.assert_array_equal(pairs.source, source[kept])
    np.testing.assert_array_equal(pairs.target, target[kept])
    np.testing.assert_array_equal(pairs.shift, shift[kept])
    off_site = pairs.edge >= 0
    np.testing.assert_array_equal(~off_site, (pairs.source == pairs.target) & ~pairs.shift.any(axis=1))
    for own, of_graph in ((pairs.source, graph.source), (pairs.target, graph.target), (pairs.shift, graph.shift)):
        np.testing.assert_array_equal(own[off_site], of_graph[pairs.edge[off_site]])
