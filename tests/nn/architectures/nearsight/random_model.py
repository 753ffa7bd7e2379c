"""A model `nearsight` with random weights on a random baseline: nothing in it is zero."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from nearsight.baselines.bond_scale import fit_bond_scale
from nearsight.baselines.fit import fit_baseline
from nearsight.nn.architectures.nearsight.composite import standardise
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.model import NearsightModel
from nearsight.structures.graph import build_graph
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, random_baseline, random_calculation

CONFIG = NearsightConfig(cutoff=CUTOFF, density_functions=4, channels=5, hidden=(8, 6, 4), bond_functions=6)


@cache
def random_bond_model(long_range: bool = False) -> NearsightModel:
    """In float64, on HfO₂; its outputs are about as large as the baseline, which may see charges of all atoms."""
    calculations, baseline = [random_calculation(seed) for seed in (1, 2)], random_baseline()
    if long_range:
        rng = np.random.default_rng(0)
        charges = [q - q.mean() for q in (rng.standard_normal(len(c.structure)) for c in calculations)]
        baseline = fit_baseline(calculations, LAYOUT, CUTOFF, replace(SMALL, long_range="charges"), charges)
    scale = fit_bond_scale(calculations, baseline)
    model = NearsightModel.new(CONFIG, LAYOUT.basis, baseline, scale, torch.float64, 0)
    standardise(model.network, [model.atoms(c.structure, build_graph(c.structure, CUTOFF)) for c in calculations])
    with torch.no_grad():
        for own in model.network.pairs.values():
            for weight in own.last:
                weight *= 10
    return model
