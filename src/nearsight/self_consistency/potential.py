"""The potential φ of atoms in H: it varies slowly, and enters between atoms through S, H_ij ⊃ S_ij (φ_i + φ_j)/2.

φ_i is the mean diagonal element of H_ii minus a level of its element.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.units import HARTREE_IN_EV


def mean_diagonal(layout: CoupledLayout, z: int, on_site: np.ndarray) -> np.ndarray:
    """Return the mean diagonal elements (n,) of coupled on-site blocks (n, size) of one element."""
    blocks = layout.uncouple(on_site, z, z)
    return np.asarray(np.trace(blocks, axis1=1, axis2=2) / blocks.shape[1])


def exact_potential(calculation: Calculation, levels: Mapping[int, float]) -> np.ndarray:
    """Return the potential φ (N,), E_h, of the H of a calculation."""
    numbers, h = calculation.structure.numbers, calculation.require_hamiltonian()
    result = np.empty(len(numbers))
    for z in calculation.structure.elements:  # others may be known, from other structures
        level, atoms = levels[z], np.flatnonzero(numbers == z)
        blocks = h.blocks((z, z), atoms, atoms) / HARTREE_IN_EV
        result[atoms] = np.trace(blocks, axis1=1, axis2=2) / blocks.shape[1] - level
    return result


def without_potential(calculation: Calculation, potential: np.ndarray) -> Calculation:
    """Return a calculation whose H lacks S_ij (φ_i + φ_j)/2 between atoms; on-site blocks are the same.

    Parameters
    ----------
    calculation : Calculation
        With H and S.
    potential : (N,) array
        φ, E_h.
    """
    h = calculation.require_hamiltonian()
    added = potential_between(h, calculation.require_overlap(), potential)
    return replace(calculation, hamiltonian=h.with_values(h.values - added))


def potential_between(
    h: BlockOperator, overlap: BlockOperator, potential: np.ndarray, own_images: bool = False
) -> np.ndarray:
    """Return S_ij (φ_i + φ_j)/2 (eV) as the values of an operator on the pairs of `h`; nothing of an atom with itself.

    Parameters
    ----------
    h : BlockOperator
        Whose pairs these are; folded where `overlap` is.
    overlap : BlockOperator
        S.
    potential : (N,) array
        φ, E_h.
    own_images : bool
        Whether on-site blocks at Γ get the part between an atom and its images, which what is known of them lacks.
    """
    result = h.with_values(np.zeros(len(h.values)))
    for (zi, zj), pairs in h.element_pairs.items():
        i, j = h.source[pairs], h.target[pairs]
        s = overlap.blocks((zi, zj), i, j, h.shift[pairs]).astype(np.float64)
        if zi == zj:
            own = np.flatnonzero(h.on_site[pairs])
            s[own] -= np.eye(s.shape[1]) if own_images else s[own]
        factor = HARTREE_IN_EV * (potential[i] + potential[j]) / 2
        result.put(pairs, s * factor[:, None, None])
    return np.asarray(result.values)


def levels_of(calculations: Sequence[Calculation]) -> dict[int, float]:
    """Return Z → mean diagonal element of the on-site blocks over all atoms of an element, E_h."""
    zero = dict.fromkeys(sorted({z for c in calculations for z in c.structure.elements}), 0.0)
    found: dict[int, list[np.ndarray]] = {z: [] for z in zero}
    for calculation in calculations:
        own = dict.fromkeys(calculation.structure.elements, 0.0)
        potential = exact_potential(calculation, own)
        for z in own:
            found[z].append(potential[calculation.structure.numbers == z])
    return {z: float(np.concatenate(rows).mean()) for z, rows in found.items()}
