"""Leads at a device's ends: from a calculation of the bulk, or from the device's own two outermost layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nearsight.elements import symbol_of
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.quantum_transport.arguments import real_number
from nearsight.quantum_transport.axial import Axial, rewrapped
from nearsight.quantum_transport.energy_reference import EnergyShift, matched_energy
from nearsight.quantum_transport.lead import Lead, Side
from nearsight.quantum_transport.tiling import places_in_tile, tiled

PLACE = 0.1
"""Å, by which atoms of a lead may be away from their periodic places."""
THINNEST = 0.2
"""Å, thinnest layer of a lead: far below any distance of atoms."""


@dataclass(frozen=True, eq=False)
class LeadOperators:
    """H and S of a lead's principal layer, from which its matrices at any k⊥ follow.

    Attributes
    ----------
    side : {"left", "right"}
        At which end of the device it is.
    atoms : (n,) array of int
        The atoms of the device that are its layer, in the order of the matrices.
    hamiltonian, overlap : BlockOperator
        On these atoms; `shift[:, axis]` counts layers along the direction of transport, −1, 0 or 1.
    axis : int
        Lattice direction of transport.
    thickness : float
        Of a layer along the axis, Å.
    neglected : float
        Largest |H| (eV) or |S| between layers that are not neighbours.
    energy_shift : float
        μ in eV: the lead's states are raised by it (H + μ S).
    fermi : float or None
        Fermi level in eV, before the shift; None where it is not known.
    repeats : EnergyShift or None
        How the device's next layer differs from this one, where the lead is the device's own end; None for a lead from
        a bulk calculation.
    """

    side: Side
    atoms: np.ndarray
    hamiltonian: BlockOperator
    overlap: BlockOperator
    axis: int
    thickness: float
    neglected: float
    energy_shift: float = 0.0
    fermi: float | None = None
    repeats: EnergyShift | None = None

    def at(self, k: np.ndarray) -> Lead:
        """Return the lead at k⊥, in units of the reciprocal lattice vectors of the device (0 along the axis)."""
        within, onwards = (self.hamiltonian.shift[:, self.axis] == n for n in (0, 1))

        def matrix(operator: BlockOperator, keep: np.ndarray) -> np.ndarray:
            part = operator.select(keep)
            dense: np.ndarray = bloch(part, k).toarray()
            return dense if np.any(k) else dense.real

        h, s = self.hamiltonian, self.overlap
        lead = Lead(matrix(h, within), matrix(h, onwards), matrix(s, within), matrix(s, onwards))
        return lead.shifted(self.energy_shift) if self.energy_shift else lead


def lead_from_bulk(
    bulk: Axial, device: Axial, side: Side, fermi: float | None = None, tolerance: float = 1e-4
) -> LeadOperators:
    """Make a lead of a calculation of the bulk, on the outermost atoms of the device that are one layer of it.

    Parameters
    ----------
    bulk : Axial
        One period of the bulk along the same axis; the device's vectors across the axis are multiples of its own.
    device : Axial
        The device, with a layer of the bulk at its end.
    side : {"left", "right"}
        Which end.
    fermi : float, optional
        Fermi level of the bulk, eV.
    tolerance : float, default 1e-4
        Blocks with smaller |H| (eV) and |S| are left out.

    Returns
    -------
    LeadOperators
        With as many periods in a layer as H and S reach.

    Raises
    ------
    InputError
        If cells do not fit, or the device's atoms are not at the bulk's places.
    """
    axis = bulk.axis
    bulk, neglected = _without_small_blocks(bulk, tolerance)
    periods = max(1, int(np.abs(bulk.hamiltonian.shift[:, axis]).max(initial=0)))
    multiples = _multiples(bulk, device, periods)
    wanted = round(abs(np.linalg.det(multiples))) * len(bulk.structure)
    atoms = _outermost(device, side, wanted)
    reach = f"{periods * _spacing(bulk):.2f} Å thick, as far as H and S reach above {tolerance:g}"
    members, cells = _places(bulk, device, atoms, side, reach)
    _check_whole(members, cells, multiples, side)
    h = tiled(bulk.hamiltonian, members, cells, multiples)
    s = tiled(bulk.overlap, members, cells, multiples)
    thickness = periods * _spacing(bulk)
    return LeadOperators(side, atoms, h, s, axis, thickness, neglected, 0.0, fermi)


def lead_from_device(
    device: Axial, side: Side, thickness: float, fermi: float | None = None, tolerance: float = 1e-4
) -> LeadOperators:
    """Make a lead of the outermost two layers of a device, which repeat each other.

    Parameters
    ----------
    device : Axial
        The device; at its end are two layers of the lead.
    side : {"left", "right"}
        Which end.
    thickness : float
        Of one layer along the axis, Å.
    fermi : float, optional
        Fermi level, eV.
    tolerance : float, default 1e-4
        Couplings beyond the nearest layer with smaller |H| (eV) and |S| are left out.

    Raises
    ------
    InputError
        If the two layers are not the same, or a layer couples beyond the next one: the message says how thick it must
        be.
    """
    thickness = real_number("a thickness of the lead's layers in Å", thickness, above=0)
    axis, along = device.axis, device.along * _spacing(device)
    order = np.argsort(along, kind="stable")
    depth = along - along[order[0]] if side == "left" else along[order[-1]] - along
    if not THINNEST <= thickness < np.inf:
        raise InputError(f"expected a layer of at least {THINNEST:g} Å, got {thickness} Å")
    layer = np.floor((depth + 1e-3 + PLACE) / thickness).astype(int)
    outer, inner = np.flatnonzero(layer == 0), np.flatnonzero(layer == 1)
    if len(outer) != len(inner) or not len(outer):
        raise InputError(
            f"expected two equal layers of {thickness:g} Å at the {side} end of the device, got {len(outer)} and "
            f"{len(inner)} atoms: is the lead periodic with this thickness along direction {axis}?"
        )
    _check_reach(device, side, outer, inner, depth, thickness, tolerance)
    inner, moved = _counterparts(device, outer, inner, side, thickness)
    turns = np.zeros((len(device.structure), 3), dtype=np.int64)
    turns[inner] = moved
    h, s = (_two_layers(rewrapped(o, turns), outer, inner, axis, side) for o in (device.hamiltonian, device.overlap))
    repeats = matched_energy(h, s, device.hamiltonian, inner)
    return LeadOperators(side, outer, h, s, axis, thickness, _beyond(device, outer, inner), 0.0, fermi, repeats)


def _without_small_blocks(axial: Axial, tolerance: float) -> tuple[Axial, float]:
    """Leave out blocks below the tolerance, but only those of the farthest periods; returns the largest of them."""
    sizes, periods = axial.sizes(), np.abs(axial.hamiltonian.shift[:, axial.axis])
    needed = int(periods[sizes > tolerance].max(initial=0))
    needed = max(needed, 1)
    gone = periods > needed
    return axial.selected(~gone), float(sizes[gone].max(initial=0.0))


def _spacing(axial: Axial) -> float:
    """Distance between the lattice planes across the axis, Å."""
    cell = axial.structure.cell
    others = [cell[k] for k in range(3) if k != axial.axis]
    normal = np.cross(*others)
    return float(abs(cell[axial.axis] @ normal) / np.linalg.norm(normal))


def _multiples(bulk: Axial, device: Axial, periods: int) -> np.ndarray:
    """(3, 3) integers: the vectors of a layer of the device in those of the bulk."""
    axis = bulk.axis
    wanted = np.array(device.structure.cell)
    wanted[axis] = periods * bulk.structure.cell[axis]
    exact = wanted @ np.linalg.inv(bulk.structure.cell)
    multiples = np.round(exact)
    away = float(np.linalg.norm((exact - multiples) @ bulk.structure.cell, axis=1).max())
    if away > PLACE:
        raise InputError(
            f"expected a device whose cell across direction {axis} is a multiple of the bulk's, got vectors that are "
            f"off by {away:.3f} Å: {device.structure.cell.tolist()} and {bulk.structure.cell.tolist()}"
        )
    return multiples.astype(np.int64)


def _outermost(device: Axial, side: Side, count: int) -> np.ndarray:
    order = np.argsort(device.along, kind="stable")
    if 2 * count > len(order):
        raise InputError(
            f"expected a device with a lead's layer of {count} atoms at either end, got {len(order)} atoms in all"
        )
    return np.sort(order[:count] if side == "left" else order[-count:])


def _places(bulk: Axial, device: Axial, atoms: np.ndarray, side: Side, reach: str) -> tuple[np.ndarray, np.ndarray]:
    """Find which bulk atom, in which cell of the bulk, each atom of the device's layer is."""
    positions, numbers = device.structure.positions[atoms], device.structure.numbers[atoms]
    inverse = np.linalg.inv(bulk.structure.cell)
    best: tuple[float, np.ndarray, np.ndarray, int] | None = None
    for start in np.flatnonzero(bulk.structure.numbers == numbers[0]):
        offset = positions[0] - bulk.structure.positions[start]
        apart = (positions - offset)[:, None, :] - bulk.structure.positions[None, :, :]
        cells = np.round(apart @ inverse)
        away = np.linalg.norm(apart - cells @ bulk.structure.cell, axis=2)
        away[numbers[:, None] != bulk.structure.numbers[None, :]] = np.inf
        members = np.argmin(away, axis=1)
        rows = np.arange(len(atoms))
        worst = int(np.argmax(away[rows, members]))
        found = float(away[worst, members[worst]])
        if best is None or found < best[0]:
            best = found, members, cells[rows, members].astype(np.int64), worst
        if found < PLACE / 10:
            break
    if best is None or best[0] > PLACE:
        atom = atoms[0] if best is None else atoms[best[3]]
        away_by = "" if best is None or not np.isfinite(best[0]) else f", {best[0]:.2f} Å away from its place"
        raise InputError(
            f"expected the {len(atoms)} outermost atoms at the {side} end of the device to be a layer of the bulk "
            f"({reach}), got atom {atom} ({symbol_of(int(device.structure.numbers[atom]))}){away_by}; put unrelaxed "
            "layers of the lead at the device's ends"
        )
    return best[1], best[2]


def _check_whole(members: np.ndarray, cells: np.ndarray, multiples: np.ndarray, side: Side) -> None:
    """Raise where some atoms of a layer are images of others."""
    if len(set(places_in_tile(members, cells, multiples)[0])) != len(members):
        raise InputError(
            f"expected the {len(members)} outermost atoms at the {side} end of the device to be one whole layer of the "
            "bulk, got some that are images of others; order or positions of the lead's atoms differ from the bulk's"
        )


def _counterparts(
    device: Axial, outer: np.ndarray, inner: np.ndarray, side: Side, thickness: float
) -> tuple[np.ndarray, np.ndarray]:
    """Order the inner layer's atoms as the outer's, and say by how many lattice vectors across they are away."""
    structure, axis = device.structure, device.axis
    inverse = np.linalg.inv(structure.cell)
    first = outer[0]
    best: tuple[float, np.ndarray, np.ndarray, int] | None = None
    for candidate in inner[structure.numbers[inner] == structure.numbers[first]]:
        offset = structure.positions[candidate] - structure.positions[first]
        apart = structure.positions[inner][None] - (structure.positions[outer] + offset)[:, None]
        cells = np.round(apart @ inverse)
        cells[..., axis] = 0
        away = np.linalg.norm(apart - cells @ structure.cell, axis=2)
        away[structure.numbers[outer][:, None] != structure.numbers[inner][None]] = np.inf
        found = np.argmin(away, axis=1)
        rows = np.arange(len(outer))
        worst = int(np.argmax(away[rows, found]))
        error = float(away[worst, found[worst]])
        if len(np.unique(found)) == len(found) and (best is None or error < best[0]):
            best = error, inner[found], cells[rows, found].astype(np.int64), worst
    if best is None or best[0] > PLACE:
        text = "no such match" if best is None else f"atom {outer[best[3]]} {best[0]:.2f} Å away from its image"
        raise InputError(
            f"expected a periodic lead at the {side} end of the device, its two outermost layers of {thickness:g} Å "
            f"repeating each other, got {text}; give the lead's true period, or a calculation of its bulk"
        )
    return best[1], best[2]


def _check_reach(
    device: Axial,
    side: Side,
    outer: np.ndarray,
    inner: np.ndarray,
    depth: np.ndarray,
    thickness: float,
    tolerance: float,
) -> None:
    """Raise where the outermost layer couples beyond the next one."""
    h = device.hamiltonian
    within = h.shift[:, device.axis] == 0
    beyond = np.ones(len(device.structure), dtype=bool)
    beyond[outer] = beyond[inner] = False
    from_outer = np.zeros(len(device.structure), dtype=bool)
    from_outer[outer] = True
    pairs = within & from_outer[h.source] & beyond[h.target] & (device.sizes() > tolerance)
    if pairs.any():
        reach = float((depth[h.target[pairs]] - depth[h.source[pairs]]).max())
        raise InputError(
            f"expected a principal layer that couples to the next one alone at the {side} end, got {thickness:g} Å, "
            f"which is too thin: H and S reach {reach:.2f} Å along the direction of transport (above {tolerance:g}); "
            f"make layers a multiple of the lead's period of at least {reach:.2f} Å"
        )


def _beyond(device: Axial, outer: np.ndarray, inner: np.ndarray) -> float:
    near = np.zeros(len(device.structure), dtype=bool)
    near[outer] = near[inner] = True
    from_outer = np.isin(device.hamiltonian.source, outer)
    pairs = from_outer & ~near[device.hamiltonian.target] & (device.hamiltonian.shift[:, device.axis] == 0)
    return float(device.sizes()[pairs].max(initial=0.0))


def _two_layers(operator: BlockOperator, outer: np.ndarray, inner: np.ndarray, axis: int, side: Side) -> BlockOperator:
    """Return an operator within the outer layer and from it to the next one, as one of a periodic lead."""
    n = len(operator.numbers)
    place = np.full(n, -1)
    place[outer] = place[inner] = np.arange(len(outer))
    layer = np.zeros(n, dtype=np.int64)
    layer[inner] = 1 if side == "left" else -1
    is_outer, is_inner = np.isin(np.arange(n), outer), np.isin(np.arange(n), inner)
    within = operator.shift[:, axis] == 0
    keep = within & is_outer[operator.source] & (is_outer | is_inner)[operator.target]
    # The way back to the outer layer is the way on of the infinite lead.
    keep |= within & is_inner[operator.source] & is_outer[operator.target]
    pairs = np.flatnonzero(keep)
    i, j = operator.source[pairs], operator.target[pairs]
    shift = operator.shift[pairs].copy()
    shift[:, axis] = layer[j] - layer[i]
    a, b = place[i], place[j]
    order = np.lexsort((shift[:, 2], shift[:, 1], shift[:, 0], b, a))
    result = zeros(operator.numbers[outer], operator.basis, a[order], b[order], shift[order], False)
    flat = np.concatenate([np.arange(operator.offsets[p], operator.offsets[p + 1]) for p in pairs[order]])
    return result.with_values(operator.values[flat].astype(np.float64))
