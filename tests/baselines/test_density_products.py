"""Products of densities: how they turn, how many there are, and what they tell apart."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nearsight.baselines.neighbour_densities import (
    SCALE,
    count_products,
    degree_pairs,
    density_products,
    neighbour_densities,
)
from nearsight.baselines.radial_functions import RadialFunctions
from nearsight.orbitals.coupling import coupling
from nearsight.orbitals.rotations import wigner_d
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

L_MAX = 4


@pytest.mark.parametrize("degree", range(L_MAX + 1))
def test_products_are_those_of_the_definition(degree: int, rng: np.random.Generator) -> None:
    densities = [rng.standard_normal((2, 3, 2 * l + 1)) for l in range(L_MAX + 1)]
    expected = []
    for a, b in degree_pairs(degree, L_MAX):
        for first in range(3):
            for second in range(first if a == b else 0, 3):
                left, right = densities[a][:, first], densities[b][:, second]
                expected.append(SCALE * np.einsum("np,nq,pqm->nm", left, right, coupling(a, b, degree)))
    found = density_products(densities, degree)
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=1e-12)
    assert found.shape[1] == count_products(3, degree, L_MAX)


@pytest.mark.parametrize("sign", [1, -1])
def test_products_turn_with_the_structure(sign: int, hfo2: Structure) -> None:
    rotation = sign * Rotation.random(random_state=2).as_matrix()
    radial = RadialFunctions(4.0, 2)
    kept, turned = (
        neighbour_densities(s, build_graph(s, 4.0), radial, (8, 72), L_MAX) for s in (hfo2, hfo2.rotated(rotation))
    )
    for l, matrix in enumerate(wigner_d(rotation, L_MAX)):
        expected = density_products(kept, l) @ matrix.T
        np.testing.assert_allclose(density_products(turned, l), expected, atol=1e-11)
        assert np.abs(expected).max() > 0.1


def test_an_angle_is_seen() -> None:
    """Two neighbours at the same distance: densities of degree 0 do not know the angle between them, products do."""
    scalars, products = [], []
    for angle in (1.8, 2.0):
        places = [[0.0, 0, 0], [2.0, 0, 0], [2 * np.cos(angle), 2 * np.sin(angle), 0]]
        structure = Structure([72, 8, 8], places, np.zeros((3, 3)), np.zeros(3, bool))
        parts = neighbour_densities(structure, build_graph(structure, 2.5), RadialFunctions(4.0, 2), (8, 72), L_MAX)
        scalars.append(parts[0][0])
        products.append(density_products(parts, 0)[0])
    np.testing.assert_allclose(scalars[0], scalars[1], atol=1e-12)
    assert np.abs(products[0] - products[1]).max() > 0.03
