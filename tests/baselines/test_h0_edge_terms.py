"""Terms of H₀ and S for edges: recovered from data that are such, and tied to their transposes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nearsight.baselines.h0.edge_terms import TRANSPOSED_KINDS, H0EdgeTermsFit, PartitionOfUnitySplines, edge_vectors
from nearsight.baselines.irrep_table import IrrepTable
from tests.baselines.random_baseline import CUTOFF, LAYOUT
from tests.baselines.random_h0 import WITH_INITIAL, random_h0_baseline

TABLE = IrrepTable(LAYOUT)
PAIRS = ((8, 8), (8, 72), (72, 72))


def random_vectors(pair: tuple[int, int], n: int, rng: np.random.Generator, symmetric: bool = True) -> np.ndarray:
    """(4, n, size) of random blocks."""
    sizes = [LAYOUT.basis.n_orbitals(z) for z in pair]
    h, s = (LAYOUT.couple(rng.standard_normal((n, *sizes)), *pair) for _ in range(2))
    ends = []
    for z, size in zip(pair, sizes):
        block = rng.standard_normal((n, size, size))
        ends.append(LAYOUT.couple(block + block.transpose(0, 2, 1) if symmetric else block, z, z))
    return edge_vectors(TABLE, pair, h, s, *ends)


@pytest.mark.parametrize("pair", [(8, 8), (72, 72)])
def test_vectors_of_the_reverse_edge_are_the_transposes(pair: tuple[int, int], rng: np.random.Generator) -> None:
    """Products too: (D_i S)ᵀ = Sᵀ D_i, so the third and the fourth change places."""
    z, n = pair[0], LAYOUT.basis.n_orbitals(pair[0])
    h, s, a, b = rng.standard_normal((4, 5, n, n))
    a, b = a + a.transpose(0, 2, 1), b + b.transpose(0, 2, 1)
    couple = lambda block: LAYOUT.couple(block, z, z)  # noqa: E731
    there = edge_vectors(TABLE, pair, couple(h), couple(s), couple(a), couple(b))
    back = edge_vectors(TABLE, pair, couple(h.transpose(0, 2, 1)), couple(s.transpose(0, 2, 1)), couple(b), couple(a))
    for kind, turned in enumerate(TRANSPOSED_KINDS):
        np.testing.assert_allclose(TABLE.transposed(there[kind]), back[turned], atol=1e-12)


def test_functions_of_distance_sum_to_one_below_the_cutoff() -> None:
    functions = PartitionOfUnitySplines(CUTOFF, 3)
    inside = np.linspace(0.1, CUTOFF - 1e-9, 50)
    np.testing.assert_allclose(functions(inside).sum(axis=1), 1, atol=1e-12)
    assert not functions(np.array([CUTOFF, CUTOFF + 1.0])).any()
    assert functions(inside).shape == (50, functions.count)
    assert functions.slopes() @ np.ones(functions.count) == pytest.approx(0, abs=1e-15)


def test_terms_that_made_the_data_are_recovered(rng: np.random.Generator) -> None:
    """Also the irreps of unnatural parity."""
    settings = replace(WITH_INITIAL, h0_slope=0.0, h0_ridge=1e-14)
    fit = H0EdgeTermsFit(TABLE, CUTOFF, settings)
    made = {}
    for pair in PAIRS:
        coefficients = rng.standard_normal((fit.radial.count, 4, len(TABLE.degree)))
        coefficients *= LAYOUT.mask(*pair)[TABLE.start]
        if pair[0] == pair[1]:
            coefficients = (coefficients + coefficients[:, TRANSPOSED_KINDS][:, :, TABLE.exchanged]) / 2
        made[pair] = coefficients
    teacher = replace(fit.solve(np.zeros(1)), coefficients=made)
    for pair in PAIRS:
        vectors, distance = random_vectors(pair, 400, rng), rng.uniform(0.5, CUTOFF, 400)
        fit.add(pair, vectors, distance, teacher(pair, vectors, distance) - vectors[0])
    pupil = fit.solve(np.zeros(1))
    for pair in PAIRS:
        vectors, distance = random_vectors(pair, 20, rng), rng.uniform(1.0, CUTOFF - 0.3, 20)
        expected = teacher(pair, vectors, distance)
        np.testing.assert_allclose(pupil(pair, vectors, distance), expected, atol=1e-6 * np.abs(expected).max())


def test_what_is_made_of_the_transposes_is_the_transpose(rng: np.random.Generator) -> None:
    terms = random_h0_baseline().h0_terms
    assert terms is not None
    for pair in ((8, 8), (72, 72)):
        vectors, distance = random_vectors(pair, 9, rng), rng.uniform(1.0, CUTOFF, 9)
        back = np.stack([TABLE.transposed(vectors[kind]) for kind in TRANSPOSED_KINDS])
        expected = TABLE.transposed(terms(pair, vectors, distance))
        np.testing.assert_allclose(terms(pair, back, distance), expected, atol=1e-12)


def test_nothing_beyond_the_cutoff(rng: np.random.Generator) -> None:
    terms = random_h0_baseline().h0_terms
    assert terms is not None
    assert not terms((8, 72), random_vectors((8, 72), 2, rng), np.array([CUTOFF, CUTOFF + 0.5])).any()


def test_irreps_of_all_parities_have_coefficients() -> None:
    terms = random_h0_baseline().h0_terms
    assert terms is not None
    assert set(terms.coefficients) == set(PAIRS)
    there = LAYOUT.mask(8, 72)[TABLE.start]
    for natural in (True, False):
        chosen = there & (TABLE.natural == natural)
        assert chosen.any()
        assert (np.abs(terms.coefficients[8, 72][:, :, chosen]).max(axis=(0, 1)) > 1e-6).all()
    assert not terms.coefficients[8, 72][:, :, ~there].any()


def test_rounding_in_irreps_that_an_overlap_does_not_have_is_not_learnt_from(rng: np.random.Generator) -> None:
    """Two-centre overlaps have natural parity; what rounding leaves elsewhere may be larger in another file."""
    unnatural = ~TABLE.natural[TABLE.irrep_of_column]
    pair, fit = (72, 72), H0EdgeTermsFit(TABLE, CUTOFF, WITH_INITIAL)
    vectors, distance = random_vectors(pair, 400, rng), rng.uniform(0.5, CUTOFF, 400)
    vectors[1][:, unnatural] *= 1e-15
    fit.add(pair, vectors, distance, rng.standard_normal(vectors[0].shape))
    terms = fit.solve(np.zeros(1))
    known = terms(pair, vectors, distance)
    vectors[1][:, unnatural] *= 1e5
    np.testing.assert_allclose(terms(pair, vectors, distance), known, atol=1e-6)
