"""Node and edge updates, attention, radial weights and heads of the network `xia2025` (paper, section 3.2).

The node update is attention over messages in the bond frames, then a feed-forward network. In the edge update the two
nodes of an edge change its features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nearsight.nn.architectures.xia2025.config import Widths
from nearsight.nn.architectures.xia2025.graph_tensors import GraphTensors
from nearsight.nn.architectures.xia2025.so2 import SO2Convolution, in_common_axes, pair_in_frames, rotate, rotate_back
from nearsight.nn.architectures.xia2025.so3 import (
    EquivariantLayerNorm,
    FeedForward,
    Gate,
    SO3Linear,
    components,
    degree_of_component,
    of_components,
    only_scalars,
    permuted,
)
from nearsight.nn.kernels.device_memory import compiles_kernels
from nearsight.nn.kernels.incidence import Incidence


class SmoothLeakyReLU(nn.Module):
    """The smooth leaky ReLU ½(1+a)x + ½(1−a)x(2σ(x) − 1) (EquiformerV2).

    Parameters
    ----------
    slope : float
        Slope a for negative x.
    """

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Return the function of x, of any shape."""
        return (1 + self.slope) / 2 * x + (1 - self.slope) / 2 * x * (2 * torch.sigmoid(x) - 1)


def softmax_over_targets(logits: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """Return weights that sum to one over the edges of each target.

    Parameters
    ----------
    logits : Tensor
        (e, heads).
    target : Tensor
        (e,) int64, node at which each edge arrives.
    n_nodes : int
        Number of nodes; those without edges have no weights.

    Returns
    -------
    Tensor
        (e, heads).
    """
    index = target[:, None].expand_as(logits)
    highest = logits.new_full((n_nodes, logits.shape[1]), -torch.inf)
    highest = highest.scatter_reduce(0, index, logits.detach(), "amax")
    weight = torch.exp(logits - highest[target])
    return weight / sum_over_targets(weight, target, n_nodes)[target]


def sum_over_targets(values: Tensor, target: Tensor, n_nodes: int) -> Tensor:
    """Return the sum of the rows of all edges that arrive at each node, on a GPU without atomic additions if possible.

    Parameters
    ----------
    values : Tensor
        (e, …).
    target : Tensor
        (e,) int64, node at which each edge arrives.
    n_nodes : int
        Number of nodes.

    Returns
    -------
    Tensor
        (n_nodes, …).
    """
    if compiles_kernels(values.device):
        # Triton comes with torch for GPUs alone.
        from nearsight.nn.kernels.rotation_kernels import node_sums

        return node_sums(values, target, Incidence.of(target, n_nodes))
    return values.new_zeros(n_nodes, *values.shape[1:]).index_add(0, target, values)


class AttentionLogits(nn.Module):
    """One attention logit per head from the head's own invariant channels.

    Parameters
    ----------
    heads, channels : int
        Heads, and channels of each.
    """

    def __init__(self, heads: int, channels: int) -> None:
        super().__init__()
        self.heads = heads
        bound = 1 / math.sqrt(channels)
        self.norm = nn.LayerNorm(channels)
        self.activation = SmoothLeakyReLU()
        self.vector = nn.Parameter(torch.empty(heads, channels).uniform_(-bound, bound))

    def forward(self, invariants: Tensor) -> Tensor:
        """Return logits (e, heads) from invariants (e, heads·channels)."""
        x = self.activation(self.norm(invariants.unflatten(1, self.vector.shape)))
        return torch.einsum("ehc,hc->eh", x, self.vector)


class CoupledHead(nn.Module):
    """Linear map from features to the coupled target: every irrep combines the channels of its degree; a bias on l = 0.

    It equals e3nn's `o3.Linear(channels x 0e + … , targets)`. Rows of `weight` are the target's irreps sorted by degree
    (stable), which is e3nn's order.

    Parameters
    ----------
    channels : int
        Channels of the features.
    degrees : sequence of int
        Degree of every irrep of the target.
    """

    restore: Tensor
    places: Tensor

    def __init__(self, channels: int, degrees: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(len(degrees), channels))
        self.bias = nn.Parameter(torch.zeros(sum(l == 0 for l in degrees)))
        self.scale = 1 / math.sqrt(channels)
        self.l_max = max(degrees)
        counts = [sum(d == l for d in degrees) for l in range(self.l_max + 1)]
        self.rows = [slice(sum(counts[:l]), sum(counts[: l + 1])) for l in range(self.l_max + 1)]
        self.register_buffer("restore", _restore(degrees), persistent=False)
        self.register_buffer("places", torch.argsort(self.restore), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return coupled vectors (n, size) from features x (n, K, channels)."""
        parts = []
        for l, rows in enumerate(self.rows):
            part = self.scale * (x[:, components(l)] @ self.weight[rows].T)
            parts.append((part + self.bias if l == 0 else part).transpose(1, 2).flatten(1))
        return permuted(torch.cat(parts, dim=1), self.restore, self.places)


def _restore(degrees: Sequence[int]) -> Tensor:
    """Return for every number of the coupled vector its place when the irreps are sorted by degree."""
    starts, at = {}, 0
    for k in sorted(range(len(degrees)), key=lambda k: degrees[k]):
        starts[k] = at
        at += 2 * degrees[k] + 1
    return torch.tensor([starts[k] + m for k, l in enumerate(degrees) for m in range(2 * l + 1)])


class GaussianBasis(nn.Module):
    """Gaussians of the distance with fixed centres, equally spaced on [0, upper] Å; σ = width × spacing.

    Parameters
    ----------
    count : int
        Number of Gaussians.
    upper : float
        Largest centre, Å.
    width : float
        σ in units of the spacing.
    """

    centres: Tensor

    def __init__(self, count: int, upper: float = 13.0, width: float = 2.0) -> None:
        super().__init__()
        centres = torch.linspace(0.0, upper, count, dtype=torch.float64)
        self.register_buffer("centres", centres, persistent=False)
        self.exponent = -0.5 / (width * float(centres[1] - centres[0])) ** 2

    def forward(self, distance: Tensor) -> Tensor:
        """Return (e, count) values at distances (e,) in Å."""
        return torch.exp(self.exponent * (distance[:, None] - self.centres.to(distance.dtype)) ** 2)


class RadialWeights(nn.Module):
    """Weights of every (degree, channel) of a message from the distance and the elements of source and target.

    Parameters
    ----------
    n_gaussians : int
        Radial functions.
    channels : int
        Channels inside, and of the embeddings of the elements.
    outputs : int
        Number of weights.
    max_number : int
        Number of elements with an embedding.
    """

    def __init__(self, n_gaussians: int, channels: int, outputs: int, max_number: int) -> None:
        super().__init__()
        self.source = nn.Embedding(max_number, channels)
        self.target = nn.Embedding(max_number, channels)
        for table in (self.source, self.target):
            nn.init.uniform_(table.weight, -0.001, 0.001)
        self.network = nn.Sequential(
            nn.Linear(n_gaussians + 2 * channels, channels),
            nn.LayerNorm(channels),
            nn.SiLU(),
            nn.Linear(channels, channels),
            nn.LayerNorm(channels),
            nn.SiLU(),
            nn.Linear(channels, outputs),
        )

    def forward(self, gaussians: Tensor, number_source: Tensor, number_target: Tensor) -> Tensor:
        """Return the weights of edges.

        Parameters
        ----------
        gaussians : Tensor
            (e, n_gaussians).
        number_source, number_target : Tensor
            (e,) int64, atomic numbers.

        Returns
        -------
        Tensor
            (e, outputs).
        """
        return self.network(torch.cat([gaussians, self.source(number_source), self.target(number_target)], dim=1))


class NodeUpdate(nn.Module):
    """Node update n_j ← n_j + Σ_i attention-weighted messages (i → j); n_j ← n_j + feed-forward(n_j).

    A message is [norm(n_i), norm(n_j), e_ij], weighted by functions of the distance and the elements, turned into the
    frame of the bond, convolved, gated, convolved, and turned back.

    Parameters
    ----------
    widths : Widths
        Sizes.
    """

    degree: Tensor

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        w = widths
        self.widths = w
        self.norm_message = EquivariantLayerNorm(w.channels, w.l_max)
        self.norm_feed_forward = EquivariantLayerNorm(w.channels, w.l_max)
        self.radial = RadialWeights(w.n_gaussians, w.channels, 3 * w.channels * (w.l_max + 1), w.max_number)
        self.attention = AttentionLogits(w.heads, w.alpha)
        self.first = SO2Convolution(3 * w.channels, w.hidden, w.l_max, w.heads * w.alpha + w.l_max * w.hidden)
        self.gate = Gate(w.l_max)
        self.second = SO2Convolution(w.hidden, w.heads * w.value, w.l_max)
        self.project = SO3Linear(w.heads * w.value, w.channels, w.l_max)
        self.feed_forward = FeedForward(w.channels, w.feed_forward, w.l_max)
        self.register_buffer("degree", degree_of_component(w.l_max), persistent=False)

    def forward(self, nodes: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Return the updated nodes.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C).
        edges : Tensor
            (e, K, C) in the common axes.
        gaussians : Tensor
            (e, G).
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        Tensor
            (n, K, C).
        """
        logits, values = self.messages(self.norm_message(nodes), edges, gaussians, graph)
        return self.finish(nodes, self.sum_up(logits, values, graph.target, graph.n_nodes))

    def sum_up(self, logits: Tensor, values: Tensor, target: Tensor, n_nodes: int) -> Tensor:
        """Return the attention-weighted sum of values at each target.

        Parameters
        ----------
        logits : Tensor
            (e, heads).
        values : Tensor
            (e, K, heads·value).
        target : Tensor
            (e,) int64.
        n_nodes : int
            Number of nodes.

        Returns
        -------
        Tensor
            (n_nodes, K, heads·value).
        """
        weights = softmax_over_targets(logits, target, n_nodes)
        values = values.unflatten(2, (self.widths.heads, self.widths.value)) * weights[:, None, :, None]
        return sum_over_targets(values, target, n_nodes).flatten(2)

    def finish(self, nodes: Tensor, received: Tensor) -> Tensor:
        """Return the updated nodes from the sums of weighted messages: projection and feed-forward network.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C).
        received : Tensor
            (n, K, heads·value).

        Returns
        -------
        Tensor
            (n, K, C).
        """
        nodes = nodes + self.project(received)
        return nodes + self.feed_forward(self.norm_feed_forward(nodes))

    def messages(self, normed: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors) -> tuple[Tensor, Tensor]:
        """Return attention logits and values of every edge.

        Parameters
        ----------
        normed : Tensor
            (n, K, C), nodes after `norm_message`.
        edges : Tensor
            (e, K, C) in the common axes.
        gaussians : Tensor
            (e, G).
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        tuple of Tensor
            (e, heads) and (e, K, heads·value).
        """
        message = torch.cat([normed.index_select(0, graph.source), normed.index_select(0, graph.target), edges], dim=2)
        weights = self.weights(gaussians, graph)
        return self.convolve(rotate(message * of_components(weights, self.degree, 1), graph.wigner), graph)

    def messages_in_frames(
        self, normed: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors
    ) -> tuple[Tensor, Tensor]:
        """Return `messages` of edges given in the frames of their bonds, so that only the two nodes have to be turned.

        Parameters
        ----------
        normed, gaussians, graph
            Arguments of `messages`.
        edges : Tensor
            (e, K, C) in the frames of the bonds.

        Returns
        -------
        tuple of Tensor
            (e, heads) and (e, K, heads·value).
        """
        message = torch.cat([pair_in_frames(normed, graph), edges], dim=2)
        weights = self.weights(gaussians, graph)
        return self.convolve(message * of_components(weights, self.degree, 1), graph)

    def weights(self, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Return the radial weights (e, l_max+1, 3C) of the messages.

        Parameters
        ----------
        gaussians : Tensor
            (e, G).
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        Tensor
            (e, l_max+1, 3C).
        """
        radial = self.radial(gaussians, graph.numbers[graph.source], graph.numbers[graph.target])
        return radial.unflatten(1, (self.widths.l_max + 1, 3 * self.widths.channels))

    def convolve(self, message: Tensor, graph: GraphTensors) -> tuple[Tensor, Tensor]:
        """Return logits and values of messages in the frames of their bonds.

        Parameters
        ----------
        message : Tensor
            (e, K, 3C).
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        tuple of Tensor
            (e, heads), and (e, K, heads·value) in the common axes.
        """
        w = self.widths
        hidden, extra = self.first(message)
        logits = self.attention(extra[:, : w.heads * w.alpha])
        hidden, _ = self.second(self.gate(hidden, extra[:, w.heads * w.alpha :]))
        return logits, in_common_axes(hidden, graph)


class EdgeUpdate(nn.Module):
    """Edge update e_ij ← e_ij + message; e_ij ← e_ij + feed-forward(e_ij).

    The message is built like a node's, without attention, from [n_i, n_j, norm(e_ij)] with the updated nodes. The
    published network computes heads × alpha further outputs of the convolution and does not use them; they are kept so
    that its parameters fit.

    Parameters
    ----------
    widths : Widths
        Sizes.
    """

    degree: Tensor

    def __init__(self, widths: Widths) -> None:
        super().__init__()
        w = widths
        self.widths = w
        self.unused = w.heads * w.alpha
        self.norm_message = EquivariantLayerNorm(w.channels, w.l_max)
        self.norm_feed_forward = EquivariantLayerNorm(w.channels, w.l_max)
        self.radial = RadialWeights(w.n_gaussians, w.channels, 3 * w.channels * (w.l_max + 1), w.max_number)
        self.convolution = SO2Convolution(3 * w.channels, w.hidden, w.l_max, self.unused + w.l_max * w.hidden)
        self.gate = Gate(w.l_max)
        self.project = SO3Linear(w.hidden, w.channels, w.l_max)
        self.feed_forward = FeedForward(w.channels, w.feed_forward, w.l_max)
        self.register_buffer("degree", degree_of_component(w.l_max), persistent=False)

    def forward(self, nodes: Tensor, edges: Tensor, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Return the updated edges.

        Parameters
        ----------
        nodes : Tensor
            (n, K, C).
        edges : Tensor
            (e, K, C) in the common axes.
        gaussians : Tensor
            (e, G).
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        Tensor
            (e, K, C).
        """
        parts = [nodes.index_select(0, graph.source), nodes.index_select(0, graph.target), self.norm_message(edges)]
        message = torch.cat(parts, dim=2) * of_components(self.weights(gaussians, graph), self.degree, 1)
        hidden, extra = self.convolution(rotate(message, graph.wigner))
        return self.finish(edges, rotate_back(self.gate(hidden, extra[:, self.unused :]), graph.wigner))

    def in_frames(self, nodes: Tensor, edges: Tensor | None, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Return `forward` with the edges given and returned in the frames of their bonds.

        All but the two nodes commutes with turning an edge, so nothing else has to be turned.

        Parameters
        ----------
        nodes, gaussians, graph
            Arguments of `forward`.
        edges : Tensor or None
            (e, K, C) in the frames of the bonds; None for the initial, invariant ones.

        Returns
        -------
        Tensor
            (e, K, C) in the frames of the bonds.
        """
        ends = graph.numbers[graph.source], graph.numbers[graph.target]
        return self.of_pair(pair_in_frames(nodes, graph), edges, gaussians, *ends)

    def of_pair(
        self, pair: Tensor, edges: Tensor | None, gaussians: Tensor, number_source: Tensor, number_target: Tensor
    ) -> Tensor:
        """Return `in_frames` from the two nodes of every edge in its frame; every edge by itself.

        Parameters
        ----------
        pair : Tensor
            (e, K, 2C).
        edges, gaussians
            Arguments of `in_frames`.
        number_source, number_target : Tensor
            (e,) int64, atomic numbers.

        Returns
        -------
        Tensor
            (e, K, C) in the frames of the bonds.
        """
        channels = self.widths.channels
        radial = self.radial(gaussians, number_source, number_target).unflatten(
            1, (self.widths.l_max + 1, 3 * channels)
        )
        pair_weights, own_weights = radial.split([2 * channels, channels], dim=2)
        pair = pair * of_components(pair_weights, self.degree, 1)
        if edges is None:
            edges = only_scalars(gaussians, self.widths.l_max)
            own = self.norm_message.scalar(gaussians) * own_weights[:, 0]
            hidden, extra = self.convolution.with_scalars(pair, own)
        else:
            own = self.norm_message(edges) * of_components(own_weights, self.degree, 1)
            hidden, extra = self.convolution(torch.cat([pair, own], dim=2))
        return self.finish(edges, self.gate(hidden, extra[:, self.unused :]))

    def weights(self, gaussians: Tensor, graph: GraphTensors) -> Tensor:
        """Return the radial weights of the messages.

        Parameters
        ----------
        gaussians : Tensor
            (e, G).
        graph : GraphTensors
            Nodes and edges.

        Returns
        -------
        Tensor
            (e, l_max+1, 3C).
        """
        radial = self.radial(gaussians, graph.numbers[graph.source], graph.numbers[graph.target])
        return radial.unflatten(1, (self.widths.l_max + 1, 3 * self.widths.channels))

    def finish(self, edges: Tensor, hidden: Tensor) -> Tensor:
        """Return the updated edges from the convolved messages, in any frame.

        Parameters
        ----------
        edges : Tensor
            (e, K, C).
        hidden : Tensor
            (e, K, hidden).

        Returns
        -------
        Tensor
            (e, K, C).
        """
        edges = edges + self.project(hidden)
        return edges + self.feed_forward(self.norm_feed_forward(edges))
