"""A baseline as a flat dict of arrays with metadata, for a safetensors file.

| array | shape | what |
|---|---|---|
| `two_centre.O-Hf` | (pair_functions, K) | coefficients of splines, E_h |
| `on_site.Hf.L2.weights` | (features, irreps) | E_h |
| `on_site.Hf.L2.constant` | (irreps,) | E_h |
| `node_scale.Hf` | (K,) | r.m.s. of the residual, E_h |
| `h0.O-Hf` | (h0_pieces + 3, 4, K) | of H₀, S, D S, S D; only where a baseline starts from H₀ |
| `first_round.Hf.L2.weights`, `….constant` | as of `on_site` | likewise |
| `h0.energy_references` | (structures,) | μ of the structures that were fitted, E_h; likewise |
| `charge.Hf.weights` | (scalar features,) | e; only where a baseline has long range |
| `charge.Hf.constant`, `charge.Hf.mean` | (1,) | e; likewise |

Pairs are named with the lighter element first. The metadata name the K irreps, the pairs and the irreps of every
on-site array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nearsight.baselines.baseline import Baseline, pair_name
from nearsight.baselines.h0.edge_terms import KINDS, H0EdgeTerms, PartitionOfUnitySplines
from nearsight.baselines.h0.on_site import FirstRoundDescriptor, SecondRoundDescriptor
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.long_range import ChargeModel, LongRangeDescriptor
from nearsight.baselines.on_site import EnvironmentDescriptor, OnSite
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.ridge import Regression
from nearsight.baselines.settings import BaselineSettings
from nearsight.baselines.two_centre import TwoCentre
from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.blocks import ElementPair
from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.coupled_layout import CoupledLayout

VERSION = 3

BEFORE_2 = {"tensor_hops": False, "product_functions": 0}
"""Settings that version 1 did not have."""
BEFORE_3 = {"initial": "h0", "initial_pieces": "h0_pieces", "initial_slope": "h0_slope", "initial_ridge": "h0_ridge"}
"""Names that settings had before version 3; arrays were called `initial.gauges` and `initial.*`."""

Arrays = dict[str, np.ndarray]


def to_arrays(baseline: Baseline) -> tuple[Arrays, dict[str, Any]]:
    """Take a baseline apart.

    Parameters
    ----------
    baseline : Baseline
        The fitted baseline.

    Returns
    -------
    arrays : dict of str to array of float64
        The table above.
    metadata : dict
        What JSON can hold.
    """
    arrays: Arrays = {}
    for pair, coefficients in baseline.two_centre.coefficients.items():
        arrays[f"two_centre.{pair_name(pair)}"] = coefficients
    for prefix, on_site in (("on_site", baseline.on_site), ("first_round", baseline.first_round)):
        for (z, degree), regression in on_site.regressions.items() if on_site is not None else ():
            arrays[_on_site_name(z, degree, prefix) + ".weights"] = regression.weights
            arrays[_on_site_name(z, degree, prefix) + ".constant"] = regression.constant
    if baseline.h0_terms is not None:
        arrays["h0.energy_references"] = baseline.h0_terms.energy_references
        for pair, coefficients in baseline.h0_terms.coefficients.items():
            arrays[f"h0.{pair_name(pair)}"] = coefficients
    if baseline.charges is not None:
        for z, regression in baseline.charges.regressions.items():
            arrays[f"charge.{symbol_of(z)}.weights"] = regression.weights[:, 0]
            arrays[f"charge.{symbol_of(z)}.constant"] = regression.constant
            arrays[f"charge.{symbol_of(z)}.mean"] = np.array([baseline.charges.means[z]])
    for z, scale in baseline.node_scales.items():
        arrays[f"node_scale.{symbol_of(z)}"] = scale
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, _metadata(baseline)


def from_arrays(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Baseline:
    """Assemble the baseline that `to_arrays` took apart; files of older versions are read too.

    Parameters
    ----------
    arrays : mapping of str to array
        The table above.
    metadata : mapping
        As `to_arrays` made it.

    Returns
    -------
    Baseline
        The baseline.

    Raises
    ------
    InputError
        If arrays or metadata are missing, do not fit together, or are of a newer version.
    """
    try:
        if int(metadata["version"]) > VERSION:
            raise InputError(
                f"expected a baseline of version {VERSION} or older, got version {metadata['version']}; "
                "update nearsight"
            )
        return _assemble(_renamed(arrays) if int(metadata["version"]) < 3 else arrays, metadata)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"expected the arrays and metadata of a baseline, got them without {error}; fit the baseline again"
        ) from error


def _renamed(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Arrays of a version before 3 by their names of today."""
    names = {name: name.replace("initial.", "h0.", 1) for name in arrays if name.startswith("initial.")}
    names |= {"initial.gauges": "h0.energy_references"}
    return {names.get(name, name): array for name, array in arrays.items()}


def _metadata(baseline: Baseline) -> dict[str, Any]:
    table, basis = baseline.table, baseline.layout.basis
    on_site = {
        _on_site_name(z, degree): [table.names[k] for k in table.independent(z, degree)]
        for z, degree in baseline.on_site.regressions
    }
    return {
        "version": VERSION,
        "unit": "E_h",
        "cutoff": baseline.cutoff,
        "basis": basis.name,
        "shells": {str(z): list(shells) for z, shells in basis.shells.items()},
        "valence": {str(z): electrons for z, electrons in basis.valence.items()},
        "settings": asdict(baseline.on_site.descriptor.settings),
        "irreps": list(table.names),
        "elements": [[z, symbol_of(z)] for z in baseline.elements],
        "element_pairs": [[*pair, pair_name(pair)] for pair in baseline.two_centre.coefficients],
        "on_site_irreps": on_site,
    }


def _assemble(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> Baseline:
    layout = CoupledLayout(
        BasisSet(
            metadata["basis"],
            {int(z): tuple(shells) for z, shells in metadata["shells"].items()},
            {int(z): electrons for z, electrons in metadata["valence"].items()},
        )
    )
    table = IrrepTable(layout)
    before = BEFORE_2 if int(metadata["version"]) < 2 else {}
    named = {BEFORE_3.get(key, key): value for key, value in metadata["settings"].items()}
    settings = BaselineSettings(**{**named, **before})
    if list(table.names) != list(metadata["irreps"]):
        raise InputError(
            f"expected the irreps {', '.join(table.names)} of {layout.basis.describe()}, got others; "
            "fit the baseline again"
        )
    cutoff, k = float(metadata["cutoff"]), len(table.names)
    pairs = [(int(zi), int(zj)) for zi, zj, _ in metadata["element_pairs"]]
    shape = (settings.pair_functions, k)
    coefficients = {pair: _array(arrays, f"two_centre.{pair_name(pair)}", shape) for pair in pairs}
    elements = [int(z) for z, _ in metadata["elements"]]
    descriptor = (
        SecondRoundDescriptor
        if settings.h0
        else LongRangeDescriptor
        if settings.long_range == "charges"
        else EnvironmentDescriptor
    )
    return Baseline(
        layout,
        cutoff,
        TwoCentre(table, RadialFunctions(cutoff, settings.pair_functions), coefficients),
        _on_site(arrays, descriptor(table, cutoff, settings), elements),
        {z: _array(arrays, f"node_scale.{symbol_of(z)}", (k,)) for z in elements},
        _on_site(arrays, FirstRoundDescriptor(table, cutoff, settings), elements, "first_round")
        if settings.h0
        else None,
        _h0_terms(arrays, table, cutoff, settings, pairs) if settings.h0 else None,
        _charges(arrays, EnvironmentDescriptor(table, cutoff, settings), elements)
        if settings.long_range == "charges"
        else None,
    )


def _charges(arrays: Mapping[str, np.ndarray], descriptor: EnvironmentDescriptor, elements: list[int]) -> ChargeModel:
    regressions, means = {}, {}
    for z in elements:
        name = f"charge.{symbol_of(z)}"
        weights = _array(arrays, f"{name}.weights", (descriptor.n_features(0),))
        regressions[z] = Regression(weights[:, None], _array(arrays, f"{name}.constant", (1,)))
        means[z] = float(_array(arrays, f"{name}.mean", (1,))[0])
    return ChargeModel(regressions, means)


def _h0_terms(
    arrays: Mapping[str, np.ndarray],
    table: IrrepTable,
    cutoff: float,
    settings: BaselineSettings,
    pairs: Sequence[ElementPair],
) -> H0EdgeTerms:
    radial = PartitionOfUnitySplines(cutoff, settings.h0_pieces)
    shape = (radial.count, len(KINDS), len(table.names))
    coefficients = {pair: _array(arrays, f"h0.{pair_name(pair)}", shape) for pair in pairs}
    return H0EdgeTerms(table, radial, coefficients, _array(arrays, "h0.energy_references", (None,)))


def _on_site(
    arrays: Mapping[str, np.ndarray], descriptor: EnvironmentDescriptor, elements: list[int], prefix: str = "on_site"
) -> OnSite:
    table, regressions = descriptor.table, {}
    for z in elements:
        for degree in range(table.layout.l_max + 1):
            count, name = len(table.independent(z, degree)), _on_site_name(z, degree, prefix)
            if count:
                weights = _array(arrays, f"{name}.weights", (descriptor.n_features(degree), count))
                regressions[z, degree] = Regression(weights, _array(arrays, f"{name}.constant", (count,)))
    return OnSite(descriptor, regressions)


def _array(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    array = np.asarray(arrays[name], dtype=np.float64)
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape)):
        raise InputError(f"expected an array {name} of shape {shape}, got {array.shape}; fit the baseline again")
    if not np.isfinite(array).all():
        raise InputError(f"expected finite numbers in {name}, got NaN or infinity; fit the baseline again")
    return array


def _on_site_name(z: int, degree: int, prefix: str = "on_site") -> str:
    return f"{prefix}.{symbol_of(z)}.L{degree}"
