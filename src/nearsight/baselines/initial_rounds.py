"""The change H − H₀ of the on-site blocks, in two rounds of the on-site regression.

The second round knows what the first one says of the neighbours, through the overlap products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nearsight.baselines.initial_matrices import InitialMatrices
from nearsight.baselines.initial_reference import InitialReference
from nearsight.baselines.initial_surroundings import FirstRound, SecondRound, with_blocks
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.left_out import Features, LeftOut, fit_on_site
from nearsight.baselines.on_site import OnSite, Surroundings
from nearsight.baselines.overlap_products import overlap_products
from nearsight.baselines.settings import BaselineSettings
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure


@dataclass(frozen=True, eq=False)
class Rounds:
    """Both rounds; the references with the change that unseen atoms would be given; what the second round leaves."""

    first: OnSite
    second: OnSite
    references: list[InitialReference]
    left: list[dict[int, LeftOut]]


def predicted_change(
    first: OnSite, second: OnSite, structure: Structure, graph: Graph, initial: InitialMatrices
) -> np.ndarray:
    """(N, size) coupled H − H₀ of the on-site blocks, E_h; H₀ and S must tell the images of every edge apart."""
    features = first_features(first.surroundings, structure, graph, initial)
    change = first.of_features(features, structure.numbers)
    features = second_features(second.surroundings, features, structure, graph, initial, change)
    return second.of_features(features, structure.numbers)


def fit_rounds(
    references: Sequence[InitialReference], table: IrrepTable, cutoff: float, settings: BaselineSettings
) -> Rounds:
    """Both rounds, fitted to one or more structures."""
    surroundings = FirstRound(table, cutoff, settings)
    features = [first_features(surroundings, r.structure, r.graph, r.initial) for r in references]
    first, left = fit_on_site(surroundings, references, features)
    changed = [_with_change(*parts, first) for parts in zip(references, features, left)]
    further = SecondRound(table, cutoff, settings)
    features = [second_features(further, known, r.structure, r.graph, r.initial, np.asarray(r.change))
                for known, r in zip(features, changed)]
    second, left = fit_on_site(further, changed, features)
    return Rounds(first, second, [_with_change(*parts, second) for parts in zip(changed, features, left)], left)


def first_features(
    surroundings: Surroundings, structure: Structure, graph: Graph, initial: InitialMatrices
) -> Features:
    """Of every atom: densities and H₀'s own block."""
    own = initial.on_site(structure, surroundings.table.layout)[0]
    return with_blocks(surroundings.table, surroundings(structure, graph), own[:, None])


def second_features(
    surroundings: Surroundings, features: Features, structure: Structure, graph: Graph, initial: InitialMatrices,
    change: np.ndarray,
) -> Features:
    """The same and the overlap products, from the first round's change (N, size), E_h."""
    products = overlap_products(structure, graph, surroundings.cutoff, surroundings.table.layout, initial, change)
    return with_blocks(surroundings.table, features, products)


def _with_change(
    reference: InitialReference, features: Features, left: dict[int, LeftOut], on_site: OnSite
) -> InitialReference:
    """The reference with the change as predicted for unseen atoms: nothing shall be learnt from anything better."""
    change = on_site.of_features(features, reference.structure.numbers)
    for part in left.values():
        change[part.atoms] = part.blocks - part.residual
    return replace(reference, change=change)
