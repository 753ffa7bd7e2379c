"""Nodes in groups with all edges that arrive at them, so that each node's attention is complete within a group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.graph_tensors import GraphTensors


@dataclass(frozen=True)
class Group:
    """Nodes first … last − 1.

    Attributes:
        first, last: the nodes.
        edges: (e,) their incoming edges, sorted by target.
        ends: (last − first,) where in `edges` those of each node end.
    """

    first: int
    last: int
    edges: Tensor
    ends: np.ndarray


def group_by_target(graph: GraphTensors, size: int) -> list[Group]:
    """Consecutive nodes whose incoming edges number at least `size` (the last group: what is left)."""
    order = torch.argsort(graph.target, stable=True)
    ends = torch.cumsum(torch.bincount(graph.target, minlength=graph.n_nodes), 0).cpu().numpy()
    groups, first, start = [], 0, 0
    for node, end in enumerate(ends.tolist()):
        if end - start >= size or node == len(ends) - 1:
            groups.append(Group(first, node + 1, order[start:end], ends[first:node + 1] - start))
            first, start = node + 1, end
    return groups
