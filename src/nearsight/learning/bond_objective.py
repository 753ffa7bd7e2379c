"""What training the network `nearsight` minimises, and what validation reports of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.bond_scale import max_shell
from nearsight.learning.bond_dataset import MEV, BondPiece
from nearsight.learning.metrics import ErrorSums
from nearsight.nn.bond_graph import ElementPair
from nearsight.nn.bond_inputs import frames_of
from nearsight.nn.bond_network import BondNetwork


def bond_error(network: BondNetwork, piece: BondPiece) -> Tensor:
    """Σ over the numbers of a part: `BondTargets.error`, or `FoldedPairs.error`; differentiable."""
    if not piece.folded:
        return network.error(piece.graph, piece.targets)
    outputs = network(piece.graph)
    return torch.stack([folded.error(outputs[pair]) for pair, folded in piece.folded.items()]).sum()


@torch.no_grad()
def validate_bonds(network: BondNetwork, piece: BondPiece, errors: ErrorSums | None) -> float:
    """`bond_error`; and the part's matrix elements are counted in `errors` (those of each bond once)."""
    if errors is not None:
        for pair, output in network(piece.graph).items():
            left = _left(network, piece, pair, output)
            errors.edge_sum += float(np.abs(left).sum()) / MEV
            errors.edge_count += left.size
    return float(bond_error(network, piece))


def _left(network: BondNetwork, piece: BondPiece, pair: ElementPair, output: Tensor) -> np.ndarray:
    """(e, n_i, n_j) errors of blocks, meV."""
    if pair in piece.folded:
        folded = piece.folded[pair]
        return (folded.blocks(output) - folded.values).double().cpu().numpy()
    layout, target = network.layouts[pair], piece.targets[pair]
    columns = ((output - target.values) * piece.unit[pair]).double().cpu().numpy()
    return layout.blocks_of(columns, frames_of(piece.graph.bonds[pair], max_shell(layout)))
