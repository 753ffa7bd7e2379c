"""Coupling tables: orthonormal, equivariant, and e3nn's up to its normalisation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given

from nearsight.orbitals.coupling import coupling, irreps_of, shell_pair_matrix
from nearsight.orbitals.rotations import wigner_d
from tests.random_cases import rotations

PAIRS = list(product(range(4), repeat=2))
TRIPLES = [(l1, l2, l3) for l1, l2 in PAIRS for l3 in irreps_of(l1, l2)]


@pytest.mark.parametrize(("l1", "l2", "l3"), TRIPLES)
def test_equals_e3nn(l1, l2, l3):
    theirs = o3.wigner_3j(l1, l2, l3, dtype=torch.float64).numpy() * np.sqrt(2 * l3 + 1)
    np.testing.assert_allclose(coupling(l1, l2, l3), theirs, atol=1e-12)


@pytest.mark.parametrize(("l1", "l2"), PAIRS)
def test_the_transform_of_a_shell_pair_is_orthogonal(l1, l2):
    matrix = shell_pair_matrix(l1, l2)
    size = (2 * l1 + 1) * (2 * l2 + 1)
    assert matrix.shape == (size, size)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-13)


@given(rotations)
def test_irreps_rotate_among_themselves(rotation):
    d = wigner_d(rotation, 6)
    for l1, l2 in PAIRS:
        matrix = shell_pair_matrix(l1, l2)
        turned = matrix @ np.kron(d[l1], d[l2]) @ matrix.T
        at = 0
        for l3 in irreps_of(l1, l2):
            expected = np.zeros((2 * l3 + 1, len(matrix)))
            expected[:, at : at + 2 * l3 + 1] = d[l3]
            np.testing.assert_allclose(turned[at : at + 2 * l3 + 1], expected, atol=1e-12)
            at += 2 * l3 + 1


def test_closed_forms():
    """s ⊗ s is the product; p ⊗ p holds the trace (scalar) and the cross product (vector)."""
    assert coupling(0, 0, 0).item() == pytest.approx(1)
    np.testing.assert_allclose(coupling(1, 1, 0)[..., 0], np.eye(3) / np.sqrt(3), atol=1e-14)
    a, b = np.array([0.3, -1.0, 2.0]), np.array([1.5, 0.2, -0.4])
    vector = np.einsum("a,b,abM->M", a, b, coupling(1, 1, 1))
    np.testing.assert_allclose(vector, np.cross(a, b) / np.sqrt(2), atol=1e-14)


@pytest.mark.parametrize(("l1", "l2", "l3"), TRIPLES)
def test_exchanging_the_shells_gives_the_parity_of_the_sum(l1, l2, l3):
    swapped = coupling(l2, l1, l3).transpose(1, 0, 2)
    np.testing.assert_allclose(swapped, (-1) ** (l1 + l2 - l3) * coupling(l1, l2, l3), atol=1e-13)


@pytest.mark.parametrize(("l1", "l2", "l3"), [(0, 0, 1), (1, 3, 1), (2, 2, 5)])
def test_triangle_rule(l1, l2, l3):
    with pytest.raises(ValueError, match=r"\|l1-l2\| <= l3 <= l1\+l2"):
        coupling(l1, l2, l3)


def test_tables_are_shared_and_so_read_only():
    with pytest.raises(ValueError, match="read-only"):
        coupling(1, 1, 2)[0, 0, 0] = 1
