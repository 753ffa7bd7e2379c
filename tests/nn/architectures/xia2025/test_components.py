"""What is done on a GPU instead of selecting by an index, whose gradient is slow there, is the same."""

from __future__ import annotations

import pytest
import torch

from nearsight.nn.architectures.xia2025.so3 import _expanded, _Permuted, degree_of_component


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("dim", [0, 1])
def test_numbers_of_each_degree_as_those_of_each_component(first: int, dim: int) -> None:
    degree = degree_of_component(4)[1 if first else 0 :] - first
    shape = (5 - first, 3, 2) if dim == 0 else (3, 5 - first, 2)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    expected, found = x.index_select(dim, degree), _expanded(x, len(degree), dim)
    assert torch.equal(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_permutations() -> None:
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 7, 2, dtype=torch.float64, requires_grad=True)
    expected, found = x.index_select(1, order), _Permuted.apply(x, order, torch.argsort(order))
    assert torch.equal(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
    assert torch.equal(*gradients)
