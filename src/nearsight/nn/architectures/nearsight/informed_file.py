"""The numbers of informed terms by name, as model files hold them, and the terms again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from nearsight.baselines.bond_scale import BondScale
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.on_site import EnvironmentDescriptor, OnSite
from nearsight.baselines.ridge import Regression
from nearsight.baselines.serialisation import from_arrays, to_arrays
from nearsight.baselines.settings import BaselineSettings
from nearsight.errors import InputError
from nearsight.nn.architectures.nearsight.config import NearsightConfig
from nearsight.nn.architectures.nearsight.informed import InformedTerms, informed_network
from nearsight.nn.architectures.nearsight.network import name
from nearsight.nn.architectures.nearsight.uncertainty import from_arrays as uncertainty_of_arrays
from nearsight.nn.architectures.nearsight.uncertainty import to_arrays as uncertainty_arrays
from nearsight.operators.blocks import ElementPair
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency.bond_functional import BondFunctional
from nearsight.self_consistency.density_features import KINDS
from nearsight.self_consistency.functional import DensityDescriptor, OnSiteFunctional, all_shells
from nearsight.self_consistency.response import SEEN, DensityResponse
from nearsight.self_consistency.start import DensityStart

SCALE, BASELINE, FUNCTIONAL, START, UNCERTAINTY = "bond_scale.", "baseline.", "functional.", "start.", "uncertainty."
LEVEL, MEAN, RESIDUAL, DIPOLE = "level.", "mean.", "residual.", "start_dipole."
BOND, BOND_MEAN, RESPONSE, LONGEST = "bonds.", "bond_mean.", "response.", "longest_response"


def informed_arrays(terms: InformedTerms) -> dict[str, np.ndarray]:
    """Return all numbers of informed terms but the network's."""
    arrays = {BASELINE + k: v for k, v in to_arrays(terms.baseline)[0].items()} | scale_arrays(terms.scale)
    arrays |= {f"{MEAN}{z}": mean for z, mean in terms.functional.means.items()}
    arrays |= {f"{LEVEL}{z}": np.array([level]) for z, level in terms.levels.items()}
    arrays |= {f"{RESIDUAL}{z}": np.array([error]) for z, error in terms.residual.items()}
    arrays |= on_site_arrays(FUNCTIONAL, terms.functional.on_site)
    for kind, own in enumerate(terms.start.own_blocks):
        arrays |= on_site_arrays(f"{START}{kind}.", own)
    arrays |= {
        f"{BOND}{name(pair)}.{parity}.{order}.{channel}": weights
        for (pair, parity, order, channel), weights in terms.bonds.weights.items()
    }
    if terms.response is not None:
        arrays |= {f"{RESPONSE}{z}.{l}": weights for (z, l), weights in terms.response.weights.items()}
        arrays[LONGEST] = np.array([terms.response.longest])
    arrays |= {f"{BOND_MEAN}{z}": mean for z, mean in terms.bonds.means.items()}
    arrays |= {f"{DIPOLE}{z}": own.weights for z, own in terms.start.dipoles.items()}
    if terms.uncertainty is not None:
        arrays |= {UNCERTAINTY + k: v for k, v in uncertainty_arrays(terms.uncertainty).items()}
    return {key: np.array(array, order="C") for key, array in arrays.items()}  # copies: a file holds no array twice


def informed_of_arrays(
    arrays: Mapping[str, np.ndarray],
    described: Mapping[str, Any],
    config: NearsightConfig,
    basis: BasisSet,
    dtype: torch.dtype,
) -> InformedTerms:
    """Return the terms that `informed_arrays` took apart, with random weights.

    Raises
    ------
    InputError
        An array of another shape than the features'.
    """
    baseline = from_arrays(_within(BASELINE, arrays), dict(described))
    scale = scale_of_arrays(baseline.layout, arrays)
    table, settings = IrrepTable(baseline.layout), BaselineSettings(strictly_local=config.strictly_local)
    functional = OnSiteFunctional(
        _functional_of_arrays(_within(FUNCTIONAL, arrays), DensityDescriptor(table, config.cutoff, settings)),
        {int(z): mean for z, mean in _within(MEAN, arrays).items()},
        basis,
    )
    plain = EnvironmentDescriptor(table, config.cutoff, settings)
    start = DensityStart(
        [on_site_of_arrays(_within(f"{START}{kind}.", arrays), plain) for kind in range(KINDS)],
        {int(z): Regression(weights, np.zeros(1)) for z, weights in _within(DIPOLE, arrays).items()},
    )
    known = _within(UNCERTAINTY, arrays)
    return InformedTerms(
        config,
        basis,
        informed_network(config, baseline.layout, scale, 0, dtype),
        baseline,
        scale,
        functional,
        _bonds_of_arrays(arrays, config, baseline.layout),
        start,
        {int(z): float(level[0]) for z, level in _within(LEVEL, arrays).items()},
        {int(z): float(error[0]) for z, error in _within(RESIDUAL, arrays).items()},
        _response_of_arrays(arrays),
        uncertainty_of_arrays(known) if known else None,
    )


def _bonds_of_arrays(
    arrays: Mapping[str, np.ndarray], config: NearsightConfig, layout: CoupledLayout
) -> BondFunctional:
    """The bond functional among some arrays; one that says nothing in files of before it was."""
    weights, means = {}, {int(z): mean for z, mean in _within(BOND_MEAN, arrays).items()}
    shells = [(z, k) for z in sorted(means) for k in range(len(layout.basis.shells[z]))]
    for key, array in _within(BOND, arrays).items():
        pair, parity, order, channel = key.split(".")
        first, second = (int(z) for z in pair.split("-"))
        weights[(first, second), int(parity), int(order), int(channel)] = array
    layouts = {pair: BondLayout(layout, pair) for pair in sorted({part[0] for part in weights})}
    functional = BondFunctional(layouts, shells, config.cutoff, means, weights)
    functional.check()
    return functional


def _response_of_arrays(arrays: Mapping[str, np.ndarray]) -> DensityResponse | None:
    """The response among some arrays; none in files of before it was learnt."""
    weights = {}
    for key, array in _within(RESPONSE, arrays).items():
        z, degree = (int(part) for part in key.split("."))
        weights[z, degree] = array
    longest = float(arrays[LONGEST][0]) if LONGEST in arrays else SEEN
    return DensityResponse(weights, longest) if weights else None


def _functional_of_arrays(arrays: Mapping[str, np.ndarray], descriptor: DensityDescriptor) -> OnSite:
    """On-site regressions, without third atoms in files of before these were told."""
    counts = {int(key.split(".")[1]): len(array) for key, array in arrays.items() if key.endswith(".weights")}
    if any(count != descriptor.n_features(degree) for degree, count in counts.items()):
        descriptor = replace(descriptor, shells=all_shells(descriptor.table.layout))
    return on_site_of_arrays(arrays, descriptor)


def on_site_arrays(prefix: str, on_site: OnSite) -> dict[str, np.ndarray]:
    """Return the numbers of on-site regressions by name."""
    arrays = {}
    for (z, degree), regression in on_site.regressions.items():
        arrays[f"{prefix}{z}.{degree}.weights"] = regression.weights
        arrays[f"{prefix}{z}.{degree}.constant"] = regression.constant
    return arrays


def on_site_of_arrays(arrays: Mapping[str, np.ndarray], descriptor: EnvironmentDescriptor) -> OnSite:
    """Return the regressions of `on_site_arrays`, without the prefix.

    Raises
    ------
    InputError
        An array of another shape than the descriptor's.
    """
    regressions = {}
    for key, weights in arrays.items():
        if not key.endswith(".weights"):
            continue
        z, degree = (int(part) for part in key.split(".")[:2])
        shape = (descriptor.n_features(degree), len(descriptor.table.independent(z, degree)))
        if weights.shape != shape:
            raise InputError(f"expected weights of shape {shape} in {key}, got {weights.shape}")
        regressions[z, degree] = Regression(weights, arrays[f"{z}.{degree}.constant"])
    return OnSite(descriptor, regressions)


def scale_arrays(scale: BondScale) -> dict[str, np.ndarray]:
    """Return the numbers of a scale by name."""
    return {SCALE + name(pair): v for pair, v in scale.values.items()} | {SCALE + "distances": scale.centres}


def scale_of_arrays(layout: CoupledLayout, arrays: Mapping[str, np.ndarray]) -> BondScale:
    """Return the scale among some arrays."""
    values: dict[ElementPair, np.ndarray] = {}
    for key, array in _within(SCALE, arrays).items():
        if key != "distances":
            first, second = key.split("-")
            values[int(first), int(second)] = array
    return BondScale({pair: BondLayout(layout, pair) for pair in values}, arrays[SCALE + "distances"], values)


def _within(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
