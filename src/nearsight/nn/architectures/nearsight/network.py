"""The network `nearsight`: what a linear baseline leaves of the bonds' blocks, in units of its own r.m.s.

Atoms are described by their neighbour densities, combined for each element and degree with learnt weights, and by a
few scalars. A bond sees its two atoms, turned into its frame; an O(2)-equivariant network per pair of elements does
the rest (`PairNetwork`). Everything learnt lives in the frames of bonds, each bond is computed once, and the outputs
are equivariant under rotations and inversion and give H_ji = H_ijᵀ by construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.graph import BondGraph, Bonds, BondTargets, ElementPair
from nearsight.nn.architectures.nearsight.kernels.engine import BondEngine
from nearsight.nn.architectures.nearsight.pair_network import HiddenBlock, PairNetwork, envelope, splines
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout

CHUNK = 1024
"""Bonds computed at once by plain torch."""


class NearsightNetwork(nn.Module):
    """Outputs of all bonds of a graph, pair of elements by pair of elements.

    Args:
        config: sizes.
        layout: coupled layout of the basis; its elements are those of the network.
        pairs: pairs of elements (Z_i ≤ Z_j) that have a network.
        scalars: how many are known of each atom.
        plain: compute everything with torch alone (slow; the twin of the compiled engine).

    Raises:
        InputError: l_max is below the highest order of the blocks.
    """

    density_mean: Tensor
    density_spread: Tensor
    scalar_mean: Tensor
    scalar_spread: Tensor

    def __init__(
        self,
        config: NearsightConfig,
        layout: CoupledLayout,
        pairs: Sequence[ElementPair],
        scalars: int,
        reference: bool = False,
    ) -> None:
        super().__init__()
        self.config, self.reference, self.layers = config, reference, 1
        self.elements = layout.elements
        self.layouts = {pair: BondLayout(layout, pair) for pair in sorted(pairs)}
        needed = max(block.order for own in self.layouts.values() for block in own.blocks)
        if config.l_max < needed:
            raise InputError(
                f"expected model.l_max >= {needed}, the highest order in blocks of this basis, got {config.l_max}"
            )
        self.pairs = nn.ModuleDict({name(pair): PairNetwork(config, own) for pair, own in self.layouts.items()})
        count, kinds = len(self.elements) * config.density_functions, len(self.elements)
        self.mix = nn.ParameterList(
            [_random(kinds, count + (0 if l else scalars), config.channels) for l in range(config.l_max + 1)]
        )
        self.register_buffer("density_mean", torch.zeros(count))
        self.register_buffer("density_spread", torch.ones(config.l_max + 1, count))
        self.register_buffer("scalar_mean", torch.zeros(kinds, scalars))
        self.register_buffer("scalar_spread", torch.ones(kinds, scalars))

    def pair(self, pair: ElementPair) -> PairNetwork:
        """The network of one pair of elements."""
        return cast(PairNetwork, self.pairs[name(pair)])

    def describe_path(self) -> str:
        """How the network is computed here, in words."""
        device, threads = self.mix[0].device, torch.get_num_threads()
        where = f"{threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)
        if self.engine() is not None:
            return f"compiled engine (numba), {where}"
        return f"plain torch, {where}"

    def engine(self) -> BondEngine | None:
        """The compiled pass, where it can run (on a CPU)."""
        if self.reference or self.mix[0].device.type != "cpu":
            return None
        return BondEngine(self)

    def features(self, graph: BondGraph) -> Tensor:
        """(n, (l_max+1)², channels) of the atoms."""
        densities = [
            (d - (self.density_mean if l == 0 else 0)) / self.density_spread[l]
            for l, d in enumerate(graph.densities.split([2 * l + 1 for l in range(self.config.l_max + 1)], dim=1))
        ]
        scalars = (graph.scalars - self.scalar_mean[graph.element]) / self.scalar_spread[graph.element]
        densities[0] = torch.cat([densities[0], scalars[:, None]], dim=2)
        return torch.cat([self._mixed(d, w, graph.element) for d, w in zip(densities, self.mix)], dim=1)

    @torch.no_grad()
    def descriptors(self, graph: BondGraph) -> Tensor:
        """(n, F + S + 1) standardised isotropic densities and scalars of the atoms, and a constant."""
        densities = (graph.densities[:, 0] - self.density_mean) / self.density_spread[0]
        scalars = (graph.scalars - self.scalar_mean[graph.element]) / self.scalar_spread[graph.element]
        return torch.cat([densities, scalars, torch.ones_like(scalars[:, :1])], dim=1)

    def forward(self, graph: BondGraph) -> dict[ElementPair, Tensor]:
        """For each pair of elements (e, width) outputs in the columns of its `BondLayout`."""
        return self.outputs(self.features(graph), graph.bonds)

    def outputs(self, features: Tensor, bonds: Mapping[ElementPair, Bonds]) -> dict[ElementPair, Tensor]:
        """The same from the features of the atoms (n, (l_max+1)², channels).

        Raises:
            InputError: a pair of elements without a network.
        """
        self.check(bonds)
        engine = self.engine()
        if engine is not None:
            return engine.outputs(features, bonds)
        return {
            pair: torch.cat(
                [
                    self._outputs(features, pair, own.rows(slice(k, k + CHUNK)))
                    for k in range(0, max(1, len(own)), CHUNK)
                ]
            )
            for pair, own in bonds.items()
        }

    def check(self, pairs: Iterable[ElementPair]) -> None:
        """Raises InputError, naming it, for a pair of elements without a network."""
        unknown = [_words(pair) for pair in pairs if pair not in self.layouts]
        if unknown:
            raise InputError(
                f"expected pairs of elements that the model was trained on "
                f"({', '.join(map(_words, self.layouts))}), got {', '.join(unknown)}; train on data that "
                f"hold such pairs within {self.config.cutoff} Å"
            )

    def error(self, graph: BondGraph, targets: Mapping[ElementPair, BondTargets]) -> Tensor:
        """`BondTargets.error` of all bonds, differentiable; no bond's output is kept."""
        self.check(graph.bonds)
        features, engine = self.features(graph), self.engine()
        if engine is not None:
            return engine.error(features, graph.bonds, targets)
        return torch.stack(
            [
                targets[pair].error(self._outputs(features, pair, bonds), self.layouts[pair])
                for pair, bonds in graph.bonds.items()
            ]
        ).sum()

    def _mixed(self, densities: Tensor, weights: Tensor, element: Tensor) -> Tensor:
        result = densities.new_zeros(*densities.shape[:2], weights.shape[2])
        for k in range(len(self.elements)):
            rows = torch.nonzero(element == k)[:, 0]
            result = result.index_copy(0, rows, densities[rows] @ weights[k])
        return result

    @torch.no_grad()
    def hidden(self, features: Tensor, pair: ElementPair, bonds: Bonds) -> list[Tensor]:
        """For each hidden block of a pair (e, components, width), what its outputs are linear in."""
        engine = self.engine()
        if engine is not None:
            return engine.hidden(features, pair, bonds)
        return self.pair(pair).last_hidden(*self._inputs(features, pair, bonds))

    def _inputs(self, features: Tensor, pair: ElementPair, bonds: Bonds) -> tuple[list[Tensor], Tensor]:
        c = self.config
        inputs = bond_inputs(features, bonds, self.pair(pair).blocks, self.layouts[pair].parities, c.l_max)
        return inputs, splines(bonds.distance, c.bond_functions, c.cutoff)

    def _outputs(self, features: Tensor, pair: ElementPair, bonds: Bonds) -> Tensor:
        return self.pair(pair)(*self._inputs(features, pair, bonds), envelope(bonds.distance, self.config.cutoff))


def bond_inputs(
    features: Tensor, bonds: Bonds, blocks: Sequence[HiddenBlock], parities: int, l_max: int
) -> list[Tensor]:
    """For each block (e, components, inputs): features of both atoms in the frame of the bond, l = m … l_max."""
    sizes = [2 * l + 1 for l in range(l_max + 1)]
    frames = [part.unflatten(1, (n, n)) for part, n in zip(bonds.frames.split([n * n for n in sizes], 1), sizes)]
    first, second = (
        [d @ f for d, f in zip(frames, features[atoms].split(sizes, dim=1))] for atoms in (bonds.source, bonds.target)
    )
    result = []
    for block in blocks:
        m, parts = block.order, []
        for l in range(m, l_max + 1):
            sign = (-1) ** (l + block.parity)
            rows = [l] if m == 0 else [l + m, l - m]
            if parities == 2:
                parts.append(first[l][:, rows] + sign * second[l][:, rows])
            else:
                parts += [first[l][:, rows], second[l][:, rows]]
        result.append(torch.cat(parts, dim=2))
    return result


def name(pair: ElementPair) -> str:
    """Of a pair of elements among the weights."""
    return f"{pair[0]}-{pair[1]}"


def _words(pair: ElementPair) -> str:
    return f"{symbol_of(pair[0])}-{symbol_of(pair[1])}"


def _random(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-2]))
