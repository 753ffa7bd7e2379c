"""A model `nearsight` before training, and the bonds it is trained and validated on.

What training the network `nearsight` minimises, and what validation reports of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.bond_scale import fit_bond_scale, max_shell
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.settings import BaselineSettings
from nearsight.electronic.populations import atomic_charges
from nearsight.errors import ConfigError
from nearsight.learning.checkpoint import write_tensors
from nearsight.learning.config import TrainingConfig
from nearsight.learning.fine_tuning import as_start, check_basis, describe_change, unknown_pairs
from nearsight.learning.memory import available_bytes
from nearsight.learning.metrics import ErrorSums
from nearsight.nn.architectures.nearsight.batches import MEV, BondPart, BondPiece, BondPieces, BondSource, deal
from nearsight.nn.architectures.nearsight.calibration import fit_uncertainty
from nearsight.nn.architectures.nearsight.config import BondConfig
from nearsight.nn.architectures.nearsight.graph import ElementPair, frames_of
from nearsight.nn.architectures.nearsight.model import BondModel, new_bond_model, standardise
from nearsight.nn.architectures.nearsight.network import BondNetwork
from nearsight.nn.architectures.nearsight.transfer import take_over
from nearsight.nn.architectures.xia2025.batches import Room, common_basis, hold_out, part_labels
from nearsight.nn.model import load_model
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout

USED = 0.6
"""Part of the available memory that kept parts may take."""


def begin_bond_model(
    config: TrainingConfig,
    training: Sequence[Calculation],
    dtype: torch.dtype,
    provenance: dict[str, str],
    note: Callable[[str], None] = lambda text: None,
    start: BondModel | None = None,
) -> BondModel:
    """The model of the run in the configuration's folder, or one to begin with.

    That is `start` where it knows all pairs of elements in the data, else a new model with its baseline fitted to the
    structures; what `start` has learnt comes into it with the features (`prepare_bonds`).
    """
    last = Path(config.run_dir) / "last.safetensors"
    if last.exists():
        begun = load_model(last)
        if not isinstance(begun, BondModel):
            raise ConfigError(
                f"{last}: expected a run of the network nearsight, got one of {begun.config.network}; "
                "give another run_dir"
            )
        return begun
    if not isinstance(config.model, BondConfig):
        raise TypeError(f"expected a BondConfig, got {type(config.model).__name__}")
    basis = common_basis(training)
    if start is not None:
        check_basis(config, start, basis)
        if not unknown_pairs(start, training):
            note("baseline, scales and weights are those of the model that this run starts from")
            return as_start(start, dtype, provenance)
    layout = CoupledLayout(basis)
    note("fitting the baseline")
    own = config.model
    charges = None
    if own.long_range != "none":
        note("charges of the training structures from H and S")
        charges = [atomic_charges(calculation) for calculation in training]
    settings = BaselineSettings(strictly_local=own.strictly_local, h0=own.h0, long_range=own.long_range)
    baseline = fit_baseline(training, layout, own.cutoff, settings, charges)
    scale = fit_bond_scale(training, baseline)
    model = new_bond_model(config.model, basis, baseline, scale, dtype, config.seed, provenance)
    if start is not None:
        describe_change(model, start, note)
    return model


def prepare_bonds(
    config: TrainingConfig,
    model: BondModel,
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
    device: torch.device,
    begun: bool,
    note: Callable[[str], None] = lambda text: None,
    start: BondModel | None = None,
) -> tuple[BondPieces, BondPieces]:
    """Parts to train on and parts for validation; the features of a model that is not begun are standardised.

    A model with another baseline than `start` then takes over what that has learnt.
    """
    model.network.to(device)
    sources = [BondSource(calculation, model, config.loss) for calculation in training]
    if not begun and (start is None or start.baseline is not model.baseline):
        standardise(model.network, [source.atoms for source in sources])
        if start is not None:
            take_over(model, start)
    chosen: list[BondPart] = []
    held: list[BondPart] = []
    for source in sources:
        kept = None if validation else _held_atoms(source, config)
        for part in deal(source, config.partition.bonds, config.seed):
            if kept is None:
                chosen.append(part)
                continue
            inside = {
                pair: kept[source.graph.source[e]] & kept[source.graph.target[e]] for pair, e in part.edges.items()
            }
            for parts, out in ((chosen, False), (held, True)):
                edges = {pair: own[inside[pair] == out] for pair, own in part.edges.items()}
                edges = {pair: own for pair, own in edges.items() if len(own)}
                if edges:
                    parts.append(BondPart(source, edges, part.folded))
    for calculation in validation:
        held += deal(BondSource(calculation, model, config.loss), config.partition.bonds, config.seed)
    if not chosen:
        raise ConfigError("expected bonds to train on, got none within the cutoff")
    count = sum(part.n_bonds for part in chosen)
    note(f"{count} bonds in {len(chosen)} parts to train on, {sum(p.n_bonds for p in held)} for validation")
    room = Room(USED * available_bytes(device, config.memory_gb))
    return BondPieces(chosen, room), BondPieces(held, room)


def calibrate(file: Path, train: BondPieces, held: BondPieces) -> None:
    """Put the uncertainty of a trained model into its file."""
    model = load_model(file)
    if isinstance(model, BondModel):
        known = fit_uncertainty(model, train, held)
        write_tensors(file, replace(model, uncertainty=known).tensors(), model.metadata())


def _held_atoms(source: BondSource, config: TrainingConfig) -> np.ndarray | None:
    """(N,) bool, atoms of the slabs held out; bonds between two of them are not trained on."""
    if not config.data.holdout_parts:
        return None
    labels = part_labels(source.calculation.structure, source.graph, config.partition)
    _, held = hold_out(list(range(int(labels.max()) + 1)), config.data.holdout_parts)
    return np.isin(labels, held)


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
