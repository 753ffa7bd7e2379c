"""One thread's passes over chunks of edges: the first edge update and the head, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.edge_targets import EdgeTargets
from nearsight.nn.graph_tensors import GraphTensors
from nearsight.nn.kernels.buffers import Buffers
from nearsight.nn.kernels.degree_kernels import degree_sweep
from nearsight.nn.kernels.radial_pass import N_PARAMETERS, RadialPass
from nearsight.nn.so3 import EPSILON

if TYPE_CHECKING:
    from nearsight.nn.kernels.edge_engine import EdgeEngine


@dataclass
class Gradients:
    """Sums of one thread."""

    packed: list[Tensor]
    radial: list[Tensor]
    nodes: Tensor
    error: float = 0.0


class EdgeChunk:
    """Buffers and passes of one thread. Call `begin`, then one of `outputs`, `compare` and `backward`.

    Args:
        engine: sizes and loops.
        nodes: (n, K, C).
        packed, radial: what `pack` and `pack_radial_inputs` give, detached and contiguous.
    """

    def __init__(self, engine: EdgeEngine, nodes: Tensor, packed: Sequence[Tensor], radial: Sequence[Tensor]) -> None:
        self.engine, self.nodes, self.layout = engine, nodes, engine.layout
        lay = self.layout
        n_orders = lay.l_max + 1
        self.convolutions = list(packed[:n_orders])
        (self.convolution_bias, self.project, self.project_bias, self.scale, self.bias, self.norm_weight,
         self.invariant, self.invariant_bias, self.up, self.down, self.down_bias, self.head,
         self.head_bias) = packed[n_orders:]
        self.up_t, self.down_t, self.project_t = (p.transpose(1, 2).contiguous()
                                                  for p in (self.up, self.down, self.project))
        self.buffer = Buffers(nodes.dtype)
        self.radial = RadialPass(radial[:N_PARAMETERS], self.buffer)
        self.own_scale, self.own_bias = radial[N_PARAMETERS:]
        self.sweep = degree_sweep(lay.l_max, lay.channels, lay.feed_forward)

    def segment(self, name: str, width: int) -> Tensor:
        """A degree-major buffer, flat: degree l is a (B·(2l+1), width) matrix from l²·B·width on."""
        return self.buffer(name, (self.layout.l_max + 1) ** 2 * self.n * width)

    def invariants(self, segment: Tensor) -> Tensor:
        """Degree 0 of a segment, (B, C)."""
        return segment[: self.n * self.layout.channels].view(self.n, -1)

    @torch.no_grad()
    def begin(self, graph: GraphTensors, piece: slice) -> None:
        """Forward pass of a slice of the edges up to the norm before the feed-forward network."""
        lay, ker = self.layout, self.engine.kernels
        self.n = piece.stop - piece.start
        self.source, self.target = graph.source[piece].numpy(), graph.target[piece].numpy()
        self.wigner = graph.frames[piece].numpy()
        self.gaussians = self.engine.gaussians(graph.distance[piece])
        numbers = graph.numbers.numpy()
        self.weights = self.radial.forward(self.gaussians, numbers[self.source], numbers[self.target])
        self.x = self.buffer("x", self.n, lay.x_blocks[-1].stop)
        ker.gather(self.nodes.numpy(), self.source, self.target, self.wigner, self.weights.numpy(), lay.x_place,
                   self.x.numpy())
        self.own = self.buffer("own", self.n, lay.channels)
        ker.own(self.gaussians.numpy(), self.own_scale.numpy(), self.own_bias.numpy(), self.weights.numpy(), EPSILON,
                self.own.numpy(), self.x.numpy())
        self._convolve()
        self._project()

    def _convolve(self) -> None:
        lay = self.layout
        self.y = self.buffer("y", self.n, lay.y_blocks[-1].stop)
        for m, (weight, a, b) in enumerate(zip(self.convolutions, lay.x_blocks, lay.y_blocks)):
            if m == 0:
                torch.addmm(self.convolution_bias, self.x[:, a], weight.T, out=self.y[:, b])
            else:
                torch.mm(self.x[:, a], weight.T, out=self.y[:, b])
        width = (lay.l_max + 1) * lay.hidden
        self.gates = torch.sigmoid(self.y[:, :width], out=self.buffer("gates", self.n, width))
        self.z = self.segment("z", lay.hidden)
        self.engine.kernels.gate(self.y.numpy(), lay.y_place, self.gates.numpy(), self.z.numpy())

    def _project(self) -> None:
        lay = self.layout
        self.e, self.f = self.segment("e", lay.channels), self.segment("f", lay.channels)
        self.engine.kernels.project(self.z.numpy(), self.project_t.numpy(), self.project_bias.numpy(),
                                    self.gaussians.numpy(), self.e.numpy())
        self.statistics = self.buffer("statistics", self.n, 3)
        self.engine.kernels.norm(self.e.numpy(), self.scale.numpy(), self.bias.numpy(), self.norm_weight.numpy(),
                                 EPSILON, self.f.numpy(), self.statistics.numpy())
        width = (lay.l_max + 1) * lay.feed_forward
        self.raw = torch.addmm(self.invariant_bias, self.invariants(self.f), self.invariant.T,
                               out=self.buffer("raw", self.n, width))
        self.inner = torch.sigmoid(self.raw, out=self.buffer("inner", self.n, width))

    @torch.no_grad()
    def outputs(self) -> Tensor:
        """Coupled outputs (B, size) on the common axes, in a buffer."""
        engine = self.engine
        o = self._degrees(None, None)[1]
        out = self.buffer("out", self.n, engine.size)
        engine.kernels.rotate_out(o.numpy(), self.wigner, engine.counts, engine.starts, out.numpy())
        return out

    @torch.no_grad()
    def compare(self, targets: EdgeTargets, sums: Gradients, with_gradient: bool) -> None:
        """Add the error of the chunk's outputs, and where wanted its gradients."""
        sums.error += self._degrees(targets, sums if with_gradient else None)[0]
        if with_gradient:
            self._finish(sums)

    @torch.no_grad()
    def backward(self, gradient: Tensor, sums: Gradients) -> None:
        """Add the gradients of Σ gradient·output, gradient (B, size)."""
        self._degrees(gradient, sums)
        self._finish(sums)

    def _degrees(self, given: EdgeTargets | Tensor | None, sums: Gradients | None) -> tuple[float, Tensor]:
        """Feed-forward network and head, see `degree_sweep`, given targets, or the gradient of the outputs, or nothing.
        The error, and the outputs in the edges' frames."""
        targets = given if isinstance(given, EdgeTargets) else None
        values = given.values if isinstance(given, EdgeTargets) else given
        weights = None if targets is None else targets.weights
        engine, buffer, lay = self.engine, self.buffer, self.layout
        back = sums is not None
        o = buffer("o", self.n * engine.size)
        inside = buffer("given", self.n * engine.size)
        if values is not None:
            engine.kernels.rotate_in(values.contiguous().numpy(), self.wigner, engine.counts, engine.starts,
                                     inside.numpy())
        self.de, self.df = self.segment("de", lay.channels), self.segment("df", lay.channels)
        self.draw = buffer("draw", *self.raw.shape)
        factors = np.zeros((0, 0), dtype=bool) if weights is None else weights.contiguous().numpy()
        slots = self._slots(sums)
        error = self.sweep(
            targets is not None, back, 0.0 if targets is None else targets.softness, self.e.numpy(), self.f.numpy(),
            self.raw.numpy(), self.inner.numpy(), self.up.numpy(), self.up_t.numpy(),
            self.down.numpy(), self.down_t.numpy(), self.down_bias.numpy(), self.head.numpy(), self.head_bias.numpy(),
            engine.counts, engine.starts, inside.numpy(), factors, o.numpy(), self.de.numpy(), self.df.numpy(),
            self.draw.numpy(), *slots,
        )
        return float(error), o

    def _slots(self, sums: Gradients | None) -> list[np.ndarray]:
        """Where the sweep adds the gradients of the feed-forward network and the head."""
        values = [self.up, self.down, self.down_bias, self.head, self.head_bias]
        places = values if sums is None else sums.packed[-len(values):]
        return [cast(np.ndarray, p.numpy()) for p in places]

    def _finish(self, sums: Gradients) -> None:
        """From the gradients at the norm back to nodes and weights."""
        n_orders = self.layout.l_max + 1
        (d_bias, d_project, d_project_bias, d_scale, d_norm_bias, d_norm_weight, d_invariant,
         d_invariant_bias) = sums.packed[n_orders:n_orders + 8]
        d_invariant.addmm_(self.draw.T, self.invariants(self.f))
        d_invariant_bias += self.draw.sum(0)
        torch.mm(self.draw, self.invariant, out=self.invariants(self.df))
        self.engine.kernels.norm_back(
            self.e.numpy(), self.scale.numpy(), self.norm_weight.numpy(), self.statistics.numpy(), self.df.numpy(),
            self.de.numpy(), d_scale.numpy(), d_norm_bias.numpy(), d_norm_weight.numpy(),
        )
        dz = self.segment("dz", self.layout.hidden)
        self.engine.kernels.project_back(self.z.numpy(), self.project.numpy(), self.de.numpy(), dz.numpy(),
                                         d_project.numpy(), d_project_bias.numpy())
        self._convolve_back(dz, sums.packed[:n_orders], d_bias)
        self._gather_back(sums)

    def _convolve_back(self, dz: Tensor, d_convolutions: Sequence[Tensor], d_bias: Tensor) -> None:
        lay = self.layout
        dy = self.buffer("dy", self.n, lay.y_blocks[-1].stop)
        self.engine.kernels.gate_back(self.y.numpy(), lay.y_place, self.gates.numpy(), dz.numpy(), dy.numpy())
        self.dx = self.buffer("dx", self.n, lay.x_blocks[-1].stop)
        for weight, d_weight, a, b in zip(self.convolutions, d_convolutions, lay.x_blocks, lay.y_blocks):
            d_weight.addmm_(dy[:, b].T, self.x[:, a])
            torch.mm(dy[:, b], weight, out=self.dx[:, a])
        d_bias += dy[:, lay.y_blocks[0]].sum(0)

    def _gather_back(self, sums: Gradients) -> None:
        lay = self.layout
        d_weights = self.buffer("d weights", *self.weights.shape)
        self.engine.kernels.scatter(
            self.nodes.numpy(), self.source, self.target, self.wigner, self.weights.numpy(), lay.x_place,
            self.dx.numpy(), sums.nodes.numpy(), d_weights.numpy(),
        )
        d_scale, d_bias = sums.radial[N_PARAMETERS:]
        self.engine.kernels.own_back(
            self.own.numpy(), self.own_scale.numpy(), self.own_bias.numpy(), self.weights.numpy(), self.dx.numpy(),
            d_weights.numpy(), d_scale.numpy(), d_bias.numpy(),
        )
        self.radial.backward(d_weights, sums.radial[:N_PARAMETERS])
