"""The compiled recursions against the tensor products that define them, for many vectors at once."""

from __future__ import annotations

import numpy as np
import pytest

from nearsight.orbitals.coupling import coupling
from nearsight.orbitals.harmonic_loops import LANES
from nearsight.orbitals.rotations import AXES, bond_frames, harmonic_values, wigner_rows

L_MAX = 5


def slow_harmonics(vectors: np.ndarray) -> list[np.ndarray]:
    first = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[:, AXES]
    result = [np.ones((len(vectors), 1)), first]
    for l in range(2, L_MAX + 1):
        product = np.einsum("na,nb,abM->nM", first, result[-1], coupling(1, l - 1, l))
        result.append(product / coupling(1, l - 1, l)[1, l - 1, l])
    return result


def slow_wigner(rotations: np.ndarray) -> list[np.ndarray]:
    result = [np.ones((len(rotations), 1, 1)), rotations[:, AXES][:, :, AXES]]
    for l in range(2, L_MAX + 1):
        c = coupling(1, l - 1, l)
        result.append(np.einsum("abM,nac,nbd,cdN->nMN", c, result[1], result[-1], c, optimize=True))
    return result


@pytest.mark.parametrize("l_max", range(L_MAX + 1))
def test_harmonics_are_coupled_from_degree_one(rng: np.random.Generator, l_max: int) -> None:
    vectors = 3 * rng.standard_normal((40, 3))
    expected = np.concatenate(slow_harmonics(vectors)[: l_max + 1], axis=1)
    np.testing.assert_allclose(harmonic_values(vectors, l_max), expected, atol=1e-14)


@pytest.mark.parametrize("l_max", range(L_MAX + 1))
@pytest.mark.parametrize("n", [0, 1, LANES - 1, LANES, 2 * LANES + 3])
def test_wigner_matrices_are_coupled_from_degree_one(rng: np.random.Generator, l_max: int, n: int) -> None:
    rotations = bond_frames(rng.standard_normal((n, 3)))
    parts = [d.reshape(n, (2 * l + 1) ** 2) for l, d in enumerate(slow_wigner(rotations)[: l_max + 1])]
    np.testing.assert_allclose(wigner_rows(rotations, l_max), np.concatenate(parts, axis=1), atol=1e-14)
