"""The network is the published one: same outputs from the same weights, same number of parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import graph_tensors
from nearsight.nn.architectures.xia2025.network import Xia2025, count_parameters
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.orbitals.coupled_layout import CoupledLayout
from tests.nn.architectures.xia2025.published_names import our_name

FILE = Path(__file__).parents[3] / "data" / "published_network_1layer.npz"
HFO2 = CoupledLayout(basis_named("SZV-MOLOPT-SR-GTH").restricted([8, 72]))


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        return {name: file[name] for name in file.files}


def load_published(network: Xia2025, published: dict[str, np.ndarray]) -> None:
    state = network.state_dict()
    loaded = {}
    for name, value in published.items():
        if name.startswith("w.") and name != "w.distance_expansion.offset":
            ours = our_name(name.removeprefix("w."))
            loaded[ours] = torch.tensor(value).reshape(state[ours].shape)
    assert set(loaded) == set(state)
    network.load_state_dict(loaded)


@pytest.mark.parametrize("reference", [True, False])
def test_outputs_equal_the_published_ones(published, reference):
    network = Xia2025(Widths(), 1, HFO2.degrees, reference=reference).double()
    load_published(network, published)
    np.testing.assert_allclose(network.gaussians.centres, published["w.distance_expansion.offset"], atol=1e-14)
    graph = graph_tensors(
        published["numbers"], published["edge_i"], published["edge_j"], published["edge_vec"], 4, torch.float64
    )
    with torch.no_grad():
        nodes, edges = network(graph)
    stored = published["edge_out"]
    assert np.abs(nodes.numpy() - published["node_out"]).max() < 1e-10
    assert np.abs(edges.numpy()[: len(stored)] - stored).max() < 1e-10
    assert np.abs(stored).max() > 0.1


def test_target_order_is_the_published_one(published):
    assert "+".join(f"1x{l}e" for l in HFO2.degrees) == str(published["irreps_out"])


def test_parameter_count_for_hafnia():
    assert count_parameters(Xia2025(Widths(), 1, HFO2.degrees)) == 273_580


def test_parameter_count_for_molecules():
    second_row = (0, 0, 0, 1, 1, 2)
    layout = CoupledLayout(BasisSet("def2-SVP", {1: (0, 0, 1), 6: second_row, 8: second_row}, {}))
    widths = Widths(channels=128, hidden=128, alpha=32, value=32, feed_forward=64, n_gaussians=128)
    assert layout.size == 196
    assert round(count_parameters(Xia2025(widths, 2, layout.degrees)) / 1e6, 2) == 24.63
