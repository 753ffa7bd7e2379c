"""The compiled sum over incoming edges equals its slow twin, value and gradient."""

from __future__ import annotations

import pytest
import torch

from nearsight.nn.kernels.aggregate import aggregate, by_tensors


@pytest.mark.parametrize("edges", [0, 1, 57])
def test_compiled_equals_tensors(edges):
    torch.manual_seed(0)
    functions = torch.randn(edges, 4, 6, dtype=torch.float64, requires_grad=True)
    harmonics = torch.randn(edges, 16, dtype=torch.float64)
    target = torch.randint(0, 5, (edges,))
    weight = torch.randn(5, 16, 6, dtype=torch.float64)
    results = []
    for function in (aggregate, by_tensors):
        out = function(functions, harmonics, target, 5)
        results.append((out.detach(), torch.autograd.grad((out * weight).sum(), functions)[0]))
    assert torch.allclose(results[0][0], results[1][0], rtol=0, atol=1e-12)
    assert torch.allclose(results[0][1], results[1][1], rtol=0, atol=1e-12)
