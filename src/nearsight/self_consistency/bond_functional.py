"""BondFunctional: blocks of H between atoms as a linear function of `bond_features`, in the frame of the bond.

Coefficients are smooth functions of the bond's length, and the same for cos mφ and sin mφ: a channel of order |m| and
exchange parity p depends on the channels of the same order and parity of every feature, so the result turns with the
bond and is Hermitian as its features are. Where a basis has so many channels that there would be too many coefficients,
it depends on the same channel alone. The fit is a ridge regression, with leave-one-out residuals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.ridge import Leverage, NormalEquations
from nearsight.errors import InputError
from nearsight.kept_results import Arrays, kept
from nearsight.operators.blocks import BlockOperator, ElementPair
from nearsight.operators.third_atoms import Shell
from nearsight.orbitals.bond_layout import BondBlock, BondLayout
from nearsight.self_consistency.bond_features import NEAR, TOLD, AtomMeans, BondFeatures, Edges, Frames
from nearsight.structures.graph import Graph

FUNCTIONS, NEAR_FUNCTIONS = 10, 6
"""Of the length: of the coefficients of what lies beside a bond (up to the cutoff), and of its atoms' density."""
MOST = 1500
"""Features of a channel; with more of them only the same channel of every kind is used."""
PENALTY = 1.0
"""How many bonds' worth the penalty on each coefficient is: where a function of the length has fewer, as at the ends of
the range of lengths, its coefficients are held back."""
CHUNK = 2048
"""Bonds whose features are multiplied with functions of the length at once."""

Part = tuple[ElementPair, int, int, int]
"""Pair of elements, parity, order, and the channel; −1 for all channels together."""


@dataclass(frozen=True, eq=False)
class BondSamples:
    """The features of the bonds of one pair of elements.

    Attributes
    ----------
    distance : (e,) array
        Å.
    beside : (e, shells, width) array
        What `BondFeatures.beside` returns.
    near : (e',) array of int
        The bonds that are told of the density.
    told : (e', 2, width) array
        What `BondFeatures.of_density` returns.
    """

    distance: np.ndarray
    beside: np.ndarray
    near: np.ndarray
    told: np.ndarray

    def chunks(self) -> Iterator[tuple[slice, BondSamples]]:
        """Yield the bonds, `CHUNK` at a time."""
        for start in range(0, len(self.distance), CHUNK):
            stop = min(start + CHUNK, len(self.distance))
            near = slice(*np.searchsorted(self.near, [start, stop]))
            own = BondSamples(
                self.distance[start:stop], self.beside[start:stop], self.near[near] - start, self.told[near]
            )
            yield slice(start, stop), own


@dataclass(frozen=True, eq=False)
class BondFunctional:
    """Blocks between atoms as a function of what lies beside a bond and of the density of its atoms.

    Attributes
    ----------
    layouts : mapping of (int, int) to BondLayout
        Columns of each pair of elements that was fitted.
    shells : sequence of (int, int)
        Shells of third atoms.
    cutoff : float
        Å, of bonds.
    means : mapping of int to (2, size) array
        Means of what is told of atoms.
    weights : mapping of (pair, parity, order, channel) to (F, C) array
        Coefficients, E_h: for each function of the length, shell and channel what lies beside the bond, then (even,
        m = 0) constants, then for each nearer function of the length, kind and channel what the density tells.
    """

    layouts: Mapping[ElementPair, BondLayout]
    shells: Sequence[Shell]
    cutoff: float
    means: AtomMeans
    weights: Mapping[Part, np.ndarray]

    def check(self) -> None:
        """Refuse weights of another shape than the features'.

        Raises
        ------
        InputError
            Of such weights; the message names them.
        """
        for pair, layout in self.layouts.items():
            for part, block, targets, sources in parts(layout, len(self.shells)):
                count = (FUNCTIONS * len(self.shells) + NEAR_FUNCTIONS * TOLD) * len(sources)
                shape = count + (FUNCTIONS if _has_constants(block) else 0), len(targets)
                weights = self.weights.get((pair, *part))
                if weights is not None and weights.shape != shape:
                    raise InputError(f"expected bond weights of shape {shape} for {pair}, got {weights.shape}")

    def features(self, graph: Graph, overlap: BlockOperator, edges: Edges, frames: Frames) -> BondFeatures:
        """Return the features of the bonds of one structure."""
        return BondFeatures(self.layouts, self.shells, self.means, graph, overlap, edges, frames)

    def beside(self, pair: ElementPair, distance: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Return the part that does not depend on the density, (e, width) E_h."""
        result = np.zeros((len(distance), self.layouts[pair].width))
        radial = RadialFunctions(self.cutoff, FUNCTIONS)(distance)
        for part, block, targets, sources in parts(self.layouts[pair], len(self.shells)):
            weights = self.weights.get((pair, *part))
            if weights is not None:
                count = FUNCTIONS * len(self.shells) * len(sources)
                _add(result, block, targets, _columns(features, block, sources), radial, weights[:count])
                if _has_constants(block):
                    constants = weights[count : count + FUNCTIONS]
                    result[:, block.columns][:, targets] += radial @ constants
        return result

    def of_density(self, pair: ElementPair, distance: np.ndarray, told: np.ndarray) -> np.ndarray:
        """Return the part that depends on the density, (e', width) E_h, of bonds that are told of it."""
        result = np.zeros((len(distance), self.layouts[pair].width))
        radial = RadialFunctions(NEAR, NEAR_FUNCTIONS)(distance)
        for part, block, targets, sources in parts(self.layouts[pair], len(self.shells)):
            weights = self.weights.get((pair, *part))
            if weights is not None:
                count = NEAR_FUNCTIONS * TOLD * len(sources)
                _add(result, block, targets, _columns(told, block, sources), radial, weights[len(weights) - count :])
        return result

    def __call__(self, pair: ElementPair, samples: BondSamples) -> np.ndarray:
        """Return the blocks of bonds in columns, (e, width) E_h."""
        result = self.beside(pair, samples.distance, samples.beside)
        result[samples.near] += self.of_density(pair, samples.distance[samples.near], samples.told)
        return result


def fit_bonds(
    functional: BondFunctional,
    samples: Sequence[Mapping[ElementPair, BondSamples]],
    targets: Sequence[Mapping[ElementPair, np.ndarray]],
    usable: Sequence[Mapping[ElementPair, np.ndarray]],
) -> tuple[BondFunctional, list[dict[ElementPair, np.ndarray]]]:
    """Fit the coefficients.

    Parameters
    ----------
    functional : BondFunctional
        Without weights.
    samples : sequence of mapping of (int, int) to BondSamples
        Of each structure.
    targets : sequence of mapping of (int, int) to (e, width) array
        E_h, what is to be learnt, in columns.
    usable : sequence of mapping of (int, int) to (e,) bool array
        Bonds whose targets are known.

    Returns
    -------
    functional : BondFunctional
        With weights.
    unseen : list of dict of (int, int) to (e, width) array
        E_h, predictions of fits without the bond itself; of bonds that were not fitted what the functional predicts.

    Notes
    -----
    A fit to the same numbers that was made before is at hand (`kept_results`).
    """
    bases = {pair: layout.layout.basis.shells for pair, layout in functional.layouts.items()}
    ingredients = bases, functional.shells, functional.cutoff, samples, targets, usable
    found = kept(lambda: _as_arrays(*_fitted(functional, samples, targets, usable)), "bonds", *ingredients)
    weights, unseen = _of_arrays(found, len(samples))
    return BondFunctional(functional.layouts, functional.shells, functional.cutoff, functional.means, weights), unseen


def _as_arrays(weights: Mapping[Part, np.ndarray], unseen: Sequence[Mapping[ElementPair, np.ndarray]]) -> Arrays:
    """The results of a fit by name."""
    named = {f"weights {a} {b} {' '.join(map(str, rest))}": own for ((a, b), *rest), own in weights.items()}
    named |= {f"unseen {k} {a} {b}": own for k, one in enumerate(unseen) for (a, b), own in one.items()}
    return named


def _of_arrays(arrays: Arrays, count: int) -> tuple[dict[Part, np.ndarray], list[dict[ElementPair, np.ndarray]]]:
    """The results of a fit to so many structures."""
    weights: dict[Part, np.ndarray] = {}
    unseen: list[dict[ElementPair, np.ndarray]] = [{} for _ in range(count)]
    for name, own in arrays.items():
        kind, *numbers = name.split(" ")
        k = [int(number) for number in numbers]
        if kind == "weights":
            weights[(k[0], k[1]), k[2], k[3], k[4]] = own
        else:
            unseen[k[0]][k[1], k[2]] = own
    return weights, unseen


def _fitted(
    functional: BondFunctional,
    samples: Sequence[Mapping[ElementPair, BondSamples]],
    targets: Sequence[Mapping[ElementPair, np.ndarray]],
    usable: Sequence[Mapping[ElementPair, np.ndarray]],
) -> tuple[dict[Part, np.ndarray], list[dict[ElementPair, np.ndarray]]]:
    weights: dict[Part, np.ndarray] = {}
    unseen: list[dict[ElementPair, np.ndarray]] = [{p: np.zeros_like(t[p]) for p in t} for t in targets]
    for pair, layout in functional.layouts.items():
        for part, block, own, sources in parts(layout, len(functional.shells)):
            data = [
                _Data(s[pair], t[pair], u[pair], block, own, sources, functional.cutoff)
                for s, t, u in zip(samples, targets, usable)
                if pair in s
            ]
            if not any(one.usable.any() for one in data):
                continue
            found, leverage = _solve(data)
            weights[(pair, *part)] = found
            for one, result in zip(data, (u for u in unseen if pair in u)):
                one.leave_one_out(found, leverage, result[pair])
    return weights, unseen


def parts(layout: BondLayout, shells: int) -> Iterator[tuple[tuple[int, int, int], BondBlock, np.ndarray, np.ndarray]]:
    """Yield (parity, order, channel), the block, and which of its channels are regressed on which."""
    per_channel = FUNCTIONS * shells + NEAR_FUNCTIONS * TOLD
    for block in layout.blocks:
        everything = np.arange(block.channels)
        if per_channel * block.channels <= MOST:
            yield (block.parity, block.order, -1), block, everything, everything
        else:
            for channel in everything:
                yield (block.parity, block.order, int(channel)), block, everything[[channel]], everything[[channel]]


def _has_constants(block: BondBlock) -> bool:
    return block.parity == 0 and block.order == 0


def _columns(features: np.ndarray, block: BondBlock, channels: np.ndarray) -> np.ndarray:
    """(e, components, kinds·channels) of (e, kinds, width)."""
    own = features[:, :, block.columns].reshape(*features.shape[:2], block.components, block.channels)[..., channels]
    kinds = features.shape[1] * len(channels)
    return np.ascontiguousarray(own.transpose(0, 2, 1, 3)).reshape(len(own), block.components, kinds)


def _add(
    result: np.ndarray, block: BondBlock, targets: np.ndarray, x: np.ndarray, radial: np.ndarray, weights: np.ndarray
) -> None:
    """Add Σ_b radial_b (x @ weights_b) to the columns of some channels."""
    columns = block.start + targets + block.channels * np.arange(block.components)[:, None]
    flat = x.reshape(-1, x.shape[2])
    for own, values in zip(weights.reshape(radial.shape[1], x.shape[2], -1), radial.T):
        rows = np.flatnonzero(values)
        if len(rows):
            product = (x[rows].reshape(-1, x.shape[2]) if len(rows) < len(x) else flat) @ own
            result[rows[:, None, None], columns] += values[rows, None, None] * product.reshape(
                len(rows), *columns.shape
            )


@dataclass(frozen=True, eq=False)
class _Data:
    """What one block of one structure's bonds is fitted to."""

    samples: BondSamples
    targets: np.ndarray
    usable: np.ndarray
    block: BondBlock
    channels: np.ndarray
    sources: np.ndarray
    cutoff: float

    @property
    def columns(self) -> np.ndarray:
        """(channels, components)."""
        components = np.arange(self.block.components)
        return self.block.start + self.channels[:, None] + self.block.channels * components

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the positions of bonds and their features, (n, F, components)."""
        for where, own in self.samples.chunks():
            yield np.arange(where.start, where.stop), self._design(own)

    def _design(self, own: BondSamples) -> np.ndarray:
        n, components = len(own.distance), self.block.components
        far = RadialFunctions(self.cutoff, FUNCTIONS)(own.distance)
        beside = _columns(own.beside, self.block, self.sources)
        made = [np.einsum("nb,ncf->nbfc", far, beside).reshape(n, far.shape[1] * beside.shape[2], components)]
        if _has_constants(self.block):
            made.append(far[:, :, None])
        near = RadialFunctions(NEAR, NEAR_FUNCTIONS)(own.distance[own.near])
        told = np.zeros((n, NEAR_FUNCTIONS * own.told.shape[1] * len(self.sources), components))
        values = _columns(own.told, self.block, self.sources)
        told[own.near] = np.einsum("nb,ncf->nbfc", near, values).reshape(len(near), *told.shape[1:])
        return np.concatenate([*made, told], axis=1)

    def reach(self) -> np.ndarray:
        """(F,) sums of squares over bonds of each feature's function of the length."""
        own, components = self.samples, self.block.components
        far = (RadialFunctions(self.cutoff, FUNCTIONS)(own.distance[self.usable]) ** 2).sum(axis=0)
        near_bonds = own.near[self.usable[own.near]]
        near = (RadialFunctions(NEAR, NEAR_FUNCTIONS)(own.distance[near_bonds]) ** 2).sum(axis=0)
        parts = [np.repeat(far, own.beside.shape[1] * len(self.sources))]
        parts += [far] if _has_constants(self.block) else []
        return components * np.concatenate([*parts, np.repeat(near, own.told.shape[1] * len(self.sources))])

    def leave_one_out(self, weights: np.ndarray, leverage: Leverage, result: np.ndarray) -> None:
        """Write the predictions without each bond itself."""
        for bonds, design in self.chunks():
            predicted = weights.T @ design
            known = self.usable[bonds]
            residual = self.targets[bonds[known][:, None, None], self.columns] - predicted[known]
            predicted[known] = self.targets[bonds[known][:, None, None], self.columns] - leverage.leave_one_out(
                design[known], residual
            )
            result[bonds[:, None, None], self.columns] = predicted


def _solve(data: Sequence[_Data]) -> tuple[np.ndarray, Leverage]:
    equations: NormalEquations | None = None
    reach = np.zeros(0)
    for one in data:
        for bonds, design in one.chunks():
            known = one.usable[bonds]
            equations = equations or NormalEquations(design.shape[1], len(one.channels), 1)
            equations.add(design[known], one.targets[bonds[known][:, None, None], one.columns])
        reach = one.reach() + (reach if len(reach) else 0.0)
    assert equations is not None
    spread = np.sqrt(equations.gram.diagonal() / np.maximum(reach, 1e-300))
    spread = np.where(spread > 1e-9 * spread.max(initial=0.0), spread, np.inf)
    system = equations.gram / np.outer(spread, spread) + PENALTY * np.eye(len(spread))
    factor = cho_factor(system)
    weights = np.ascontiguousarray(cho_solve(factor, equations.moment / spread[:, None]) / spread[:, None])
    return weights, Leverage(np.zeros(len(spread)), spread, factor, 0.0)
