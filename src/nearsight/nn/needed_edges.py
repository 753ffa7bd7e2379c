"""How often each edge must be updated: labelled edges in every layer, those of a halo less often the farther out.

Labelled outputs read the labelled edges after all updates. The node update of layer k reads, after k − 1 edge updates,
the edges into every node that is still needed; those nodes' sources are needed one layer earlier. What is never read
need not be computed: in a halo of several hops that is most of it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def updates_needed(
    source: Tensor, target: Tensor, n_nodes: int, n_labelled: int, n_labelled_edges: int, layers: int
) -> Tensor:
    """(e,) int64: edge updates that the labelled outputs need of each edge, `layers` for labelled ones.

    Args:
        source, target: (e,) node positions of each edge, labelled edges first.
        n_nodes: nodes, labelled ones first.
        n_labelled: nodes with labels.
        n_labelled_edges: edges with labels.
        layers: message-passing layers.
    """
    updates = torch.zeros_like(source)
    updates[:n_labelled_edges] = layers
    needed = torch.zeros(n_nodes, dtype=torch.bool, device=source.device)
    needed[:n_labelled] = True
    needed[source[:n_labelled_edges]] = True
    needed[target[:n_labelled_edges]] = True
    for done in range(layers - 1, 0, -1):
        read = needed[target]
        updates = torch.where(read, updates.clamp(min=done), updates)
        needed[source[read]] = True
    return updates


def leading_edges(updates: Tensor, layers: int) -> list[int]:
    """For the edge update of each layer: how many of the first edges hold all that need it."""
    positions = torch.arange(1, len(updates) + 1, device=updates.device)
    return [int(torch.where(updates > layer, positions, 0).max()) if len(updates) else 0 for layer in range(layers)]
