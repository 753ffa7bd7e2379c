"""Products of the standardised densities of the atoms of one element with its weights, and their gradient, compiled."""

from __future__ import annotations

from nearsight.nn.kernels.blas import product, product_tn, workspace
from nearsight.nn.kernels.compilation import compiled

ATOMS = 32
"""Atoms at once: what is multiplied and then copied to its rows stays in the cache."""


@compiled
def mix(inputs, rows, counts, weights, where, scratch, features):  # type: ignore[no-untyped-def]
    """Compute the features of the atoms of one element.

    Parameters
    ----------
    inputs : array
        Flat; for each degree l an array (atoms, 2l+1, F_l).
    rows : array
        (atoms,) int64, the rows of the atoms among all.
    counts : array
        (l_max+1,) numbers F_l.
    weights : array
        Flat weights.
    where : array
        (l_max+1,) offsets of the element's weights (F_l, channels) for each degree.
    scratch : array
        Memory of ATOMS · (2·l_max+1) · channels numbers.
    features : array
        (n, (l_max+1)², channels), written in these rows.
    """
    space, (_, components, channels) = workspace(inputs), features.shape
    flat, at = features.reshape(-1), 0
    for l in range(len(counts)):
        inner, size = counts[l], (2 * l + 1) * channels
        for start in range(0, len(rows), ATOMS):
            atoms = min(ATOMS, len(rows) - start)
            own = atoms * (2 * l + 1)
            product(space, inputs[at:], weights[where[l] :], scratch, own, channels, inner, 0)
            at += own * inner
            for k in range(atoms):
                to = (rows[start + k] * components + l * l) * channels
                flat[to : to + size] = scratch[k * size : k * size + size]


@compiled
def mix_back(inputs, rows, counts, dfeatures, where, scratch, dweights):  # type: ignore[no-untyped-def]
    """Add the gradient of `mix` to that of the weights.

    Parameters
    ----------
    inputs, rows, counts, where, scratch
        Arguments of `mix`.
    dfeatures : array
        (n, (l_max+1)², channels), gradient of the features.
    dweights : array
        Gradient of the flat weights, added to.
    """
    space, (_, components, channels) = workspace(inputs), dfeatures.shape
    flat, at = dfeatures.reshape(-1), 0
    for l in range(len(counts)):
        inner, size = counts[l], (2 * l + 1) * channels
        for start in range(0, len(rows), ATOMS):
            atoms = min(ATOMS, len(rows) - start)
            own = atoms * (2 * l + 1)
            for k in range(atoms):
                to = (rows[start + k] * components + l * l) * channels
                scratch[k * size : k * size + size] = flat[to : to + size]
            product_tn(space, inputs[at:], scratch, dweights[where[l] :], inner, channels, own, 1)
            at += own * inner
