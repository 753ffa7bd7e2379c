"""The measure of the error: its gradient, its invariance, and a clear error."""

from __future__ import annotations

import pytest
import torch

from nearsight.nn.architectures.xia2025.edge_targets import EdgeTargets

DEGREES = torch.tensor([0, 1, 2, 1])
IRREP = torch.arange(4).repeat_interleave(2 * DEGREES + 1)
SIZE = len(IRREP)


def reference(huber_delta: float, weighted: bool) -> EdgeTargets:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(5, SIZE, generator=generator, dtype=torch.float64)
    weights = torch.rand(5, 4, generator=generator, dtype=torch.float64)[:, IRREP] if weighted else None
    return EdgeTargets(values, weights, IRREP, huber_delta)


@pytest.mark.parametrize("huber_delta", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [True, False])
def test_gradient_is_that_of_the_measure(huber_delta, weighted):
    targets = reference(huber_delta, weighted)
    output = torch.randn(5, SIZE, dtype=torch.float64, requires_grad=True)
    expected = targets.error(output)
    value, gradient = targets.error_and_gradient(output.detach())
    assert float(value) == pytest.approx(expected.item(), rel=1e-14)
    assert torch.allclose(gradient, torch.autograd.grad(expected, output)[0], rtol=1e-12, atol=1e-14)


def test_soft_measure_is_linear_far_away_and_zero_without_error():
    targets = EdgeTargets(torch.zeros(1, SIZE, dtype=torch.float64), None, IRREP, 0.1)
    output = torch.zeros(1, SIZE, dtype=torch.float64)
    assert float(targets.error(output)) == 0
    output[0, 1:4] = torch.tensor([300.0, 400.0, 0.0])
    assert float(targets.error(output)) == pytest.approx(500 - 0.1, abs=1e-4)


def test_rows_and_missing_irreps():
    targets = reference(0.5, True)
    output = torch.zeros(5, SIZE, dtype=torch.float64)
    parts = [float(targets.rows(slice(k, k + 1)).error(output[k : k + 1])) for k in range(5)]
    assert sum(parts) == pytest.approx(float(targets.error(output)), rel=1e-14)
    with pytest.raises(ValueError, match="irrep"):
        EdgeTargets(output, huber_delta=0.1).error(output)
