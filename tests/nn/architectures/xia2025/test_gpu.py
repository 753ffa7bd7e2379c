"""The network xia2025 on a GPU equals the reference on the CPU: outputs, errors, gradients, predictions, training."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nearsight.inference.predict import predict_hamiltonian
from nearsight.nn.architectures.xia2025.config import Xia2025Config
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.model import Xia2025Model
from nearsight.nn.architectures.xia2025.network import Xia2025
from nearsight.nn.architectures.xia2025.targets import EdgeTargets
from tests.learning.random_calculation import BASIS, random_structure
from tests.learning.random_calculation import CUTOFF as SHORT
from tests.learning.test_loop import run
from tests.nn.architectures.xia2025.test_edge_engine import make_graph
from tests.nn.architectures.xia2025.test_equivariance import LAYOUT, make_network

pytestmark = pytest.mark.gpu
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def results(network: Xia2025, graph: GraphTensors, what: str) -> dict[str, np.ndarray]:
    """Value and gradients in float64 on the CPU."""
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(graph.n_edges, LAYOUT.size, generator=generator, dtype=torch.float64).to(graph.distance)
    network.zero_grad()
    if what == "error":
        nodes, error = network(graph, EdgeTargets(values))
    else:
        nodes, edges = network(graph)
        error = (edges * values).sum() + edges.square().sum()
    value = error + nodes.square().sum()
    value.backward()
    found = {k: p.grad for k, p in network.named_parameters() if p.grad is not None}
    return {k: x.detach().double().cpu().numpy() for k, x in {"value": value, **found}.items()}


def typed(graph: GraphTensors, dtype: torch.dtype) -> GraphTensors:
    def change(x: object) -> object:
        return x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x

    return GraphTensors(**{f.name: change(getattr(graph, f.name)) for f in fields(graph)})


@pytest.fixture(params=[None, 37])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int | None:
    """Chunks and groups of so many edges; None for what the network chooses."""
    if request.param is not None:
        messages = "nearsight.nn.architectures.xia2025.kernels.messages"
        monkeypatch.setattr(f"{messages}.EDGES_ON_GPU", request.param)
    return request.param


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("what", ["error", "outputs"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients(dtype: torch.dtype, what: str, layers: int, chunk: int | None, gpu: torch.device) -> None:
    graph = make_graph()
    expected = results(make_network(layers, reference=True), graph, what)
    network = make_network(layers).to(gpu, dtype)
    network.chunk = chunk
    found = results(network, typed(graph, dtype).to(gpu), what)
    for name, b in expected.items():
        scale = np.abs(b).max()
        difference = np.abs(found[name] - b).max() if name in found else scale
        assert difference <= layers * TOLERANCE[dtype] * max(scale, 1e-2 if dtype == torch.float32 else 1e-6), name


def test_without_triton(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensor operations alone."""
    for module in ("so2", "updates", "kernels.messages"):
        name = f"nearsight.nn.architectures.xia2025.{module}.compiles_kernels"
        monkeypatch.setattr(name, lambda device: False)
    graph = make_graph()
    expected = results(make_network(reference=True), graph, "error")
    found = results(make_network().to(gpu), graph.to(gpu), "error")
    for name, b in expected.items():
        difference = np.abs(found[name] - b).max() if name in found else np.abs(b).max()
        assert difference <= 1e-10 * max(np.abs(b).max(), 1e-6), name


def test_the_same_bits_every_time(gpu: torch.device) -> None:
    """No sum depends on the order in which programs run."""
    network, graph = make_network().to(gpu, torch.float32), typed(make_graph(), torch.float32).to(gpu)
    first = results(network, graph, "error")
    for _ in range(3):
        for name, again in results(network, graph, "error").items():
            np.testing.assert_array_equal(again, first[name])


@pytest.mark.parametrize("layers", [1, 2])
def test_prediction(layers: int, gpu: torch.device) -> None:
    config = Xia2025Config(cutoff=SHORT, layers=layers, channels=4, hidden=4, alpha=4, value=4, feed_forward=8)
    model = Xia2025Model.new(config, BASIS, torch.float64, 0)
    expected = predict_hamiltonian(model, random_structure())
    there = replace(model, network=deepcopy(model.network).to(gpu))
    for size in (4096, 37):
        found = predict_hamiltonian(there, random_structure(), chunk=size)
        assert np.abs(found.values - expected.values).max() <= 1e-10 * np.abs(expected.values).max()


def test_training(tmp_path: Path, gpu: torch.device) -> None:
    """The same losses as on the CPU."""
    records: dict[str, list[dict[str, float]]] = {"cpu": [], "cuda": []}
    for device, own in records.items():
        run(tmp_path / device, own, max_epochs=4, precision="float64", device=device)
    losses = [[record["loss"] for record in own] for own in records.values()]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-7)
