"""Meshes and paths of the Brillouin zone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.electronic.k_points import monkhorst_pack, path_through, special_path
from nearsight.errors import InputError
from nearsight.structures.structure import Structure

A = 5.431
SILICON = Structure(np.array([14, 14]), np.array([[0, 0, 0], [A / 4] * 3]), A / 2 * (1 - np.eye(3)), np.ones(3, bool))


@given(st.tuples(*[st.integers(1, 5)] * 3), st.booleans())
def test_time_reversal_keeps_sums_of_even_functions(counts, through_gamma):
    """A sum over the whole mesh of a function that is even in k equals the weighted sum over the half."""

    def even(points):
        return np.cos(2 * np.pi * points @ [1, 2, -1]) + np.cos(2 * np.pi * points[:, 0])

    whole, some = (monkhorst_pack(counts, through_gamma, reverse) for reverse in (False, True))
    assert len(whole[0]) == np.prod(counts)
    assert len(some[0]) <= len(whole[0]) // 2 + 4
    assert some[1].sum() == pytest.approx(1)
    assert some[1] @ even(some[0]) == pytest.approx(whole[1] @ even(whole[0]), abs=1e-12)


def test_an_even_mesh_leaves_gamma_out():
    assert not any(np.allclose(k, 0) for k in monkhorst_pack((2, 2, 2))[0])
    assert any(np.allclose(k, 0) for k in monkhorst_pack((2, 2, 2), through_gamma=True)[0])
    np.testing.assert_allclose(monkhorst_pack((1, 1, 1))[0], 0)


def test_a_mesh_integrates_what_its_fineness_allows():
    """∫ exp(2πi k·R) = 0 for R ≠ 0 that is no multiple of the mesh; Monkhorst and Pack, eq. 7."""
    points, weights = monkhorst_pack((4, 4, 4), time_reversal=False)
    for shift in ([1, 0, 0], [2, 3, 1], [0, 0, 3]):
        assert abs(weights @ np.exp(2j * np.pi * points @ shift)) < 1e-12


def test_the_path_of_a_face_centred_cubic_lattice():
    """|ΓX| = 2π/a, |ΓL| = √3 π/a."""
    path = special_path(SILICON, "GXL", 40)
    assert path.labels == ("G", "X", "L")
    assert path.ticks[1] == pytest.approx(2 * np.pi / A)
    assert path.ticks[2] - path.ticks[1] == pytest.approx(np.sqrt(3) * np.pi / A)
    assert path.distances[-1] == pytest.approx(path.ticks[-1])
    again = path_through(SILICON, path.points)
    np.testing.assert_allclose(again.distances, path.distances, atol=1e-9)


def test_a_jump_takes_no_room():
    path = special_path(SILICON, "GX,UG", 40)
    assert path.labels == ("G", "X,U", "G")
    assert len(path.ticks) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((SILICON, "GQ"), "special points \\(G, K, L, U, W, X\\), got 'GQ'"),
        ((SILICON, None, 1), "two points or more, got 1"),
        ((Structure(np.array([1]), np.zeros((1, 3)), np.zeros((3, 3)), np.zeros(3, bool)),), "got a molecule"),
    ],
)
def test_what_is_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        special_path(*arguments)
    with pytest.raises(InputError, match="three counts"):
        monkhorst_pack((0, 1, 1))
