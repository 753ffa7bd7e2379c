"""Junction: a left lead, a device and a right lead, ready to be solved at any k⊥."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from nearsight.electronic.matrices import sparse_hermitian
from nearsight.errors import InputError
from nearsight.operators.bloch import bloch
from nearsight.operators.calculation import Calculation
from nearsight.quantum_transport.arguments import real_number
from nearsight.quantum_transport.axial import Axial, along_axis
from nearsight.quantum_transport.block_tridiagonal import BlockTridiagonal, block_tridiagonal, require_positive_overlap
from nearsight.quantum_transport.energy_reference import EnergyShift, matched_energy
from nearsight.quantum_transport.layering import cut_layers
from nearsight.quantum_transport.lead import Lead
from nearsight.quantum_transport.periodic_lead import LeadOperators, lead_from_bulk, lead_from_device
from nearsight.quantum_transport.wide_band import WideBandEnd, WideBandLead, wide_band_end
from nearsight.structures.structure import Structure

TOLERANCE = 1e-4
"""Blocks with smaller |H| (eV) and |S| are no coupling."""


@dataclass(frozen=True, eq=False)
class JunctionAtK:
    """A junction at one k⊥.

    Attributes
    ----------
    device : BlockTridiagonal
        H and S of all atoms, those of the leads' layers among them, in the order of `Junction.order`.
    left, right : Lead
        The leads, in the device's zero of energy.
    h, s : sparse matrix of shape (n, n)
        H (eV) and S of the device, as in `device`.
    """

    device: BlockTridiagonal
    left: Lead | WideBandLead
    right: Lead | WideBandLead
    h: sparse.csr_matrix
    s: sparse.csr_matrix


@dataclass(frozen=True, eq=False)
class Junction:
    """Left lead | device | right lead.

    Attributes
    ----------
    axial : Axial
        H and S of the device, which begins with a layer of the left lead and ends with one of the right lead.
    left, right : LeadOperators or WideBandEnd
        The leads.
    left_match, right_match : EnergyShift or None
        How a lead from a bulk calculation was matched to the device; None where the lead is the device's own.
    bulk_ends : bool
        Whether H and S within the device's two end layers are the leads' own.
    neglected : float
        Largest |H| (eV) or |S| of the device that was left out.
    order : (N,) array of int
        Atoms along the direction of transport: those of the left layer first, those of the right layer last.
    """

    axial: Axial
    left: LeadOperators | WideBandEnd
    right: LeadOperators | WideBandEnd
    left_match: EnergyShift | None
    right_match: EnergyShift | None
    bulk_ends: bool
    neglected: float
    order: np.ndarray

    @property
    def structure(self) -> Structure:
        """The device's atoms, wrapped into one period along the axis."""
        return self.axial.structure

    @property
    def fermi(self) -> float | None:
        """Fermi level of the left lead in the device's zero of energy, eV; None where it is not known."""
        return None if self.left.fermi is None else self.left.fermi + self.left.energy_shift

    @property
    def fermi_mismatch(self) -> float | None:
        """Fermi level of the right lead less that of the left one, eV: 0 for leads in equilibrium."""
        if self.left.fermi is None or self.right.fermi is None:
            return None
        return self.right.fermi + self.right.energy_shift - self.left.fermi - self.left.energy_shift

    @cached_property
    def starts(self) -> np.ndarray:
        """(N+1,) first function of each atom of `order`."""
        sizes = np.diff(self.axial.hamiltonian.orbital_offsets)[self.order]
        return np.concatenate([[0], np.cumsum(sizes)])

    @cached_property
    def functions(self) -> np.ndarray:
        """(n,) the device's functions, numbered as in the calculation, in the order of the matrices."""
        first = self.axial.hamiltonian.orbital_offsets
        return np.concatenate([np.arange(first[a], first[a + 1]) for a in self.order])

    @cached_property
    def layers(self) -> np.ndarray:
        """(B+1,) first function of each layer of the block-tridiagonal matrix."""
        pattern = _pattern(self.axial)[self.functions][:, self.functions]
        may_touch = isinstance(self.left, WideBandEnd) and isinstance(self.right, WideBandEnd)
        return cut_layers(pattern, self.starts, len(self.left.atoms), len(self.right.atoms), may_touch)

    def at(self, k: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)) -> JunctionAtK:
        """Return the matrices at k⊥.

        Parameters
        ----------
        k : (3,) array of float, default Γ
            In units of the reciprocal lattice vectors of the device; 0 along the axis.

        Raises
        ------
        InputError
            If k has a component along the axis, is not 0 for matrices at Γ, H is not Hermitian, or S not positive
            definite.
        """
        k = np.asarray(k, dtype=np.float64)
        if k[self.axial.axis]:
            raise InputError(f"expected k⊥ with 0 along the direction of transport, got {k.tolist()}")
        if self.axial.gamma_only and k.any():
            raise InputError(f"expected matrices in real space for k⊥ = {k.tolist()}, got ones that are summed at Γ")
        h, s = self.matrices(k)
        left, right = self.left.at(k), self.right.at(k)
        device = block_tridiagonal(h, s, self.layers)
        require_positive_overlap(device)
        return JunctionAtK(device, left, right, h, s)

    def matrices(self, k: np.ndarray) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
        """Return sparse H (eV) and S of the device at k⊥ in the order of the layers."""
        inside = self.axial.selected(self.axial.hamiltonian.shift[:, self.axial.axis] == 0)
        h, s = (
            sparse_hermitian(bloch(o, k) if k.any() else bloch(o, k).real, name)[self.functions][:, self.functions]
            for o, name in ((inside.hamiltonian, "H"), (inside.overlap, "S"))
        )
        if not self.bulk_ends:
            return h, s
        left, right = self.left.at(k), self.right.at(k)
        if not (isinstance(left, Lead) and isinstance(right, Lead)):
            return h, s
        n, m, size = left.n_orbitals, right.n_orbitals, h.shape[0]
        return (_with_ends(h, left.h0, right.h0, n, size - m), _with_ends(s, left.s0, right.s0, n, size - m))


def make_junction(
    device: Calculation,
    *,
    bulk: Calculation | None = None,
    right_bulk: Calculation | None = None,
    layer: float | None = None,
    wide_band: tuple[float, float] | None = None,
    axis: int = 2,
    cut: float = 0.0,
    tolerance: float = TOLERANCE,
    match: bool = True,
    bulk_ends: bool | None = None,
) -> Junction:
    """Make a junction of a device's calculation, with leads from a bulk calculation or from the device's own ends.

    Parameters
    ----------
    device : Calculation
        H and S of the whole device. It begins and ends with undistorted layers of the leads: one layer each where
        `bulk` is given, two each where the leads are its own ends.
    bulk : Calculation, optional
        H and S of the bulk of the leads, in real space (or at Γ, in a cell long enough along the axis).
    right_bulk : Calculation, optional
        The same for the right lead where it is another material.
    layer : float, optional
        Thickness of a layer along the axis, Å, for leads from the device's own ends.
    wide_band : (float, float), optional
        Thickness (Å) of the device's ends that touch leads without features, and their broadening Γ (eV).
    axis : int, default 2
        Lattice direction of transport: 0, 1 or 2.
    cut : float, default 0.0
        Fractional coordinate along the axis where the device begins.
    tolerance : float, default TOLERANCE
        Blocks with smaller |H| (eV) and |S| are no coupling.
    match : bool, default True
        Whether leads from a bulk calculation are matched to the device's zero of energy (H + μ S).
    bulk_ends : bool, optional
        Whether H and S within the device's end layers are replaced by the bulk's; by default where `bulk` is given.

    Returns
    -------
    Junction
        Ready to be solved.

    Raises
    ------
    InputError
        If a matrix is missing, leads are not periodic or do not fit, layers are too thin, or leads touch.
    """
    if axis not in (0, 1, 2):
        raise InputError(f"expected 0, 1 or 2 as the direction of transport, got {axis}")
    kinds = [name for name, x in (("bulk", bulk), ("layer", layer), ("wide_band", wide_band)) if x is not None]
    if len(kinds) != 1:
        raise InputError(
            "expected leads of one kind, from a bulk calculation (bulk), the device's own ends (layer, a thickness in "
            f"Å) or without features (wide_band), got {' and '.join(kinds) or 'none'}"
        )
    cut = real_number("a fractional coordinate as cut", cut)
    tolerance = real_number("a tolerance", tolerance, least=0)
    axial = along_axis(device, axis, cut, tolerance)
    _check_overlap(axial)
    axial, neglected = _without_small_blocks(axial, tolerance)
    matches: list[EnergyShift | None] = [None, None]
    left: LeadOperators | WideBandEnd
    right: LeadOperators | WideBandEnd
    if wide_band is not None:
        left, right = (wide_band_end(axial, side, *wide_band, device.fermi) for side in ("left", "right"))
    elif bulk is None:
        assert layer is not None
        left = lead_from_device(axial, "left", layer, device.fermi, tolerance)
        right = lead_from_device(axial, "right", layer, device.fermi, tolerance)
    else:
        other = bulk if right_bulk is None else right_bulk
        ends = (
            lead_from_bulk(along_axis(bulk, axis, 0.0, tolerance), axial, "left", bulk.fermi, tolerance),
            lead_from_bulk(along_axis(other, axis, 0.0, tolerance), axial, "right", other.fermi, tolerance),
        )
        left, right = ends
        if match:
            found = [matched_energy(x.hamiltonian, x.overlap, axial.hamiltonian, x.atoms) for x in ends]
            left, right = (replace(x, energy_shift=m.value) for x, m in zip(ends, found))
            matches = [*found]
    order = _order(axial, left.atoms, right.atoms)
    own = (bulk is not None) if bulk_ends is None else bulk_ends
    return Junction(axial, left, right, matches[0], matches[1], own, neglected, order)


def _check_overlap(axial: Axial) -> None:
    """Raise where S has a function without a norm, as a matrix has that is no overlap."""
    s = axial.overlap
    for atom in range(len(axial.structure)):
        least = float(np.diag(s.block(atom, atom)).min())
        if not least > 0:
            raise InputError(
                f"expected an overlap S whose diagonal is above 0, got {least:g} at atom {atom}: is it another matrix?"
            )


def _order(axial: Axial, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    n = len(axial.structure)
    middle = np.setdiff1d(np.arange(n), np.concatenate([left, right]))
    if len(np.intersect1d(left, right)):
        raise InputError("expected a device longer than the two leads' layers, got leads that overlap")
    return np.concatenate([left, middle[np.argsort(axial.along[middle], kind="stable")], right])


def _without_small_blocks(axial: Axial, tolerance: float) -> tuple[Axial, float]:
    sizes, h = axial.sizes(), axial.hamiltonian
    small = sizes < tolerance
    own = (h.source == h.target) & ~h.shift.any(axis=1)
    if (small & own).any():
        raise InputError(f"expected a tolerance below all on-site blocks, got {tolerance:g}, which leaves out some")
    return axial.selected(~small), float(sizes[small].max(initial=0.0))


def _pattern(axial: Axial) -> sparse.csr_matrix:
    """Which functions couple within the period, at any k⊥."""
    inside = axial.hamiltonian.select(axial.hamiltonian.shift[:, axial.axis] == 0)
    ones = inside.with_values(np.ones(inside.n_values))
    return bloch(ones, np.zeros(3)).real.tocsr()


def _with_ends(
    matrix: sparse.csr_matrix, left: np.ndarray, right: np.ndarray, end: int, start: int
) -> sparse.csr_matrix:
    """Replace the blocks of the first `end` functions, and of those from `start` on."""
    coo = matrix.tocoo()
    own = ((coo.row < end) & (coo.col < end)) | ((coo.row >= start) & (coo.col >= start))
    rest = sparse.csr_matrix((coo.data[~own], (coo.row[~own], coo.col[~own])), shape=matrix.shape)
    size = matrix.shape[0]
    blocks = sparse.block_diag([left, sparse.csr_matrix((start - end, start - end)), right], format="csr")
    assert blocks.shape == (size, size)
    return sparse.csr_matrix(rest + blocks)
