"""Incidence: which rows, such as ends of edges, belong to each node; what sums over them need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Incidence:
    """Rows sorted by the node that they belong to.

    Attributes
    ----------
    order : Tensor
        (e,) int64, the rows.
    start : Tensor
        (n + 1,) int64, where in `order` those of each node begin.
    """

    order: Tensor
    start: Tensor

    @classmethod
    def of(cls, node: Tensor, n_nodes: int) -> Incidence:
        """Return the incidence of rows.

        Parameters
        ----------
        node : Tensor
            (e,) int64, the node of each row.
        n_nodes : int
            Number of nodes.

        Returns
        -------
        Incidence
            On the same device; rows of one node in ascending order.
        """
        nodes, order = torch.sort(node, stable=True)
        return cls(order, torch.searchsorted(nodes, torch.arange(n_nodes + 1, device=node.device)))
