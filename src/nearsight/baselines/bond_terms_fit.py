"""Fitting bond terms: ridge regressions, whose penalty and whose errors on unseen structures cross-validation tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.bond_terms import BondEnvironments, BondPart, BondTerms, atom_densities, predicted
from nearsight.baselines.reference import Reference
from nearsight.operators.blocks import ElementPair, group_by_elements
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.bond_layout import BondBlock, BondLayout
from nearsight.progress import Event, Progress, silent
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

FOLDS = 5
FEWEST = 10
"""Structures from which on bond terms are fitted."""
MOST = 20_000
"""Bonds that are fitted, 10 to 40 kB each while they are; of more molecules some are chosen evenly."""
FACTORS = (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12)
"""Penalty relative to the mean square of a feature times the numbers of samples and features."""
WORTH = 0.98
"""A weaker penalty has to make the unseen error this much smaller than a stronger one."""


@dataclass(frozen=True, eq=False)
class FittedBondTerms:
    """Bond terms, with what they make of the structures that they were fitted to.

    Attributes
    ----------
    terms : BondTerms
        The terms.
    unseen : sequence of mapping of (int, int) to (e, n_i, n_j) array
        For each structure, E_h, blocks of its edges with Z_i < Z_j, and of the half of those with Z_i = Z_j that come
        before their reverse, as predicted by fits without that structure.
    errors : mapping of (int, int) to (float, float)
        R.m.s. errors of the baseline, and in unseen structures of the terms that take its place, E_h.
    """

    terms: BondTerms
    unseen: Sequence[dict[ElementPair, np.ndarray]]
    errors: dict[ElementPair, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class _Bonds:
    """The bonds of one pair of elements in all structures."""

    layout: BondLayout
    structure: np.ndarray
    seen: BondEnvironments
    targets: np.ndarray
    before: float


def fit_bond_terms(
    calculations: Sequence[Calculation],
    baseline: Baseline,
    progress: Progress = silent,
    *,
    factors: Sequence[float] = FACTORS,
) -> FittedBondTerms:
    """Fit bond terms in place of the two-centre terms of a baseline, whose errors they have to undercut.

    They are fitted to whole blocks: what is left of them by two-centre terms alone is no smooth function of length.

    Parameters
    ----------
    calculations : sequence of Calculation
        At least `FEWEST` structures with H.
    baseline : Baseline
        Whose terms between atoms they replace.
    progress : Progress
        Told of each pair of elements.
    factors : sequence of float
        Penalties to choose from, from the strongest one.

    Returns
    -------
    FittedBondTerms
        Terms of the pairs of elements for which they make the error on unseen structures smaller.
    """
    weights: dict[BondPart, np.ndarray] = {}
    unseen: list[dict[ElementPair, np.ndarray]] = [{} for _ in calculations]
    errors: dict[ElementPair, tuple[float, float]] = {}
    used = chosen_structures(calculations)
    gathered = _gather([calculations[k] for k in used], baseline)
    for done, (pair, bonds) in enumerate(gathered.items()):
        progress(Event("bond terms", done, len(gathered)))
        fold = bonds.structure % FOLDS
        factor, columns = _cross_validated(bonds, fold, factors)
        before, after = bonds.before, float(np.sqrt(((bonds.targets - columns) ** 2).mean()))
        errors[pair] = before, min(before, after)
        if after >= before or len(np.unique(fold)) < FOLDS:
            continue
        for block in bonds.layout.blocks:
            weights[pair, block.parity, block.order] = _solve(bonds.seen.features(block), _of(block, bonds), [factor])[
                0
            ]
        blocks = bonds.layout.blocks_of(columns, bonds.seen.frames)
        for k in np.unique(bonds.structure):
            unseen[used[k]][pair] = blocks[bonds.structure == k]
    terms = BondTerms(baseline.layout, baseline.cutoff, weights)
    for k in set(range(len(calculations))) - set(used):
        unseen[k] = blocks_between(terms, calculations[k].structure)
    return FittedBondTerms(terms, unseen, errors)


def chosen_structures(calculations: Sequence[Calculation]) -> list[int]:
    """Return the positions of the structures that are fitted, evenly chosen so that their bonds are at most `MOST`."""
    bonds = sum(len(c.structure) * (len(c.structure) - 1) // 2 for c in calculations)
    count = max(FEWEST, len(calculations) if bonds <= MOST else int(len(calculations) * MOST / bonds))
    return sorted(
        set(np.linspace(0, len(calculations) - 1, min(count, len(calculations))).round().astype(int).tolist())
    )


def blocks_between(terms: BondTerms, structure: Structure) -> dict[ElementPair, np.ndarray]:
    """Return the blocks of bond terms for a structure, E_h, of the edges that `FittedBondTerms.unseen` has."""
    graph = build_graph(structure, terms.cutoff)
    densities, result = terms.densities(structure, graph), {}
    for pair, edges in group_by_elements(structure.numbers, graph.source, graph.target).items():
        if pair in terms.pairs:
            own = edges[(pair[0] < pair[1]) | (edges < graph.reverse[edges])]
            ends = densities[graph.source[own]], densities[graph.target[own]]
            result[pair] = terms(pair, graph.vector[own], *ends)
    return result


def _gather(calculations: Sequence[Calculation], baseline: Baseline) -> dict[ElementPair, _Bonds]:
    """The bonds of all structures by pair of elements."""
    found: dict[ElementPair, list[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]] = {}
    for k, calculation in enumerate(calculations):
        reference = Reference.of(calculation, baseline.layout, baseline.cutoff)
        graph, structure = reference.graph, reference.structure
        densities = atom_densities(baseline.layout, baseline.cutoff, structure, graph)
        for pair, edges, blocks in reference.edges():
            once = (pair[0] < pair[1]) | (edges < graph.reverse[edges])
            edges, blocks = edges[once], blocks[once]
            rest = baseline.layout.uncouple(blocks - baseline.edges(structure, graph, edges), *pair)
            ends = densities[graph.source[edges]], densities[graph.target[edges]]
            whole = baseline.layout.uncouple(blocks, *pair)
            found.setdefault(pair, []).append((k, graph.vector[edges], *ends, whole, rest))
    result = {}
    for pair, parts in sorted(found.items()):
        vectors, first, second, whole, rest = (np.concatenate([part[n] for part in parts]) for n in range(1, 6))
        layout = BondLayout(baseline.layout, pair)
        seen = BondEnvironments.of(layout, baseline.cutoff, vectors, first, second)
        number = np.repeat([part[0] for part in parts], [len(part[1]) for part in parts])
        result[pair] = _Bonds(
            layout, number, seen, layout.columns_of(whole, seen.frames), float(np.sqrt((rest**2).mean()))
        )
    return result


def _cross_validated(bonds: _Bonds, fold: np.ndarray, factors: Sequence[float]) -> tuple[float, np.ndarray]:
    """The best penalty, and the columns of all bonds from fits without the structures of their fold."""
    columns = np.zeros((len(factors), *bonds.targets.shape))
    for block in bonds.layout.blocks:
        features, targets = bonds.seen.features(block), _of(block, bonds)
        for k in np.unique(fold):
            out = fold == k
            for number, weights in enumerate(_solve(features[~out], targets[~out], factors)):
                columns[number, out, block.columns] = predicted(weights, features[out])
    errors = ((columns - bonds.targets) ** 2).mean(axis=(1, 2))
    best = 0
    for number in range(1, len(factors)):
        if errors[number] < WORTH**2 * errors[best]:
            best = number
    return factors[best], columns[best]


def _of(block: BondBlock, bonds: _Bonds) -> np.ndarray:
    """Targets of one block, (e, components, channels)."""
    own = bonds.targets[:, block.columns]
    return own.reshape(len(own), block.components, block.channels)


def _solve(features: np.ndarray, targets: np.ndarray, factors: Sequence[float]) -> list[np.ndarray]:
    """Weights (F, channels) of features (e, F, components) for each penalty; in samples where these are fewer."""
    count = features.shape[1]
    x = features.transpose(0, 2, 1).reshape(-1, count)
    y = targets.reshape(len(x), -1)
    if not len(x):
        return [np.zeros((count, y.shape[1])) for _ in factors]
    spread = np.sqrt((x**2).mean(axis=0))
    spread = np.where(spread > 1e-9 * spread.max(), spread, np.inf)
    x = x / spread
    few = len(x) < count
    gram, right = (x @ x.T, y) if few else (x.T @ x, x.T @ y)
    found: list[np.ndarray] = []
    for factor in factors:
        system = gram + factor * count * len(x) * np.eye(len(gram))
        try:
            solved = cho_solve(cho_factor(system), right)
        except LinAlgError:  # so little penalty that it is lost in rounding: the last one that was not
            found.append(found[-1] if found else np.zeros((count, y.shape[1])))
            continue
        found.append(x.T @ solved if few else solved)
    return [weights / spread[:, None] for weights in found]
