"""On-site fits with the residual of each atom as if that atom had not been fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nearsight.baselines.on_site import ElementDegree, OnSite, OnSiteFit, Surroundings, independent_irreps
from nearsight.baselines.reference import Reference
from nearsight.baselines.ridge import Leverage

Features = tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """The usable atoms of one element.

    Attributes:
        atoms: (n,).
        blocks: (n, size) coupled on-site blocks, E_h.
        residual: (n, size) what the regression leaves of them, each without its own atom, E_h.
    """

    atoms: np.ndarray
    blocks: np.ndarray
    residual: np.ndarray


def fit_on_site(
    surroundings: Surroundings, references: Sequence[Reference], features: Sequence[Features]
) -> tuple[OnSite, list[dict[int, LeftOut]]]:
    """The regressions, and for each structure Z → what they leave.

    Args:
        surroundings: what the features are.
        references: the blocks to be learnt.
        features: of all atoms of each structure.
    """
    fit = OnSiteFit(surroundings)
    for reference, known in zip(references, features):
        fit.add(reference, known)
    on_site, leverages = fit.solve()
    return on_site, [_left_out(reference, known, on_site, leverages) for reference, known in zip(references, features)]


def _left_out(
    reference: Reference, features: Features, on_site: OnSite, leverages: dict[ElementDegree, Leverage]
) -> dict[int, LeftOut]:
    table, result = on_site.surroundings.table, {}
    for z in reference.structure.elements:
        atoms, blocks = reference.on_site(z)
        own = tuple(part[atoms] for part in features)
        residual = blocks - on_site.of_features(own, reference.structure.numbers[atoms])
        for (element, degree), leverage in leverages.items():
            if element != z or len(atoms) == 0:
                continue
            irreps = independent_irreps(table, z, degree)
            if leverage.offset == 1:  # without its only atom an element has no terms
                left_out = blocks[:, table.columns(irreps)]
            else:
                left_out = leverage.left_out(own[degree], residual[:, table.columns(irreps)])
            for same in (irreps, table.exchanged[irreps]):
                residual[:, table.columns(same)] = left_out
        result[z] = LeftOut(atoms, blocks, residual)
    return result
