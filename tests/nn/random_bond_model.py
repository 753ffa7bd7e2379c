"""A model `nearsight` with random weights on a random baseline: nothing in it is zero."""

from __future__ import annotations

from functools import cache

import torch

from nearsight.baselines.bond_scale import fit_bond_scale
from nearsight.nn.bond_config import BondConfig
from nearsight.nn.bond_model import BondModel, new_bond_model, standardise
from nearsight.structures.graph import build_graph
from tests.baselines.random_baseline import CUTOFF, LAYOUT, random_baseline, random_calculation

CONFIG = BondConfig(cutoff=CUTOFF, density_functions=4, channels=5, hidden=(8, 6, 4), bond_functions=6)


@cache
def random_bond_model() -> BondModel:
    """In float64, on HfO₂; its outputs are about as large as the baseline."""
    calculations, baseline = [random_calculation(seed) for seed in (1, 2)], random_baseline()
    scale = fit_bond_scale(calculations, baseline)
    model = new_bond_model(CONFIG, LAYOUT.basis, baseline, scale, torch.float64, 0)
    standardise(model.network, [model.atoms(c.structure, build_graph(c.structure, CUTOFF)) for c in calculations])
    with torch.no_grad():
        for own in model.network.pairs.values():
            for weight in own.last:
                weight *= 10
    return model
