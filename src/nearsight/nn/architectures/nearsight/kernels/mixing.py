"""The features of atoms on a CPU: standardised densities, kept between steps, times the weights of their elements.

The standardised inputs depend on the structure alone, once means and spreads are set; all steps need the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from nearsight.nn.architectures.nearsight.graph import BondGraph
from nearsight.nn.architectures.nearsight.kernels import mixing_loops
from nearsight.nn.kernels.one_memory import in_one_memory
from nearsight.nn.kernels.threads import one_core


@dataclass(frozen=True, eq=False)
class Standardised:
    """Inputs of the atoms of a graph, by element.

    Attributes
    ----------
    by : tuple of Tensor
        Means and spreads with which they were standardised.
    rows : list of ndarray
        Atoms of each element.
    inputs : list of ndarray
        For each element, flat, an array (n_k, 2l+1, F_l) for each degree l.
    counts : ndarray
        (l_max+1,) numbers F_l.
    n_atoms : int
        Number of atoms.
    """

    by: tuple[Tensor, ...]
    rows: list[np.ndarray]
    inputs: list[np.ndarray]
    counts: np.ndarray
    n_atoms: int


_KEPT = WeakIdKeyDictionary()
"""Densities of a graph → their last `Standardised`."""


def standardised(graph: BondGraph, elements: int, l_max: int, *by: Tensor) -> Standardised:
    """Return the standardised inputs of a graph's atoms, those of the last call where nothing has changed.

    Parameters
    ----------
    graph : BondGraph
        The atoms, on the CPU.
    elements : int
        Number of elements.
    l_max : int
        Highest degree.
    by : Tensor
        Means of the densities of degree 0, spreads of all, means and spreads of the scalars of each element.

    Returns
    -------
    Standardised
        The inputs.
    """
    known = _KEPT.get(graph.densities)
    if known is not None and all(torch.equal(a, b) for a, b in zip(known.by, by)):
        return known  # type: ignore[no-any-return]
    density_mean, density_spread, scalar_mean, scalar_spread = by
    rows = [torch.nonzero(graph.element == k)[:, 0] for k in range(elements)]
    inputs: list[np.ndarray] = []
    for k, own in enumerate(rows):
        densities, scalars = graph.densities[own], (graph.scalars[own] - scalar_mean[k]) / scalar_spread[k]
        parts = [densities[:, l * l : (l + 1) ** 2] / density_spread[l] for l in range(1, l_max + 1)]
        first = torch.cat([(densities[:, 0] - density_mean) / density_spread[0], scalars], dim=1)
        inputs.append(torch.cat([first.reshape(-1), *(part.reshape(-1) for part in parts)]).numpy())
    count = graph.densities.shape[2]
    counts = np.array([count + graph.scalars.shape[1]] + [count] * l_max)
    found = Standardised(tuple(t.clone() for t in by), [r.numpy() for r in rows], inputs, counts, len(graph.element))
    _KEPT[graph.densities] = found
    return found


def mixed(inputs: Standardised, weights: Sequence[Tensor]) -> Tensor:
    """Return the features of all atoms, differentiable by the weights.

    Parameters
    ----------
    inputs : Standardised
        What `standardised` returned.
    weights : sequence of Tensor
        (elements, F_l, channels) for each degree l.

    Returns
    -------
    Tensor
        (n, (l_max+1)², channels).
    """
    result: Tensor = _Mixed.apply(inputs, *weights)
    return result


def mixed_values(inputs: Standardised, shapes: Sequence[torch.Size], weights: np.ndarray) -> np.ndarray:
    """Return the features of all atoms.

    Parameters
    ----------
    inputs : Standardised
        What `standardised` returned.
    shapes : sequence of Size
        (elements, F_l, channels) for each degree l.
    weights : ndarray
        (n,) the weights of all degrees, one after another.

    Returns
    -------
    ndarray
        (n, (l_max+1)², channels).
    """
    result = np.empty((inputs.n_atoms, len(shapes) ** 2, shapes[0][2]), dtype=weights.dtype)
    scratch = _scratch(result)
    for rows, x, where in zip(inputs.rows, inputs.inputs, _offsets(tuple(shapes))):
        mixing_loops.mix(x, rows, inputs.counts, weights, where, scratch, result)
    return result


def add_gradient(inputs: Standardised, shapes: Sequence[torch.Size], above: np.ndarray, gradients: np.ndarray) -> None:
    """Add the gradient of `mixed_values` to that of the weights.

    Parameters
    ----------
    inputs, shapes
        Arguments of `mixed_values`.
    above : ndarray
        (n, (l_max+1)², channels), gradient of the features.
    gradients : ndarray
        (n,) gradient of the weights of all degrees, one after another, added to.
    """
    scratch = _scratch(above)
    for rows, own, where in zip(inputs.rows, inputs.inputs, _offsets(tuple(shapes))):
        mixing_loops.mix_back(own, rows, inputs.counts, above, where, scratch, gradients)


@cache
def _offsets(shapes: tuple[torch.Size, ...]) -> np.ndarray:
    """(elements, l_max+1) offsets of the weights of each element and degree in one memory."""
    starts = np.cumsum([0] + [shape.numel() for shape in shapes[:-1]])
    return starts + np.arange(shapes[0][0])[:, None] * [shape[1:].numel() for shape in shapes]


def _scratch(like: np.ndarray) -> np.ndarray:
    _, components, channels = like.shape
    width = (2 * round(components**0.5) - 1) * channels
    return np.empty(mixing_loops.ATOMS * width, dtype=like.dtype)


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Standardised, *weights: Tensor) -> Tensor:
        own = [w.detach() for w in weights]
        flat = in_one_memory(own)
        flat = torch.cat([w.reshape(-1) for w in own]) if flat is None else flat
        ctx.inputs, ctx.shapes = inputs, [w.shape for w in own]
        with one_core():
            return torch.from_numpy(mixed_values(inputs, ctx.shapes, flat.numpy()))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        counts = [shape.numel() for shape in ctx.shapes]
        flat = gradients[0].new_zeros(sum(counts))
        with one_core():
            add_gradient(ctx.inputs, ctx.shapes, gradients[0].contiguous().numpy(), flat.numpy())
        return (None, *(part.view(shape) for part, shape in zip(flat.split(counts), ctx.shapes)))
