"""The network `nearsight` over all bonds in cache-sized chunks, forward and at once backward, in threads.

Chunks are dealt to shares in a fixed order: sums do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import local
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.graph import Bonds, BondTargets, ElementPair
from nearsight.nn.architectures.nearsight.kernels.bond_errors import CHUNK, Gradient, add_errors
from nearsight.nn.architectures.nearsight.kernels.passes import BondPass, CompiledPass, PairWeights
from nearsight.nn.architectures.nearsight.pair_network import LAYERS, PairNetwork
from nearsight.nn.kernels.compilation import Buffers
from nearsight.nn.kernels.one_memory import FlatParameters, in_one_memory
from nearsight.nn.kernels.threads import in_order
from nearsight.orbitals.bond_layout import BondLayout

FULL_SHARE = 512
"""Bonds of a share at least, where there are fewer than `SHARES` such: each has sums of its own to clear and to add."""

SHARES = 16
"""Parts of the work, each with sums of its own, that are added up in order: results do not depend on threads."""

_OF_THREAD = local()
"""Buffers of each thread by number type, kept from pass to pass: the system would clear new memory first."""

Batch = tuple[ElementPair, slice]
Visit = Callable[[BondPass, ElementPair, slice, "Sums"], None]


class PairNetworks(Protocol):
    """What the engine reads of the network."""

    @property
    def config(self) -> NearsightConfig:
        """Sizes of the layers, and the cutoff."""

    @property
    def layouts(self) -> Mapping[ElementPair, BondLayout]:
        """Layouts of the outputs, by pair of elements."""

    def pair(self, pair: ElementPair) -> PairNetwork:
        """Return the network of one pair of elements."""


@dataclass
class Sums:
    """What one share of the work adds up.

    Attributes
    ----------
    places : dict of ElementPair to PairWeights
        Gradients of the weights of each pair that the share holds.
    features : Tensor
        (n, (l_max+1)², channels), gradient of the features.
    error : float or Tensor
        Sum of the errors; a tensor where they are on a GPU.
    """

    places: dict[ElementPair, PairWeights]
    features: Tensor
    error: float | Tensor = 0.0


@dataclass
class ErrorSum:
    """The error of a share of the bonds, and its gradient where there is room for it.

    Attributes
    ----------
    weights : dict of ElementPair to ndarray
        (n,) gradient of the weights of each pair.
    features : ndarray or None
        (atoms, (l_max+1)², channels), gradient of the features; None where no gradient is wanted.
    error : float
        The error.
    """

    weights: dict[ElementPair, np.ndarray]
    features: np.ndarray | None = None
    error: float = 0.0

    def empty_like(self, pairs: Iterable[ElementPair]) -> ErrorSum:
        """Return zero, with room for the gradient of some pairs where this one has it."""
        if self.features is None:
            return ErrorSum({})
        return ErrorSum({pair: np.zeros_like(self.weights[pair]) for pair in pairs}, np.zeros_like(self.features))

    def of(self, pair: ElementPair) -> Gradient | None:
        """Return where the gradient of a pair is added up."""
        return None if self.features is None else Gradient(self.weights[pair], self.features)

    def add(self, other: ErrorSum) -> None:
        """Add the error of other bonds."""
        self.error += other.error
        if self.features is not None:
            for pair, theirs in other.weights.items():
                self.weights[pair] += theirs
            self.features += other.features


class BondEngine:
    """The compiled pass of a network's pairs over their bonds, on a CPU.

    Parameters
    ----------
    network : PairNetworks
        The network whose pairs they are.
    """

    def __init__(self, network: PairNetworks) -> None:
        self.network = network
        self.cutoff = network.config.cutoff

    def outputs(self, features: Tensor, bonds: Mapping[ElementPair, Bonds]) -> dict[ElementPair, Tensor]:
        """Return the outputs of bonds, differentiable; the backward pass computes each chunk again.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels) of the atoms.
        bonds : mapping of ElementPair to Bonds
            Bonds by pair of elements.

        Returns
        -------
        dict of ElementPair to Tensor
            (e, width) of each pair.
        """
        pairs = self._pairs(bonds)
        results = _Outputs.apply(self, bonds, pairs, features, *self._parameters(pairs))
        return dict(zip(pairs, results)) | {
            p: features.new_empty(0, self.network.layouts[p].width) for p in bonds if p not in pairs
        }

    def outputs_and_hidden(self, features: Tensor, pair: ElementPair, bonds: Bonds) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs of bonds and their last hidden values, of one pass without gradient.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels) of the atoms.
        pair : ElementPair
            The pair of elements.
        bonds : Bonds
            Its bonds.

        Returns
        -------
        outputs : Tensor
            (e, width).
        hidden : list of Tensor
            (e, components, width) for each hidden block; the outputs are linear in them.
        """
        n, blocks = len(bonds), self.network.pair(pair).blocks
        outputs = features.new_empty(n, self.network.layouts[pair].width)
        hidden = [features.new_empty(n, b.components, b.width) for b in blocks]

        def keep(own: BondPass, pair: ElementPair, batch: slice, sums: Sums) -> None:
            outputs[batch] = own.outputs()
            for place, values in zip(hidden, own.last_hidden()):
                place[batch] = values

        if n:
            self.over_chunks(features, self._parameters([pair]), {pair: bonds}, [pair], keep, with_gradient=False)
        return outputs, hidden

    def error(
        self, features: Tensor, bonds: Mapping[ElementPair, Bonds], targets: Mapping[ElementPair, BondTargets]
    ) -> Tensor:
        """Return the summed `BondTargets.error` of all outputs, differentiable; value and gradient come from one pass.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels) of the atoms.
        bonds : mapping of ElementPair to Bonds
            Bonds by pair of elements.
        targets : mapping of ElementPair to BondTargets
            Their targets.

        Returns
        -------
        Tensor
            The error, a scalar.
        """
        pairs = self._pairs(bonds)
        result: Tensor = _SummedError.apply(self, bonds, targets, pairs, features, *self._parameters(pairs))
        return result

    def add_gradient(
        self,
        features: np.ndarray,
        bonds: Mapping[ElementPair, Bonds],
        targets: Mapping[ElementPair, BondTargets],
        scale: float,
    ) -> tuple[float, np.ndarray]:
        """Add the gradient of the summed error, multiplied by a factor, to that of the weights (`grad`).

        Parameters
        ----------
        features : ndarray
            (n, (l_max+1)², channels) of the atoms.
        bonds : mapping of ElementPair to Bonds
            Bonds by pair of elements.
        targets : mapping of ElementPair to BondTargets
            Their targets.
        scale : float
            Factor of the gradient.

        Returns
        -------
        float
            The summed error.
        ndarray
            (n, (l_max+1)², channels), the gradient of the features times the factor.
        """
        networks = {pair: self.network.pair(pair) for pair in self._pairs(bonds)}
        flat = {pair: FlatParameters.of(own, own.weights) for pair, own in networks.items()}
        sums = ErrorSum({pair: own.gradients for pair, own in flat.items()}, np.zeros_like(features))
        self._add_errors(features, {pair: own.weights for pair, own in flat.items()}, bonds, targets, scale, sums)
        for own in flat.values():
            own.write_back()
        assert sums.features is not None
        return sums.error, sums.features

    def compared(
        self,
        features: Tensor,
        parameters: Sequence[Tensor],
        bonds: Mapping[ElementPair, Bonds],
        targets: Mapping[ElementPair, BondTargets],
        pairs: Sequence[ElementPair],
        with_gradient: bool,
    ) -> Sums:
        """Return the summed error of all bonds, with its gradient where it is wanted.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels) of the atoms.
        parameters : sequence of Tensor
            Weights of all pairs, one after another.
        bonds, targets : mapping
            Arguments of `error`.
        pairs : sequence of ElementPair
            Pairs with bonds, in the order of the parameters.
        with_gradient : bool
            Whether the gradient is wanted.

        Returns
        -------
        Sums
            The error, and its gradient.
        """
        features = features.detach().contiguous()
        weights = self._by_pair(pairs, [p.detach().contiguous() for p in parameters])
        result = self._sums(features, weights, with_gradient)
        sums = ErrorSum({pair: _array(own) for pair, own in result.places.items()})
        if with_gradient:
            sums.features = result.features.numpy()
        flat = {pair: _array(self._in_one(pair, own)) for pair, own in weights.items()}
        self._add_errors(features.numpy(), flat, bonds, targets, 1.0, sums)
        result.error = sums.error
        return result

    def _add_errors(
        self,
        features: np.ndarray,
        weights: Mapping[ElementPair, np.ndarray],
        bonds: Mapping[ElementPair, Bonds],
        targets: Mapping[ElementPair, BondTargets],
        scale: float,
        sums: ErrorSum,
    ) -> None:
        """Add errors and, where there is room for it, their gradient; the first share adds to the sums at once."""
        shares, cutoff = self._divide(bonds, weights), self.cutoff

        def work(share: list[Batch]) -> ErrorSum:
            mine = sums if share is shares[0] else sums.empty_like({pair for pair, _ in share})
            buffers = _buffers_of_thread(features.dtype)
            for pair, rows in share:
                given = self.network.pair(pair), cutoff, weights[pair], features, bonds[pair], targets[pair]
                mine.error += add_errors(*given, rows, scale, buffers, mine.of(pair))
            return mine

        if shares:
            for other in islice(in_order(work, shares, torch.get_num_threads()), 1, None):
                sums.add(other)

    def _divide(self, bonds: Mapping[ElementPair, Bonds], pairs: Iterable[ElementPair]) -> list[list[Batch]]:
        """Return the shares of the work, each as runs of whole chunks."""
        batches = self._chunks(bonds, pairs)
        count, result = self._shares(batches), []
        for share in range(count):
            runs: list[Batch] = []
            for pair, rows in batches[share * len(batches) // count : (share + 1) * len(batches) // count]:
                if runs and runs[-1][0] == pair:
                    runs[-1] = pair, slice(runs[-1][1].start, rows.stop)
                else:
                    runs.append((pair, rows))
            result.append(runs)
        return result

    @staticmethod
    def _chunks(bonds: Mapping[ElementPair, Bonds], pairs: Iterable[ElementPair]) -> list[Batch]:
        return [
            (pair, slice(k, min(k + CHUNK, len(bonds[pair]))))
            for pair in pairs
            for k in range(0, len(bonds[pair]), CHUNK)
        ]

    def _pairs(self, bonds: Mapping[ElementPair, Bonds]) -> list[ElementPair]:
        return [pair for pair in bonds if len(bonds[pair])]

    def _parameters(self, pairs: Sequence[ElementPair]) -> list[Tensor]:
        return [p for pair in pairs for p in self.network.pair(pair).weights]

    def over_chunks(
        self,
        features: Tensor,
        parameters: Sequence[Tensor],
        bonds: Mapping[ElementPair, Bonds],
        pairs: Sequence[ElementPair],
        visit: Visit,
        with_gradient: bool,
    ) -> Sums:
        """Run the forward pass on every chunk, then `visit` it, in as many threads as torch has.

        Parameters
        ----------
        features : Tensor
            (n, (l_max+1)², channels) of the atoms.
        parameters : sequence of Tensor
            Weights of all pairs, one after another.
        bonds : mapping of ElementPair to Bonds
            Bonds by pair of elements.
        pairs : sequence of ElementPair
            Pairs with bonds, in the order of the parameters.
        visit : callable
            Called with the pass, the pair, the slice of its bonds and the sums of the share.
        with_gradient : bool
            Whether the sums have room for gradients.

        Returns
        -------
        Sums
            The sums of all shares.
        """
        batches = self._chunks(bonds, pairs)
        shares = self._shares(batches)
        features = features.detach().contiguous()
        weights = self._by_pair(pairs, [p.detach().contiguous() for p in parameters])
        flat = {pair: self._in_one(pair, own) for pair, own in weights.items()}

        own = local()

        def passes() -> dict[ElementPair, CompiledPass]:
            if not hasattr(own, "passes"):
                own.passes = self._passes(flat, features.dtype)
            return cast(dict[ElementPair, CompiledPass], own.passes)

        def work(share: int) -> Sums:
            chunks = batches[share * len(batches) // shares : (share + 1) * len(batches) // shares]
            mine = {pair: weights[pair] for pair, _ in chunks}
            sums = self._sums(features, mine, with_gradient)
            with torch.no_grad():
                for pair, batch in chunks:
                    passes()[pair].forward(features, bonds[pair].rows(batch))
                    visit(passes()[pair], pair, batch, sums)
            return sums

        if not batches:  # a single atom, without images of its own within the cutoff
            return self._sums(features, weights, with_gradient)
        threads = torch.get_num_threads() if features.device.type == "cpu" else 1
        return _add_up(in_order(work, range(shares), threads))

    @staticmethod
    def _shares(batches: Sequence[Batch]) -> int:
        count = sum(batch.stop - batch.start for _, batch in batches)
        return min(SHARES, len(batches), max(1, count // FULL_SHARE))

    def _passes(
        self, weights: Mapping[ElementPair, PairWeights], dtype: torch.dtype
    ) -> dict[ElementPair, CompiledPass]:
        """Return the passes of one thread, which share its buffers."""
        buffers = _buffers_of_thread(dtype)
        return {pair: CompiledPass(self.network.pair(pair), own, self.cutoff, buffers) for pair, own in weights.items()}

    def _in_one(self, pair: ElementPair, tensors: Sequence[Tensor]) -> PairWeights:
        """Return the weights of a pair in one memory, copied where they are not."""
        flat = in_one_memory(tensors)
        return self._divided(pair, torch.cat([t.reshape(-1) for t in tensors]) if flat is None else flat, tensors)

    def _divided(self, pair: ElementPair, flat: Tensor, like: Sequence[Tensor]) -> PairWeights:
        parts = [p.view(t.shape) for p, t in zip(flat.split([t.numel() for t in like]), like)]
        return PairWeights.of(parts, len(self.network.pair(pair).blocks), LAYERS, flat)

    def _by_pair(self, pairs: Sequence[ElementPair], flat: Sequence[Tensor]) -> dict[ElementPair, list[Tensor]]:
        result, at = {}, 0
        for pair in pairs:
            count = len(self.network.pair(pair).weights)
            result[pair] = list(flat[at : at + count])
            at += count
        return result

    def _places(self, pair: ElementPair, tensors: Sequence[Tensor]) -> PairWeights:
        return PairWeights.of(tensors, len(self.network.pair(pair).blocks), LAYERS)

    def _sums(self, features: Tensor, weights: dict[ElementPair, list[Tensor]], with_gradient: bool) -> Sums:
        if not with_gradient:
            return Sums({}, features)
        return Sums({pair: self._zeros(pair, own) for pair, own in weights.items()}, torch.zeros_like(features))

    def _zeros(self, pair: ElementPair, like: Sequence[Tensor]) -> PairWeights:
        """Return gradients of the weights of a pair, to be added to."""
        return self._divided(pair, like[0].new_zeros(sum(t.numel() for t in like)), like)


def _buffers_of_thread(dtype: torch.dtype | np.dtype[Any]) -> Buffers:
    """Return the scratch memory of this thread for numbers of a type."""
    kept, name = _OF_THREAD.__dict__, str(dtype).removeprefix("torch.")
    if name not in kept:
        kept[name] = Buffers(getattr(torch, name))
    return cast(Buffers, kept[name])


def _array(weights: PairWeights) -> np.ndarray:
    """Return the memory of the weights of a pair."""
    assert weights.flat is not None, "the weights of a compiled pass share one memory"
    return weights.flat.numpy()


def _add_up(parts: Iterator[Sums]) -> Sums:
    """Return the sum of the shares in their order; few of them exist at once."""
    first = next(parts)
    for other in parts:
        first.error += other.error
        for pair, theirs in other.places.items():
            mine = first.places.setdefault(pair, theirs)
            if mine is not theirs and mine.flat is not None and theirs.flat is not None:
                mine.flat.add_(theirs.flat)
        if other.places:
            first.features += other.features
    return first


class _Outputs(torch.autograd.Function):
    """Outputs of all pairs; the backward pass repeats each chunk's forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        engine: BondEngine,
        bonds: Mapping[ElementPair, Bonds],
        pairs: list[ElementPair],
        features: Tensor,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        out = {pair: features.new_empty(len(bonds[pair]), engine.network.layouts[pair].width) for pair in pairs}

        def keep(own: BondPass, pair: ElementPair, batch: slice, sums: Sums) -> None:
            out[pair][batch] = own.outputs()

        engine.over_chunks(features, parameters, bonds, pairs, keep, with_gradient=False)
        ctx.engine, ctx.bonds, ctx.pairs = engine, bonds, pairs
        ctx.save_for_backward(features, *parameters)
        return tuple(out.values())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        features, *parameters = ctx.saved_tensors
        given = dict(zip(ctx.pairs, gradients))

        def back(own: BondPass, pair: ElementPair, batch: slice, sums: Sums) -> None:
            own.take(given[pair][batch])
            own.backward(sums.places[pair], sums.features)

        sums = ctx.engine.over_chunks(features, parameters, ctx.bonds, ctx.pairs, back, with_gradient=True)
        return (None, None, None, sums.features, *(g for pair in ctx.pairs for g in sums.places[pair].tensors()))


class _SummedError(torch.autograd.Function):
    """`BondTargets.error`; value and gradient in one pass."""

    @staticmethod
    def forward(
        ctx: Any,
        engine: BondEngine,
        bonds: Mapping[ElementPair, Bonds],
        targets: Mapping[ElementPair, BondTargets],
        pairs: list[ElementPair],
        features: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        needed = any(ctx.needs_input_grad)

        sums = engine.compared(features, parameters, bonds, targets, pairs, needed)
        if needed:
            ctx.save_for_backward(sums.features, *(g for pair in pairs for g in sums.places[pair].tensors()))
        return torch.as_tensor(sums.error, dtype=features.dtype, device=features.device)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        scaled: Sequence[Tensor] = torch._foreach_mul(ctx.saved_tensors, gradient) if ctx.saved_tensors else ()
        return (None, None, None, None, *scaled)
