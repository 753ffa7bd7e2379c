"""The measure of the error: its gradient, the mask, and rows."""

from __future__ import annotations

import pytest
import torch

from nearsight.nn.architectures.xia2025.targets import EdgeTargets

SIZE = 12


def targets(masked: bool) -> EdgeTargets:
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(5, SIZE, generator=generator, dtype=torch.float64)
    return EdgeTargets(values, torch.rand(5, SIZE, generator=generator) < 0.5 if masked else None)


@pytest.mark.parametrize("masked", [True, False])
def test_gradient_is_that_of_the_measure(masked):
    own = targets(masked)
    output = torch.randn(5, SIZE, dtype=torch.float64, requires_grad=True)
    expected = own.error(output)
    value, gradient = own.error_and_gradient(output.detach())
    assert float(value) == pytest.approx(expected.item(), rel=1e-14)
    assert torch.allclose(gradient, torch.autograd.grad(expected, output)[0], rtol=1e-12, atol=1e-14)
    assert bool((gradient == 0).any()) == masked


def test_rows_add_up():
    own, output = targets(True), torch.zeros(5, SIZE, dtype=torch.float64)
    parts = [float(own.rows(slice(k, k + 1)).error(output[k : k + 1])) for k in range(5)]
    assert sum(parts) == pytest.approx(float(own.error(output)), rel=1e-14)
