"""Errors of a predicted Hamiltonian atom by atom."""

from __future__ import annotations

import numpy as np

from nearsight.electronic.compare import comparable
from nearsight.operators.blocks import BlockOperator


def atom_errors(prediction: BlockOperator, reference: BlockOperator) -> tuple[np.ndarray, np.ndarray]:
    """Mean |H_pred − H_ref| of each atom's on-site block, and of its blocks with other atoms, (N,) each, eV.

    Weighted with the numbers of elements they are ε_n and ε_e. NaN of an atom without such blocks.

    Raises:
        InputError: other atoms or another basis.
    """
    prediction, reference = comparable(prediction, reference)
    aligned = reference.on_pairs(prediction.source, prediction.target, prediction.shift)
    error = np.add.reduceat(np.abs(prediction.values - aligned.values), prediction.offsets[:-1])
    nodes = prediction.on_site
    on_site, between = (_means(error, prediction, chosen) for chosen in (nodes, ~nodes))
    return on_site, between


def expected_errors(operator: BlockOperator, estimate: np.ndarray) -> np.ndarray:
    """(N,) eV, expected r.m.s. error of the elements of each atom's row of blocks; NaN where one is not known."""
    squares = np.bincount(operator.source, estimate**2 * operator.lengths, operator.n_atoms)
    return np.asarray(np.sqrt(squares / np.bincount(operator.source, operator.lengths, operator.n_atoms)))


def _means(sums: np.ndarray, operator: BlockOperator, chosen: np.ndarray) -> np.ndarray:
    of, sizes = operator.source[chosen], operator.lengths[chosen]
    count = np.bincount(of, sizes, operator.n_atoms)
    total = np.bincount(of, sums[chosen], operator.n_atoms)
    return np.divide(total, count, out=np.full(operator.n_atoms, np.nan), where=count > 0)
