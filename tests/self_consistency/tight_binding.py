"""A small world with self-consistent charges: extended Hückel H of HfO₂, with potentials of Löwdin charges.

    H_ij = S_ij (K (ε_i + ε_j)/2 + (φ_i + φ_j)/2),    φ_i = −V_i(Δq)/κ − U Δq_i

S is that of CP2K's basis, Δq the charges less those of ions in it, V their Ewald potential, κ a dielectric constant.
Solved by damped iteration, without the package's own loop.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from nearsight.electrostatics.potential import electrostatics
from nearsight.operators.bloch import to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.two_centre_overlap import overlap_of
from nearsight.recipes.overlap import with_pyscf_functions
from nearsight.structures.structure import Structure
from tests.random_cases import HFO2_SZV

BASIS = with_pyscf_functions(HFO2_SZV)
LEVELS = {8: (-25.0, *3 * (-9.0,)), 72: (-60.0, 3.0, *3 * (-35.0,), *5 * (-1.0,))}
"""eV, of the shells 2s, 2p; 5s, 6s, 5p, 5d."""
BETWEEN, DIELECTRIC, REPULSION = 1.1, 4.0, 3.0
"""K; κ; U in V/e."""
IONS = {8: -1.0, 72: 2.0}
"""e."""


def fluorite(seed: int, displaced: float = 0.2) -> Structure:
    """24 atoms of cubic HfO₂, normally distributed about their sites (Å)."""
    rng = np.random.default_rng(seed)
    metal = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    oxygen = np.stack(np.meshgrid(*[[0.25, 0.75]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    one = np.concatenate([metal, oxygen]) * 5.2
    sites = np.concatenate([one, one + np.array([5.2, 0, 0])])
    numbers = np.tile(np.repeat([72, 8], [4, 8]), 2)
    return Structure(numbers, sites + displaced * rng.standard_normal((24, 3)), np.diag([10.4, 5.2, 5.2]), True)


def world(seed: int) -> Calculation:
    """A disordered structure of HfO₂ with H, S of this world, resolved in R."""
    structure = fluorite(seed)
    s = overlap_of(structure, BASIS)
    dense = to_csr(s).toarray()
    values, vectors = linalg.eigh(dense)
    root = (vectors / np.sqrt(values)) @ vectors.T
    owner = np.repeat(np.arange(len(structure)), BASIS.sizes(structure.numbers))
    valence = np.array([BASIS.valence[int(z)] for z in structure.numbers], dtype=float)
    charges, occupied = np.array([float(IONS[int(z)]) for z in structure.numbers]), int(valence.sum()) // 2
    for _ in range(200):
        h = hamiltonian(structure, s, charges)
        states = linalg.eigh(root @ to_csr(h).toarray() @ root)[1][:, :occupied]
        found = valence - 2 * np.bincount(owner, (states**2).sum(axis=1))
        if np.abs(found - charges).max() < 1e-7:
            break
        charges = charges + 0.3 * (found - charges)
    return Calculation(structure, BASIS, h, s)


def hamiltonian(structure: Structure, s: BlockOperator, charges: np.ndarray) -> BlockOperator:
    """H (eV) of given charges."""
    change = charges - np.array([IONS[int(z)] for z in structure.numbers])
    potential = -electrostatics(structure, change - change.mean()).potential / DIELECTRIC - REPULSION * change
    result = s.with_values(np.zeros(s.n_values))
    for (zi, zj), pairs in s.element_pairs.items():
        levels = (np.array(LEVELS[zi])[:, None] + np.array(LEVELS[zj])[None, :]) / 2
        factor = np.where(s.on_site[pairs], 1.0, BETWEEN)[:, None, None] * levels
        mean = (potential[s.source[pairs]] + potential[s.target[pairs]]) / 2
        result.put(
            pairs, s.blocks((zi, zj), s.source[pairs], s.target[pairs], s.shift[pairs]) * (factor + mean[:, None, None])
        )
    return result
