"""Errors of the bonds of a pair of elements, with their gradient, in one call of a compiled function."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nearsight.nn.architectures.nearsight.graph import Bonds, BondTargets
from nearsight.nn.architectures.nearsight.kernels import chunk_loops
from nearsight.nn.architectures.nearsight.kernels.passes import PassSizes
from nearsight.nn.architectures.nearsight.pair_network import END, SCALE, PairNetwork
from nearsight.nn.kernels.compilation import Buffers

CHUNK = 256
"""Bonds at once; most of what one loop needs of them stays in the cache of the core."""


class Gradient(NamedTuple):
    """Where the gradient of an error is added up.

    Attributes
    ----------
    weights : ndarray
        (n,) gradient of the weights of the pair, in the order of `PairNetwork.weights`.
    features : ndarray
        (atoms, (l_max+1)², channels), gradient of the features.
    """

    weights: np.ndarray
    features: np.ndarray


def add_errors(
    network: PairNetwork,
    cutoff: float,
    weights: np.ndarray,
    features: np.ndarray,
    bonds: Bonds,
    targets: BondTargets,
    rows: slice,
    scale: float,
    buffers: Buffers,
    gradient: Gradient | None,
) -> float:
    """Return the error of any number of bonds, and add its gradient.

    Parameters
    ----------
    network : PairNetwork
        The network of the pair, of which the sizes are read.
    cutoff : float
        Cutoff in Å.
    weights : ndarray
        (n,) weights in the order of `PairNetwork.weights`.
    features : ndarray
        (atoms, (l_max+1)², channels) of the atoms.
    bonds : Bonds
        Bonds on the CPU.
    targets : BondTargets
        Their targets.
    rows : slice
        Which of the bonds.
    scale : float
        Factor of the gradient.
    buffers : Buffers
        Scratch memory of the thread.
    gradient : Gradient or None
        Where the gradient is added; without it none is computed.

    Returns
    -------
    float
        Sum of `BondTargets.error`.
    """
    own = PassSizes.of(network)
    error = chunk_loops.add_errors(
        features,
        *(x[rows] for x in bonds.arrays),
        *(x[rows] for x in targets.arrays),
        float(targets.huber_delta),
        float(scale),
        own.sizes,
        own.place,
        own.where,
        weights,
        own.functions,
        (float(cutoff), float(min(END, cutoff)), SCALE),
        own.parts,
        own.filled,
        np.empty(CHUNK, dtype=np.int64),
        buffers.array("chunk", CHUNK * int(own.parts[-1])),
        gradient is not None,
        *(gradient or (weights, features)),
    )
    return float(error)
