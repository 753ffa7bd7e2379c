"""Transfer of what a model `nearsight` has learnt to one of the same shape with other elements.

The networks of pairs that both models have are copied, and so are the rows of `mix` and the standardisation of common
elements. Densities are matched by the element they count, scalars and channels by their shells: both may have other
places in the layout of other elements. The two models have units of their own; the last maps are rescaled, so that
corrections stay what they are in E_h.

To atoms of known elements, a new one looks at first like the known element of its group that is nearest in Z, or like
nothing where there is none. So a structure of known elements with the same scalars has the same outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nearsight.baselines.bond_scale import BondScale
from nearsight.baselines.irrep_table import IrrepTable
from nearsight.elements import group_of
from nearsight.nn.architectures.nearsight.composite import BaselinePlusNetwork
from nearsight.nn.architectures.nearsight.graph import ElementPair, scalar_columns
from nearsight.nn.architectures.nearsight.pair_network import PairNetwork
from nearsight.orbitals.bond_layout import BondLayout
from nearsight.orbitals.coupled_layout import CoupledLayout

Places = tuple[list[int], list[int]]
"""Positions of the same things in the new model and in the known one."""


@torch.no_grad()
def transfer_weights(model: BaselinePlusNetwork, known: BaselinePlusNetwork) -> None:
    """Put what a known model has learnt into the network of another one, whose features are standardised.

    Parameters
    ----------
    model : BaselinePlusNetwork
        A model of the same configuration, with common elements in the same basis; its network is changed in place.
    known : BaselinePlusNetwork
        A trained model.
    """
    elements = _common(model.network.elements, known.network.elements)
    relatives = _relatives(model.network.elements, known.network.elements)
    densities, like = (_blocks(places, model.config.density_functions) for places in (elements, relatives))
    names = [scalar_names(m.layout) for m in (model, known)]
    groups = model.network.scalar_mean.shape[1] // len(names[0])
    scalars = _repeated(_common(*names), groups, (len(names[0]), len(names[1])))
    _transfer_standardisation(model, known, elements, densities, like, scalars)
    _transfer_mix(model, known, elements, (densities[0] + like[0], densities[1] + like[1]), scalars)
    for pair in common_pairs(model, known):
        _transfer_pair(
            model.network.pair(pair),
            known.network.pair(pair),
            channel_places(known.network.layouts[pair], model.network.layouts[pair]),
            unit_ratio(known.scale, model.scale, pair),
        )


def common_pairs(model: BaselinePlusNetwork, known: BaselinePlusNetwork) -> list[ElementPair]:
    """Return the pairs of elements that have a network in both models.

    Parameters
    ----------
    model, known : BaselinePlusNetwork
        The models.

    Returns
    -------
    list of ElementPair
        The pairs in the order of the first model.
    """
    return [pair for pair in model.network.layouts if pair in known.network.layouts]


def scalar_names(layout: CoupledLayout) -> list[str]:
    """Return the names of `scalar_columns`: both shells, sorted, since a symmetric block has both orders."""
    table = IrrepTable(layout)
    names = [table.names[table.irrep_of_column[column]] for column in scalar_columns(layout)]
    return [" ".join(sorted(name.split()[:2])) for name in names]


def channel_places(known: BondLayout, layout: BondLayout) -> np.ndarray:
    """Return where each channel of a layout is in another layout of the same pair of elements.

    Parameters
    ----------
    known : BondLayout
        The layout that is searched.
    layout : BondLayout
        The layout whose channels are looked for.

    Returns
    -------
    ndarray
        (channels,) int.
    """
    place = {label: k for k, label in enumerate(known.channel_labels)}
    return np.array([place[label] for label in layout.channel_labels])


def unit_ratio(known: BondScale, scale: BondScale, pair: ElementPair) -> np.ndarray:
    """Return the factors r that make r × scale nearest to the known scale over all distances (least squares).

    Parameters
    ----------
    known : BondScale
        The scale of the known model.
    scale : BondScale
        The scale of the new model.
    pair : ElementPair
        A pair of elements that both have.

    Returns
    -------
    ndarray
        (channels,) r.
    """
    own = scale.values[pair]
    theirs = known.values[pair][:, channel_places(known.layouts[pair], scale.layouts[pair])]
    return np.asarray((theirs * own).sum(axis=0) / (own**2).sum(axis=0))


def _transfer_standardisation(
    model: BaselinePlusNetwork,
    known: BaselinePlusNetwork,
    elements: Places,
    densities: Places,
    like: Places,
    scalars: Places,
) -> None:
    new, old = model.network, known.network
    _copy(new.density_mean, old.density_mean, densities)
    new.density_mean[like[0]] = 0.0  # the mean of the known element is subtracted once, from its own density
    for places in (densities, like):
        _copy(new.density_spread, old.density_spread, places, axis=1)
    for k, j in zip(*elements):
        _copy(new.scalar_mean[k], old.scalar_mean[j], scalars)
        _copy(new.scalar_spread[k], old.scalar_spread[j], scalars)


def _transfer_mix(
    model: BaselinePlusNetwork, known: BaselinePlusNetwork, elements: Places, densities: Places, scalars: Places
) -> None:
    columns = [len(net.density_mean) for net in (model.network, known.network)]
    isotropic = (
        [*densities[0], *(columns[0] + s for s in scalars[0])],
        [*densities[1], *(columns[1] + s for s in scalars[1])],
    )
    for l, (own, theirs) in enumerate(zip(model.network.mix, known.network.mix)):
        for k, j in zip(*elements):
            own[k].zero_()
            _copy(own[k], theirs[j], densities if l else isotropic)


def _transfer_pair(own: PairNetwork, known: PairNetwork, places: np.ndarray, ratio: np.ndarray) -> None:
    theirs = dict(known.named_parameters())
    for name, parameter in own.named_parameters():
        if not name.startswith("last."):
            parameter.copy_(theirs[name])
    counts = [block.channels for block in own.layout.blocks]
    starts = {(b.parity, b.order): sum(counts[:k]) for k, b in enumerate(own.layout.blocks)}
    for block, weight, source in zip(own.blocks, own.last, known.last):
        start = starts.get((block.parity, block.order), 0)
        chosen = slice(start, start + block.outputs)
        factor = torch.as_tensor(ratio[chosen], dtype=source.dtype, device=source.device)
        weight.copy_(source[:, places[chosen] - start] * factor)


def _copy(place: Tensor, values: Tensor, places: Places, axis: int = 0) -> None:
    """Copy some rows (columns for axis 1) of one tensor into those of another."""
    target, source = (torch.tensor(own, dtype=torch.int64, device=t.device) for own, t in zip(places, (place, values)))
    place.index_copy_(axis, target, values.index_select(axis, source).to(place))


def _common(names: Sequence[object], known: Sequence[object]) -> Places:
    places = [(k, known.index(name)) for k, name in enumerate(names) if name in known]
    return [k for k, _ in places], [j for _, j in places]


def _relatives(elements: Sequence[int], known: Sequence[int]) -> Places:
    """Return new elements, and for each the known one of its group nearest in Z; those without one are skipped."""
    places: Places = [], []
    for k, z in enumerate(elements):
        alike = [other for other in known if group_of(other) is not None and group_of(other) == group_of(z)]
        if z not in known and alike:
            places[0].append(k)
            places[1].append(known.index(min(alike, key=lambda other: abs(other - z))))
    return places


def _blocks(places: Places, size: int) -> Places:
    """Return the positions of the `size` numbers of each thing."""
    new, old = ([size * k + b for k in own for b in range(size)] for own in places)
    return new, old


def _repeated(places: Places, groups: int, sizes: tuple[int, int]) -> Places:
    """Return the same positions in each of several groups."""
    new, old = ([g * size + k for g in range(groups) for k in own] for own, size in zip(places, sizes))
    return new, old
