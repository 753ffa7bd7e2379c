"""Where to cut a device into layers: as thin as couplings allow, with both leads' layers whole, at least cost."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from nearsight.errors import InputError

WIDEST = 3.0
"""A layer is at most this many times as large as the thinnest one that is possible there."""


def cut_layers(
    pattern: sparse.csr_matrix, units: np.ndarray, first: int, last: int, may_touch: bool = False
) -> np.ndarray:
    """Cut functions that are ordered along the direction of transport into layers.

    Parameters
    ----------
    pattern : sparse matrix of shape (n, n)
        Nonzero where two functions couple; symmetric.
    units : (N+1,) array of int
        First function of each atom and n: atoms are not cut.
    first, last : int
        The first layer holds at least the first `first` atoms, the last one at least the last `last`.
    may_touch : bool, default False
        Whether the first and the last atoms may couple, as with leads that have no layers of their own beyond them.

    Returns
    -------
    (B+1,) array of int
        First function of each layer, and n. Layers couple to the layers beside them alone.

    Raises
    ------
    InputError
        If the two leads' atoms couple, or overlap.

    Notes
    -----
    A layer that ends at atom a forces the next one to end where the atoms before a reach to. Among all choices that
    obey this, dynamic programming finds the one with the smallest Σ n_b³, to which the cost of elimination is
    proportional.
    """
    n_atoms = len(units) - 1
    if first + last > n_atoms:
        raise InputError(f"expected a device longer than its two leads' layers, got {n_atoms} atoms for {first}+{last}")
    reach = _reach(pattern, units)
    end = n_atoms - last
    if reach[first] > end and may_touch:
        return np.asarray(units)[[0, (first + end) // 2, n_atoms]]
    if reach[first] > end:
        raise InputError(
            "expected leads that do not touch, got a direct coupling between the left and the right lead's layer: "
            "the device is shorter than the reach of H and S; put more material between them"
        )
    cost = np.full(n_atoms + 1, np.inf)
    following = np.full(n_atoms + 1, -1)
    for start in range(end, first - 1, -1):
        # Layers before `start` are done; the next one begins here.
        need = max(int(reach[start]), start + 1)
        own = float(units[n_atoms] - units[start]) ** 3
        if need <= n_atoms:
            cost[start], following[start] = own, n_atoms  # all the rest as the last layer
        widest = min(int(start + WIDEST * (need - start)), end)
        ends = np.arange(need, widest + 1)
        if len(ends):
            total = (units[ends] - units[start]).astype(float) ** 3 + cost[ends]
            best = int(np.argmin(total))
            if total[best] < cost[start]:
                cost[start], following[start] = total[best], ends[best]
    candidates = np.arange(first, min(max(first, int(WIDEST * first)), end) + 1)
    total = units[candidates].astype(float) ** 3 + cost[candidates]
    cuts = [0, int(candidates[np.argmin(total)])]
    while cuts[-1] < n_atoms:
        cuts.append(int(following[cuts[-1]]))
    return np.asarray(units)[cuts]


def _reach(pattern: sparse.csr_matrix, units: np.ndarray) -> np.ndarray:
    """(N+1,) for each number of atoms from the left, one more than the last atom that one of them couples to."""
    csr = sparse.csr_matrix(pattern)
    csr.eliminate_zeros()
    n_atoms = len(units) - 1
    atom = np.repeat(np.arange(n_atoms), np.diff(units))
    farthest = np.arange(n_atoms)
    coo = csr.tocoo()
    np.maximum.at(farthest, atom[coo.row], atom[coo.col])
    return np.concatenate([[0], np.maximum.accumulate(farthest) + 1])
