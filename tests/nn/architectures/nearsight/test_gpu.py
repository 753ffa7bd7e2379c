"""The network nearsight on a GPU equals the reference on the CPU: outputs, errors, gradients, predictions, training."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nearsight.inference.predict import predict_hamiltonian
from nearsight.nn.architectures.nearsight.graph import BondGraph, BondTargets
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.nn.architectures.nearsight.network import NearsightNetwork
from nearsight.nn.loading import load_model
from tests.nn.architectures.nearsight.random_model import random_bond_model
from tests.nn.architectures.nearsight.test_network import MODEL, STRUCTURE, random_case
from tests.nn.architectures.nearsight.test_training import run

pytestmark = pytest.mark.gpu
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
Targets = dict[tuple[int, int], BondTargets]


@pytest.fixture
def chunks(request: pytest.FixtureRequest, gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of so many bonds at most, and gradients of weights in parts of so many rows."""
    if request.param is not None:
        engine = pytest.importorskip("nearsight.nn.architectures.nearsight.kernels.device_engine")
        monkeypatch.setattr(engine, "LARGEST", request.param)
        monkeypatch.setattr(engine, "SMALLEST", 1)
        monkeypatch.setattr("nearsight.nn.kernels.tall_products.ROWS", 16)


def results(network: NearsightNetwork, graph: BondGraph, targets: Targets, what: str) -> list[np.ndarray]:
    """Value and gradients, those of the features included, in float64 on the CPU."""
    network.zero_grad()
    features = network.features(graph).detach().requires_grad_()
    if what == "error":
        value = network.error(graph, targets)
    else:
        value = torch.stack([(o**3).sum() for o in network.outputs(features, graph.bonds).values()]).sum()
    value.backward()
    found = [value, *(p.grad for p in network.parameters() if p.grad is not None)]
    return [x.detach().double().cpu().numpy() for x in [*found, *([features.grad] if what == "outputs" else [])]]


@pytest.mark.parametrize("chunks", [None, 29], indirect=True)
@pytest.mark.parametrize("what", ["error", "outputs"])
@pytest.mark.parametrize("huber_delta", [0.3, 0.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_and_gradients(
    dtype: torch.dtype, huber_delta: float, what: str, chunks: None, gpu: torch.device
) -> None:
    _, graph, targets = random_case(torch.float64)
    targets = {k: BondTargets(t.values, t.weights, huber_delta) for k, t in targets.items()}
    reference = deepcopy(MODEL.network)
    reference.reference = True
    expected = results(reference, graph, targets, what)
    network = deepcopy(MODEL.network).to(gpu, dtype)
    assert network.engine() is not None
    there = with_type(graph, dtype).to(gpu)
    found = results(network, there, {k: typed(t, dtype).to(gpu) for k, t in targets.items()}, what)
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() <= TOLERANCE[dtype] * np.abs(b).max()


def with_type(graph: BondGraph, dtype: torch.dtype) -> BondGraph:
    bonds = {
        pair: replace(b, distance=b.distance.to(dtype), frames=b.frames.to(dtype)) for pair, b in graph.bonds.items()
    }
    return BondGraph(graph.element, graph.densities.to(dtype), graph.scalars.to(dtype), bonds)


def typed(targets: BondTargets, dtype: torch.dtype) -> BondTargets:
    return BondTargets(targets.values.to(dtype), targets.weights.to(dtype), targets.huber_delta)


def test_without_triton(gpu: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensor operations alone."""
    monkeypatch.setattr("nearsight.nn.architectures.nearsight.network.compiles_kernels", lambda device: False)
    _, graph, targets = random_case(torch.float64)
    network = deepcopy(MODEL.network).to(gpu)
    assert network.engine() is None
    found = results(network, graph.to(gpu), {k: t.to(gpu) for k, t in targets.items()}, "error")
    for a, b in zip(found, results(deepcopy(MODEL.network), graph, targets, "error"), strict=True):
        assert np.abs(a - b).max() <= 1e-10 * np.abs(b).max()


def test_the_same_bits_every_time(gpu: torch.device) -> None:
    """No sum depends on the order in which programs run."""
    _, graph, targets = random_case(torch.float64)
    network, there = deepcopy(MODEL.network).to(gpu, torch.float32), with_type(graph, torch.float32).to(gpu)
    own = {k: typed(t, torch.float32).to(gpu) for k, t in targets.items()}
    first = results(network, there, own, "error")
    for _ in range(3):
        for a, b in zip(results(network, there, own, "error"), first, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("long_range", [False, True])
def test_prediction(long_range: bool, gpu: torch.device) -> None:
    model = random_bond_model(long_range)
    expected = predict_hamiltonian(model, STRUCTURE)
    there: NearsightModel = replace(model, network=deepcopy(model.network).to(gpu))
    for chunk in (4096, 37):
        found = predict_hamiltonian(there, STRUCTURE, chunk=chunk)
        assert np.abs(found.values - expected.values).max() <= 1e-10 * np.abs(expected.values).max()


def test_hidden_values(gpu: torch.device) -> None:
    """What the uncertainty reads."""
    _, graph, _ = random_case(torch.float64)
    there, network = graph.to(gpu), deepcopy(MODEL.network).to(gpu)
    for pair, bonds in graph.bonds.items():
        expected = MODEL.network.outputs_and_hidden(MODEL.network.features(graph).detach(), pair, bonds)[1]
        found = network.outputs_and_hidden(network.features(there).detach(), pair, there.bonds[pair])[1]
        for a, b in zip(found, expected, strict=True):
            assert float((a.cpu() - b).abs().max()) <= 1e-10 * float(b.abs().max())


def test_training(tmp_path: Path, gpu: torch.device) -> None:
    """The same losses as on the CPU, also of a run that is continued on a GPU, and a calibrated model at the end."""
    expected = run(tmp_path / "cpu", device="cpu", max_epochs=3) + run(tmp_path / "cpu", device="cpu", max_epochs=5)
    found = run(tmp_path / "gpu", device="cuda", max_epochs=3) + run(tmp_path / "gpu", device="cuda", max_epochs=5)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    run(tmp_path / "both", device="cpu", max_epochs=3)
    np.testing.assert_allclose(run(tmp_path / "both", device="cuda", max_epochs=5), expected[3:], rtol=1e-7)
    model = load_model(tmp_path / "gpu")
    assert isinstance(model, NearsightModel)
    assert model.uncertainty is not None
