"""Sums at each node of functions of the distance times spherical harmonics of the incoming edges.

out[j, lm, v] = Σ over edges e into j of Y[e, lm] · f[e, l, v]. Compiled where numba is there and the tensors are on
the CPU; `by_tensors` is the slow twin and the way for everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.kernels import COMPILED


def aggregate(functions: Tensor, harmonics: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """functions (e, l_max+1, V), harmonics (e, K), target (e,) → (n_nodes, K, V)."""
    if COMPILED and functions.device.type == "cpu":
        return _Aggregate.apply(functions, harmonics, target, n_nodes)
    return by_tensors(functions, harmonics, target, n_nodes)


def by_tensors(functions: Tensor, harmonics: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """`aggregate` with tensor operations."""
    parts = []
    for l in range(functions.shape[1]):
        outer = harmonics[:, l * l:(l + 1) ** 2, None] * functions[:, None, l]
        parts.append(functions.new_zeros(n_nodes, *outer.shape[1:]).index_add(0, target, outer))
    return torch.cat(parts, dim=1)


class _Aggregate(torch.autograd.Function):
    """The compiled sum; the harmonics are constants (no gradient)."""

    @staticmethod
    def forward(ctx: Any, functions: Tensor, harmonics: Tensor, target: Tensor, n_nodes: int) -> Tensor:
        ctx.save_for_backward(harmonics, target)
        ctx.shape = functions.shape
        out = functions.new_zeros(n_nodes, harmonics.shape[1], functions.shape[2])
        _loops()[0](functions.detach().contiguous().numpy(), harmonics.numpy(), target.numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        harmonics, target = ctx.saved_tensors
        result = gradient.new_empty(ctx.shape)
        _loops()[1](gradient.contiguous().numpy(), harmonics.numpy(), target.numpy(), result.numpy())
        return result, None, None, None


@cache
def _loops() -> tuple[Callable[..., Any], Callable[..., Any]]:
    import numba

    def forward(functions: np.ndarray, harmonics: np.ndarray, target: np.ndarray, out: np.ndarray) -> None:
        for e in range(len(target)):
            row = out[target[e]]
            for l in range(functions.shape[1]):
                for k in range(l * l, (l + 1) * (l + 1)):
                    y = harmonics[e, k]
                    for v in range(functions.shape[2]):
                        row[k, v] += y * functions[e, l, v]

    def backward(gradient: np.ndarray, harmonics: np.ndarray, target: np.ndarray, result: np.ndarray) -> None:
        for e in range(len(target)):
            row = gradient[target[e]]
            for l in range(result.shape[1]):
                for v in range(result.shape[2]):
                    result[e, l, v] = 0.0
                for k in range(l * l, (l + 1) * (l + 1)):
                    y = harmonics[e, k]
                    for v in range(result.shape[2]):
                        result[e, l, v] += y * row[k, v]

    jit = numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
    return jit(forward), jit(backward)
