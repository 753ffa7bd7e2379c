"""What the network `nearsight` knows of atoms, computed once for each: some kB an atom, from which its bonds follow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.structures.graph import Graph
from nearsight.structures.structure import Structure

ATOMS = 1024
"""Atoms whose densities are held at once."""
ON_SITE, FEATURES, LEVERAGE, DENSITIES = "on_site", "features", "leverage", "densities"


def atom_tables(
    model: BaselinePlusNetwork,
    structure: Structure,
    graph: Graph,
    h0: H0Matrices | None = None,
    atoms: np.ndarray | None = None,
) -> Mapping[str, np.ndarray]:
    """Compute what is known of the atoms of a structure.

    Parameters
    ----------
    model : BaselinePlusNetwork
        The model; its network is in evaluation mode.
    structure : Structure
        The atoms.
    graph : Graph
        Their neighbours within the model's cutoff.
    h0 : H0Matrices, optional
        H₀ and S of the structure, where the model starts from them.
    atoms : (n,) array of int, optional
        The atoms wanted; all by default.

    Returns
    -------
    mapping of str to array
        `on_site` (n, size), coupled blocks, E_h; `features` (n, (l_max+1)², channels), what bonds see, in the network's
        number type; `leverage` (n,), NaN where the model is not calibrated; with bond terms `densities`
        (n, k, (l_max+1)²), theirs.
    """
    atoms = np.arange(len(structure)) if atoms is None else atoms
    on_site = model.baseline.nodes(structure, graph, h0, atoms)
    parts = [_part(model, structure, graph, h0, atoms, on_site, k) for k in range(0, max(1, len(atoms)), ATOMS)]
    features, leverage = (np.concatenate(column) for column in zip(*parts))
    tables = {ON_SITE: on_site, FEATURES: features, LEVERAGE: leverage}
    if model.bond_terms is None:
        return tables
    return tables | {DENSITIES: model.bond_terms.densities(structure, graph, atoms)}


@torch.no_grad()
def _part(
    model: BaselinePlusNetwork,
    structure: Structure,
    graph: Graph,
    h0: H0Matrices | None,
    atoms: np.ndarray,
    on_site: np.ndarray,
    first: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Features and leverage of some atoms."""
    some, weight = slice(first, first + ATOMS), model.network.mix[0]
    inputs = model.atoms(structure, graph, on_site[some], h0, atoms[some])
    tensors = inputs.graph({}, weight.dtype).to(weight.device)
    features = model.network.features(tensors).cpu().numpy()
    if model.uncertainty is None:
        return features, np.full(len(features), np.nan)
    rows = model.network.descriptors(tensors).double().cpu().numpy()
    return features, model.uncertainty.atom_leverage(rows, inputs.element)
