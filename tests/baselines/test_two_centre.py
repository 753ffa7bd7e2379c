"""Two-centre terms: recovered from data that are such, and tied to their transposes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearsight.baselines.irrep_table import IrrepTable
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.baselines.reference import Reference
from nearsight.baselines.two_centre import TwoCentreFit
from nearsight.operators.bloch import fold
from nearsight.operators.calculation import Calculation
from nearsight.structures.graph import build_graph
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, operator_of, random_baseline, random_calculation
from tests.random_cases import HFO2_SZV

TABLE = IrrepTable(LAYOUT)


def test_bonds_along_z_are_the_slater_koster_integrals() -> None:
    """Along z only m = m' couples, and ±m alike."""
    two_centre = random_baseline().two_centre
    for pair in two_centre.coefficients:
        block = LAYOUT.uncouple(two_centre(pair, np.array([[0.0, 0.0, 2.5]])), *pair)[0]
        m = {z: np.concatenate([np.arange(-l, l + 1) for l in HFO2_SZV.shells[z]]) for z in pair}
        assert np.abs(block[m[pair[0]][:, None] != m[pair[1]]]).max() < 1e-12
        mirrored = [
            np.concatenate(
                [o + np.arange(2 * l, -1, -1) for l, o in zip(HFO2_SZV.shells[z], HFO2_SZV.shell_offsets(z))]
            )
            for z in pair
        ]
        np.testing.assert_allclose(block[np.ix_(*mirrored)], block, atol=1e-12)
        assert np.abs(block).max() > 1e-3


def test_the_opposite_bond_is_the_transpose(rng: np.random.Generator) -> None:
    """Coefficients of equal elements are tied."""
    two_centre, vectors = random_baseline().two_centre, rng.standard_normal((20, 3)) + 1
    for z in (8, 72):
        there, back = two_centre((z, z), vectors), two_centre((z, z), -vectors)
        np.testing.assert_allclose(there[:, TABLE.exchanged_columns], back, atol=1e-14)
        coefficients = two_centre.coefficients[z, z]
        assert np.array_equal(coefficients[:, TABLE.exchanged], (-1.0) ** TABLE.degree * coefficients)


def test_terms_vanish_smoothly_at_the_cutoff() -> None:
    two_centre = random_baseline().two_centre
    sizes = [np.abs(two_centre((72, 72), np.array([[0.0, CUTOFF - h, 0.0]]))).max() for h in (2e-2, 2e-3, 0.0)]
    assert sizes[0] > 0
    assert sizes[1] == pytest.approx(1e-3 * sizes[0], rel=1e-6)
    assert sizes[2] == 0


def test_a_two_centre_hamiltonian_is_recovered() -> None:
    """From data made by other terms, folded to Γ and added in two structures."""
    made = []
    settings = replace(SMALL, pair_bending=1e-14, pair_ridge=1e-14)
    fit = TwoCentreFit(TABLE, RadialFunctions(CUTOFF, SMALL.pair_functions), settings)
    for seed in (5, 6):
        structure = random_calculation(seed).structure
        operator = fold(operator_of(random_baseline(), structure, build_graph(structure, CUTOFF)))
        made.append(Reference.of(Calculation(structure, HFO2_SZV, operator), LAYOUT, CUTOFF))
        fit.add(made[-1])
    found = fit.solve()
    for pair, edges, blocks in made[0].edges():
        vectors = made[0].graph.vector[edges]
        np.testing.assert_allclose(found(pair, vectors), blocks, atol=1e-6 * np.abs(blocks).max())
