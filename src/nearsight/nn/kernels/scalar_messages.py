"""Messages of the first node update, whose inputs are invariant: no rotation, no convolution of order m > 0.

A feature with l = 0 only is the same in every frame, so the convolutions see order m = 0 alone, and turning the result
back multiplies it by the column m = 0 of Dᵀ, which is Y_lm of the bond. The message is a function of (Z_i, Z_j, r)
times Y_lm: exact, not an approximation. Slow twin: `NodeUpdate.messages`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from nearsight.nn.attention import softmax_over_targets
from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.kernels.aggregate import aggregate

if TYPE_CHECKING:
    from nearsight.nn.node_update import NodeUpdate


def scalar_messages(update: NodeUpdate, scalars: Tensor, gaussians: Tensor, graph: GraphTensors) -> Tensor:
    """Attention-weighted sum of all messages at each node.

    Args:
        update: whose parameters are used.
        scalars: (n, C), the nodes' only features.
        gaussians: (e, G) which are also the edges' only features.
        graph: nodes and edges.

    Returns:
        (n, K, heads·value).
    """
    w = update.widths
    logits, values = _functions_of_distance(update, scalars, gaussians, graph)
    weights = softmax_over_targets(logits, graph.target, graph.n_nodes)
    values = (values.unflatten(2, (w.heads, w.value)) * weights[:, None, :, None]).flatten(2)
    return aggregate(values, graph.harmonics, graph.target, graph.n_nodes)


def _functions_of_distance(
    update: NodeUpdate, scalars: Tensor, gaussians: Tensor, graph: GraphTensors
) -> tuple[Tensor, Tensor]:
    """Logits (e, heads) and the factor of Y_l of each message (e, l_max+1, heads·value)."""
    w = update.widths
    width = 3 * w.channels
    normed = update.norm_message.scalar(scalars)
    numbers_source, numbers_target = graph.numbers[graph.source], graph.numbers[graph.target]
    last = cast(nn.Linear, update.radial.network[-1])
    hidden = torch.cat([gaussians, update.radial.source(numbers_source), update.radial.target(numbers_target)], dim=1)
    for step in list(update.radial.network)[:-1]:
        hidden = step(hidden)
    radial = torch.addmm(last.bias[:width], hidden, last.weight[:width].T)
    message = torch.cat([normed[graph.source], normed[graph.target], gaussians], dim=1) * radial
    first = torch.addmm(update.first.order_zero.bias, message, update.first.order_zero.weight[:, :width].T)
    n_alpha, n_extra = w.heads * w.alpha, update.first.extra
    logits = update.attention(first[:, :n_alpha])
    gates = torch.sigmoid(first[:, n_alpha:n_extra])
    invariant, higher = first[:, n_extra:n_extra + w.hidden], first[:, n_extra + w.hidden:]
    gated = torch.cat([torch.nn.functional.silu(invariant), higher * gates], dim=1)
    return logits, update.second.order_zero(gated).unflatten(1, (w.l_max + 1, w.heads * w.value))
