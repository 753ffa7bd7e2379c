"""The features of atoms on a CPU: standardised densities, kept between steps, times the weights of their elements.

The standardised inputs depend on the structure alone, once means and spreads are set; all steps need the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from nearsight.nn.architectures.nearsight.graph import BondGraph
from nearsight.nn.architectures.nearsight.kernels import mixing_loops
from nearsight.nn.kernels.one_memory import gradient_of, in_one_memory
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


def add_gradient(inputs: Standardised, weights: Sequence[torch.nn.Parameter], above: Tensor) -> None:
    """Add the gradient of `mixed` to that of the weights (`grad`).

    Parameters
    ----------
    inputs, weights
        Arguments of `mixed`.
    above : Tensor
        (n, (l_max+1)², channels), gradient of the features.
    """
    gradients = [gradient_of(w) for w in weights]
    flat = in_one_memory(gradients)
    if flat is not None:
        _add_back(inputs, gradients, above, flat)
        return
    flat = torch.cat([g.reshape(-1) for g in gradients])
    _add_back(inputs, gradients, above, flat)
    torch._foreach_copy_(gradients, _divided(flat, [g.shape for g in gradients]))


def _add_back(inputs: Standardised, weights: Sequence[Tensor], above: Tensor, flat: Tensor) -> None:
    above, scratch = above.contiguous(), _scratch(above)
    with one_core():
        for rows, own, where in zip(inputs.rows, inputs.inputs, _places(weights)):
            mixing_loops.mix_back(own, rows, inputs.counts, above.numpy(), where, scratch, flat.numpy())


def _places(weights: Sequence[Tensor]) -> np.ndarray:
    """(elements, l_max+1) offsets of the weights of each element and degree in one memory."""
    starts = np.cumsum([0] + [w.numel() for w in weights[:-1]])
    return starts + np.arange(len(weights[0]))[:, None] * [w[0].numel() for w in weights]


def _scratch(like: Tensor) -> np.ndarray:
    _, components, channels = like.shape
    width = (2 * round(components**0.5) - 1) * channels
    return np.empty(mixing_loops.ATOMS * width, dtype=like.detach().numpy().dtype)


def _divided(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    return [part.view(shape) for part, shape in zip(flat.split([shape.numel() for shape in shapes]), shapes)]


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Standardised, *weights: Tensor) -> Tensor:
        own = [w.detach() for w in weights]
        flat = in_one_memory(own)
        flat = torch.cat([w.reshape(-1) for w in own]) if flat is None else flat
        result = own[0].new_empty(inputs.n_atoms, len(own) ** 2, own[0].shape[2])
        scratch = _scratch(result)
        with one_core():
            for rows, x, where in zip(inputs.rows, inputs.inputs, _places(own)):
                mixing_loops.mix(x, rows, inputs.counts, flat.numpy(), where, scratch, result.numpy())
        ctx.inputs, ctx.weights = inputs, own
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        flat = gradients[0].new_zeros(sum(w.numel() for w in ctx.weights))
        _add_back(ctx.inputs, ctx.weights, gradients[0], flat)
        return (None, *_divided(flat, [w.shape for w in ctx.weights]))
