"""CoupledLayout: the authors' slots, and a change of basis that loses nothing."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.orbitals.rotations import atom_rotation, wigner_d
from tests.random_cases import HFO2_SZV, rotations

HFO2 = CoupledLayout(HFO2_SZV)
GST = CoupledLayout(basis_named("DZVP-MOLOPT-SR-GTH").restricted([32, 51, 52]))
WITH_F = CoupledLayout(BasisSet("f", {1: (0,), 6: (1, 0, 1), 58: (3, 0, 2)}, {}))
LAYOUTS = {"HfO2": HFO2, "GST": GST, "with f": WITH_F}

PUBLISHED_HFO2 = (
    "1x0e+1x1e+1x1e+1x0e+1x1e+1x2e+1x0e+1x2e+1x1e+1x1e+1x2e+1x3e+1x0e+1x1e+1x2e+1x1e+1x2e+1x3e"
    "+1x0e+1x2e+1x2e+1x0e+1x1e+1x2e+1x3e+1x4e"
)
"""The irreps of the authors' network for a-HfO2 (they write every parity as even)."""


def test_hfo2_slots_and_irreps():
    assert (len(HFO2.slots), HFO2.size, HFO2.l_max) == (16, 100, 4)
    assert "+".join(f"1x{l}e" for l in HFO2.degrees) == PUBLISHED_HFO2


def test_hfo2_slots_start_with_oxygen():
    s, p, s2, d = (0, 0), (1, 0), (0, 1), (2, 0)
    assert HFO2.slots[:4] == ((s, s), (s, p), (p, s), (p, p))
    assert set(HFO2.slots) == set(product((s, p, s2, d), repeat=2))


def test_gst_slots():
    assert (len(GST.slots), GST.size, GST.l_max) == (25, 169, 4)


def test_a_single_element_has_no_padding():
    layout = CoupledLayout(basis_named("SZV-MOLOPT-SR-GTH").restricted([72]))
    assert layout.size == 100
    assert layout.mask(72, 72).all()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_change_of_basis_is_orthonormal(name):
    layout = LAYOUTS[name]
    for zi, zj in product(layout.elements, repeat=2):
        matrix = layout.matrix(zi, zj)
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(matrix.shape[1]), atol=1e-13)


@pytest.mark.parametrize("name", LAYOUTS)
@given(seed=st.integers(0, 2**32 - 1))
def test_round_trip_norm_and_mask(name, seed):
    layout, rng = LAYOUTS[name], np.random.default_rng(seed)
    for zi, zj in product(layout.elements, repeat=2):
        blocks = rng.normal(size=(3, layout.basis.n_orbitals(zi), layout.basis.n_orbitals(zj)))
        coupled = layout.couple(blocks, zi, zj)
        assert coupled.shape == (3, layout.size)
        np.testing.assert_allclose(layout.uncouple(coupled, zi, zj), blocks, atol=1e-13)
        np.testing.assert_allclose(np.linalg.norm(coupled, axis=1), np.linalg.norm(blocks, axis=(1, 2)))
        mask = layout.mask(zi, zj)
        assert mask.sum() == blocks[0].size
        assert not coupled[:, ~mask].any()
        noise = np.where(mask, 0, rng.normal(size=coupled.shape))
        np.testing.assert_allclose(layout.uncouple(coupled + noise, zi, zj), blocks, atol=1e-13)


@pytest.mark.parametrize("name", LAYOUTS)
@given(rotation=rotations)
def test_rotating_blocks_is_rotating_irreps(name, rotation):
    layout, rng = LAYOUTS[name], np.random.default_rng(0)
    d = wigner_d(rotation, layout.l_max)
    for zi, zj in product(layout.elements, repeat=2):
        block = rng.normal(size=(1, layout.basis.n_orbitals(zi), layout.basis.n_orbitals(zj)))
        di, dj = (atom_rotation(layout.basis, z, rotation) for z in (zi, zj))
        coupled, at = layout.couple(block, zi, zj)[0], 0
        for l in layout.degrees:
            coupled[at : at + 2 * l + 1] = d[l] @ coupled[at : at + 2 * l + 1]
            at += 2 * l + 1
        assert at == layout.size
        np.testing.assert_allclose(layout.uncouple(coupled[None], zi, zj), di @ block @ dj.T, atol=1e-12)


def test_equal_shells_of_different_elements_share_their_slots():
    """O's s-s numbers stand where Hf's first s with its first s stand."""
    np.testing.assert_array_equal(np.flatnonzero(HFO2.mask(8, 8)), np.arange(16))
    assert (HFO2.mask(72, 72) | ~HFO2.mask(8, 8)).all()


def test_float32_stays_float32(rng):
    blocks = rng.normal(size=(2, 4, 10)).astype(np.float32)
    coupled = HFO2.couple(blocks, 8, 72)
    assert coupled.dtype == np.float32
    assert HFO2.uncouple(coupled, 8, 72).dtype == np.float32
    np.testing.assert_allclose(HFO2.uncouple(coupled, 8, 72), blocks, atol=1e-6)
