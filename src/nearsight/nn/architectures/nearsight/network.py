"""The network `nearsight`: the residual of a linear baseline in the bonds' blocks, in units of its own r.m.s.

Atoms are described by their neighbour densities, combined for each element and degree with learnt weights, and by a
few scalars. A bond sees its two atoms, turned into its frame; an O(2)-equivariant network per pair of elements does
the rest (`PairNetwork`). Everything learnt lives in the frames of bonds, each bond is computed once, and the outputs
are equivariant under rotations and inversion and give H_ji = H_ijᵀ by construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.graph import BondGraph, Bonds, BondTargets, ElementPair
from nearsight.nn.architectures.nearsight.kernels.engine import BondEngine
from nearsight.nn.architectures.nearsight.kernels.mixing import (
    Standardised,
    add_gradient,
    mixed,
    mixed_values,
    standardised,
)
from nearsight.nn.architectures.nearsight.pair_network import HiddenBlock, PairNetwork, envelope, splines
from nearsight.nn.kernels.device_memory import compiles_kernels
from nearsight.nn.kernels.one_memory import FlatParameters
from nearsight.nn.kernels.threads import one_core, product_on_one_core
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout

CHUNK = 1024
"""Bonds computed at once by tensor operations."""


class NearsightNetwork(nn.Module):
    """Outputs of all bonds of a graph, pair of elements by pair of elements.

    Parameters
    ----------
    config : NearsightConfig
        Sizes of the layers, and the cutoff.
    layout : CoupledLayout
        Coupled layout of the basis; its elements are those of the network.
    pairs : sequence of ElementPair
        Pairs of elements (Z_i ≤ Z_j) that have a network.
    scalars : int
        Number of scalars of each atom.
    reference : bool
        Compute everything with torch alone: slow, the reference implementation of the compiled engine.
    told : int
        Number of further irreps of each degree above 0 of each atom, beside its neighbour densities.

    Attributes
    ----------
    informed : NearsightNetwork or None
        The network of the same bonds that is told of the density matrix (`informed.InformedTerms`), trained beside this
        one; nothing else is shared.

    Raises
    ------
    InputError
        `l_max` is below the highest order of the blocks.
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
        told: int = 0,
    ) -> None:
        super().__init__()
        self.informed: NearsightNetwork | None = None
        self.config, self.reference, self.layers = config, reference, 1
        self.elements = layout.elements
        self.layouts = {pair: BondLayout(layout, pair) for pair in sorted(pairs)}
        needed = max(block.order for own in self.layouts.values() for block in own.blocks)
        if config.l_max < needed:
            raise InputError(
                f"expected model.l_max >= {needed}, the highest order in blocks of this basis, got {config.l_max}"
            )
        self.pairs = nn.ModuleDict({name(pair): PairNetwork(config, own) for pair, own in self.layouts.items()})
        count, kinds = len(self.elements) * config.density_functions + told, len(self.elements)
        self.mix = nn.ParameterList(
            [_random(kinds, count + (0 if l else scalars), config.channels) for l in range(config.l_max + 1)]
        )
        self.register_buffer("density_mean", torch.zeros(count))
        self.register_buffer("density_spread", torch.ones(config.l_max + 1, count))
        self.register_buffer("scalar_mean", torch.zeros(kinds, scalars))
        self.register_buffer("scalar_spread", torch.ones(kinds, scalars))

    @cached_property
    def mixing(self) -> tuple[nn.Parameter, ...]:
        """Weights of the densities of each degree, (elements, F_l, channels)."""
        return tuple(self.mix)

    def of(self, graph: BondGraph) -> NearsightNetwork:
        """Return the network that a graph is for: this one, or the informed one."""
        if not graph.informed:
            return self
        assert self.informed is not None, "the graph knows the density, the network does not"
        return self.informed

    def pair(self, pair: ElementPair) -> PairNetwork:
        """Return the network of one pair of elements."""
        return cast(PairNetwork, self.pairs[name(pair)])

    def describe_path(self) -> str:
        """Return one line that says how the network is computed here."""
        device, threads = self.mix[0].device, torch.get_num_threads()
        where = f"{threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)
        if self.engine() is not None:
            return f"compiled engine ({'numba' if device.type == 'cpu' else 'Triton'}), {where}"
        return f"torch, {where}"

    def engine(self) -> BondEngine | None:
        """Return the compiled pass of this device, where there is one; else None."""
        device = self.mix[0].device
        if self.reference:
            return None
        if device.type == "cpu":
            return BondEngine(self)
        if not compiles_kernels(device):
            return None
        # Triton comes with torch for GPUs alone.
        from nearsight.nn.architectures.nearsight.kernels.device_engine import DeviceEngine

        return DeviceEngine(self)

    def features(self, graph: BondGraph) -> Tensor:
        """Return the features of the atoms of a graph, (n, (l_max+1)², channels)."""
        if self.mix[0].device.type == "cpu" and not self.reference:
            return mixed(self._standardised(graph), list(self.mix))
        densities = [
            (d - (self.density_mean if l == 0 else 0)) / self.density_spread[l]
            for l, d in enumerate(graph.densities.split([2 * l + 1 for l in range(self.config.l_max + 1)], dim=1))
        ]
        scalars = (graph.scalars - self.scalar_mean[graph.element]) / self.scalar_spread[graph.element]
        densities[0] = torch.cat([densities[0], scalars[:, None]], dim=2)
        return torch.cat([self._mixed(d, w, graph.element) for d, w in zip(densities, self.mix)], dim=1)

    @torch.no_grad()
    def descriptors(self, graph: BondGraph) -> Tensor:
        """Return (n, F + S + 1) standardised isotropic densities and scalars of the atoms, and a constant."""
        densities = (graph.densities[:, 0] - self.density_mean) / self.density_spread[0]
        scalars = (graph.scalars - self.scalar_mean[graph.element]) / self.scalar_spread[graph.element]
        return torch.cat([densities, scalars, torch.ones_like(scalars[:, :1])], dim=1)

    def forward(self, graph: BondGraph) -> dict[ElementPair, Tensor]:
        """Return the outputs of all bonds, (e, width) in the columns of the `BondLayout` of each pair of elements."""
        return self.outputs(self.features(graph), graph.bonds)

    def outputs(self, features: Tensor, bonds: Mapping[ElementPair, Bonds]) -> dict[ElementPair, Tensor]:
        """Return the outputs of bonds from the features of their atoms.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels), what `features` returns.
        bonds : mapping of ElementPair to Bonds
            Bonds by pair of elements.

        Returns
        -------
        dict of ElementPair to Tensor
            (e, width) outputs in the columns of the `BondLayout` of each pair.

        Raises
        ------
        InputError
            A pair of elements has no network.
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
        """Refuse pairs of elements without a network.

        Parameters
        ----------
        pairs : iterable of ElementPair
            Pairs of elements (Z_i ≤ Z_j).

        Raises
        ------
        InputError
            A pair has no network; the message names it.
        """
        unknown = [_words(pair) for pair in pairs if pair not in self.layouts]
        if unknown:
            raise InputError(
                f"expected pairs of elements that the model was trained on "
                f"({', '.join(map(_words, self.layouts))}), got {', '.join(unknown)}; train on data that "
                f"hold such pairs within {self.config.cutoff} Å"
            )

    def error(self, graph: BondGraph, targets: Mapping[ElementPair, BondTargets]) -> Tensor:
        """Return the error of all bonds, differentiable; no bond's output is kept.

        Parameters
        ----------
        graph : BondGraph
            Atoms and bonds.
        targets : mapping of ElementPair to BondTargets
            Targets of the bonds.

        Returns
        -------
        Tensor
            Sum of `BondTargets.error` over the pairs of elements, a scalar.

        Raises
        ------
        InputError
            A pair of elements has no network.
        """
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

    def add_gradient(self, graph: BondGraph, targets: Mapping[ElementPair, BondTargets], scale: float) -> float | None:
        """Add the gradient of `error`, multiplied by a factor, to that of the parameters (`grad`), without autograd.

        Parameters
        ----------
        graph : BondGraph
            Atoms and bonds.
        targets : mapping of ElementPair to BondTargets
            Targets of the bonds.
        scale : float
            Factor of the gradient.

        Returns
        -------
        float or None
            The error; None, and no gradient, where the network has no compiled pass on this CPU.

        Raises
        ------
        InputError
            A pair of elements has no network.
        """
        engine = self.engine()
        if engine is None or self.mix[0].device.type != "cpu":
            return None
        self.check(graph.bonds)
        with torch.no_grad():
            inputs, own = self._standardised(graph), FlatParameters.of(self.mix, self.mixing)
            shapes = [w.shape for w in self.mixing]
            with one_core():
                features = mixed_values(inputs, shapes, own.weights)
            error, above = engine.add_gradient(features, graph.bonds, targets, scale)
            with one_core():
                add_gradient(inputs, shapes, above, own.gradients)
            own.write_back()
        return error

    def _standardised(self, graph: BondGraph) -> Standardised:
        by = (self.density_mean, self.density_spread, self.scalar_mean, self.scalar_spread)
        return standardised(graph, len(self.elements), self.config.l_max, *by)

    def _mixed(self, densities: Tensor, weights: Tensor, element: Tensor) -> Tensor:
        result = densities.new_zeros(*densities.shape[:2], weights.shape[2])
        for k in range(len(self.elements)):
            if densities.device.type != "cpu":
                # To count the atoms of an element would wait for the GPU.
                result = torch.where((element == k)[:, None, None], densities @ weights[k], result)
                continue
            rows = torch.nonzero(element == k)[:, 0]
            result = result.index_copy(0, rows, product_on_one_core(densities[rows], weights[k]))
        return result

    @torch.no_grad()
    def outputs_and_hidden(self, features: Tensor, pair: ElementPair, bonds: Bonds) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs of bonds and their last hidden values, without gradient.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels), what `features` returns.
        pair : ElementPair
            The pair of elements.
        bonds : Bonds
            Its bonds.

        Returns
        -------
        outputs : Tensor
            (e, width), as of `outputs`.
        hidden : list of Tensor
            (e, components, width) for each hidden block; the outputs are linear in them.
        """
        self.check([pair])
        engine = self.engine()
        if engine is not None:
            return engine.outputs_and_hidden(features, pair, bonds)
        hidden = self.pair(pair).last_hidden(*self._inputs(features, pair, bonds))
        return self.outputs(features, {pair: bonds})[pair], hidden

    def _inputs(self, features: Tensor, pair: ElementPair, bonds: Bonds) -> tuple[list[Tensor], Tensor]:
        c = self.config
        inputs = bond_inputs(features, bonds, self.pair(pair).blocks, self.layouts[pair].parities, c.l_max)
        return inputs, splines(bonds.distance, c.bond_functions, c.cutoff)

    def _outputs(self, features: Tensor, pair: ElementPair, bonds: Bonds) -> Tensor:
        return self.pair(pair)(*self._inputs(features, pair, bonds), envelope(bonds.distance, self.config.cutoff))


def bond_inputs(
    features: Tensor, bonds: Bonds, blocks: Sequence[HiddenBlock], parities: int, l_max: int
) -> list[Tensor]:
    """Return the features of both atoms of each bond in its frame, sorted for the blocks of a `PairNetwork`.

    Parameters
    ----------
    features : Tensor
        (n, (l_max+1)², channels) of the atoms.
    bonds : Bonds
        Bonds of one pair of elements.
    blocks : sequence of HiddenBlock
        Blocks of its network.
    parities : int
        2 where both elements are equal, so that sums and differences of the atoms are taken; else 1.
    l_max : int
        Highest degree of the features.

    Returns
    -------
    list of Tensor
        (e, components, inputs) for each block, degrees l = m … l_max.
    """
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
    """Return the name of a pair of elements among the weights, such as `8-72`."""
    return f"{pair[0]}-{pair[1]}"


def _words(pair: ElementPair) -> str:
    return f"{symbol_of(pair[0])}-{symbol_of(pair[1])}"


def _random(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape) / math.sqrt(shape[-2]))
