"""Loops of the compiled pass: features in the frames of bonds, for any number of channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nearsight.nn.architectures.nearsight.graph import canonical_edges, make_bonds
from nearsight.nn.architectures.nearsight.kernels import loops
from nearsight.nn.architectures.nearsight.kernels.passes import CompiledPass, PairWeights
from nearsight.nn.architectures.nearsight.network import bond_inputs
from nearsight.nn.architectures.nearsight.pair_network import LAYERS, PairNetwork
from nearsight.nn.kernels.compilation import Buffers
from nearsight.structures.graph import build_graph
from tests.baselines.random_baseline import CUTOFF
from tests.nn.architectures.nearsight.random_model import CONFIG
from tests.nn.architectures.nearsight.test_network import MODEL, STRUCTURE


@pytest.mark.parametrize("pair", [(8, 72), (72, 72)])
@pytest.mark.parametrize("channels", [3, 8, 24, 28, 40])
def test_features_in_the_frames_of_bonds(pair: tuple[int, int], channels: int) -> None:
    """Whether they fill vectors or not; the gradient is the adjoint."""
    config = CONFIG.model_copy(update={"channels": channels})
    graph = build_graph(STRUCTURE, CUTOFF)
    bonds = make_bonds(graph, canonical_edges(STRUCTURE, graph)[pair], config.l_max, torch.float64)
    network = PairNetwork(config, MODEL.network.layouts[pair]).double()
    weights = PairWeights.of([p.detach() for p in network.weights], len(network.blocks), LAYERS)
    own = CompiledPass(network, weights, CUTOFF, Buffers(torch.float64))
    torch.manual_seed(0)
    features = torch.randn(len(STRUCTURE), (config.l_max + 1) ** 2, channels, dtype=torch.float64)
    x = torch.full((len(bonds) * own.total,), torch.nan, dtype=torch.float64)
    ends = bonds.source.numpy(), bonds.target.numpy(), bonds.frames.numpy(), own.sizes, own.place
    loops.gather(features.numpy(), *ends, x.numpy())
    expected = bond_inputs(features, bonds, network.blocks, network.layout.parities, config.l_max)
    np.testing.assert_allclose(x, torch.cat([part.flatten() for part in expected]), atol=1e-13)
    dx, dfeatures = torch.randn_like(x), torch.ones_like(features)
    loops.scatter(dx.numpy(), *ends, dfeatures.numpy())
    assert float((dx * x).sum()) == pytest.approx(float(((dfeatures - 1) * features).sum()), rel=1e-11)
