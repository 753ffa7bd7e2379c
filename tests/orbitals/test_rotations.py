"""Wigner D, spherical harmonics and bond frames: the laws, and e3nn as the oracle."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given
from hypothesis import strategies as st

from nearsight.orbitals.basis import BasisSet
from nearsight.orbitals.rotations import AXES, atom_rotation, bond_frames, spherical_harmonics, wigner_d
from tests.random_cases import rotations

L_MAX = 6
vectors = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=(5, 3)))


def e3nn_wigner_d(l: int, rotation: np.ndarray) -> np.ndarray:
    """e3nn's matrix for the same rotation; e3nn calls (y, z, x) what we call (x, y, z) in Y_1."""
    matrix = torch.as_tensor(rotation[np.ix_(AXES, AXES)])
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # e3nn's generators have the default type
    try:
        return o3.wigner_D(l, *o3.matrix_to_angles(matrix)).numpy()
    finally:
        torch.set_default_dtype(default)


@given(rotations)
def test_equals_e3nn(rotation):
    for l, d in enumerate(wigner_d(rotation, L_MAX)):
        np.testing.assert_allclose(d, e3nn_wigner_d(l, rotation), atol=1e-10)


@given(rotations, rotations)
def test_homomorphism_and_orthogonality(a, b):
    for l, (da, db, dab) in enumerate(zip(wigner_d(a, L_MAX), wigner_d(b, L_MAX), wigner_d(a @ b, L_MAX))):
        np.testing.assert_allclose(da @ db, dab, atol=1e-12)
        np.testing.assert_allclose(da @ da.T, np.eye(2 * l + 1), atol=1e-12)
        assert np.linalg.det(da) == pytest.approx(1)


@given(rotations, vectors)
def test_harmonics_turn_with_their_argument(rotation, points):
    """Y_l(R r) = D^l(R) Y_l(r), for rotations and for reflections."""
    for matrix in (rotation, -rotation, rotation * np.array([1, 1, -1])):
        turned = spherical_harmonics(points @ matrix.T, L_MAX)
        for y, d, after in zip(spherical_harmonics(points, L_MAX), wigner_d(matrix, L_MAX), turned):
            np.testing.assert_allclose(after, y @ d.T, atol=1e-12)


def test_identity_and_inversion():
    for l, (one, minus) in enumerate(zip(wigner_d(np.eye(3), L_MAX), wigner_d(-np.eye(3), L_MAX))):
        np.testing.assert_allclose(one, np.eye(2 * l + 1), atol=1e-14)
        np.testing.assert_allclose(minus, (-1) ** l * np.eye(2 * l + 1), atol=1e-14)


def test_a_turn_about_z_mixes_m_and_minus_m():
    """Y_m goes as cos mφ and Y_−m as sin mφ (m > 0), so sin m(φ+α) = sin mφ cos mα + cos mφ sin mα."""
    angle = 0.7
    c, s = np.cos(angle), np.sin(angle)
    for l, d in enumerate(wigner_d(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]), L_MAX)):
        expected = np.zeros_like(d)
        for m in range(-l, l + 1):
            expected[l + m, l + m] = np.cos(m * angle)
            expected[l + m, l - m] = -np.sin(m * angle) if m else 1.0
        np.testing.assert_allclose(d, expected, atol=1e-13)


def test_many_rotations_at_once(rng):
    stack = np.array([bond_frames(v) for v in rng.normal(size=(6, 3))]).reshape(2, 3, 3, 3)
    for l, d in enumerate(wigner_d(stack, 4)):
        assert d.shape == (2, 3, 2 * l + 1, 2 * l + 1)
        for index in product(range(2), range(3)):
            np.testing.assert_allclose(d[index], wigner_d(stack[index], 4)[l], atol=1e-14)


@given(vectors)
def test_harmonics_equal_e3nn(points):
    for l, y in enumerate(spherical_harmonics(points, L_MAX)):
        swapped = torch.as_tensor(points[:, AXES].copy())
        theirs = o3.spherical_harmonics(l, swapped, normalize=True, normalization="norm").numpy()
        np.testing.assert_allclose(y, theirs, atol=1e-12)


def test_harmonics_closed_forms():
    """CP2K's order: p = y, z, x; d = xy, yz, 3z²−r², xz, x²−y² (unit norm)."""
    x, y, z = np.array([2.0, 3.0, 6.0]) / 7
    _, p, d = spherical_harmonics(np.array([2.0, 3.0, 6.0]), 2)
    np.testing.assert_allclose(p, [y, z, x], atol=1e-14)
    w = np.sqrt(3)
    expected = [w * x * y, w * y * z, (3 * z * z - 1) / 2, w * x * z, w / 2 * (x * x - y * y)]
    np.testing.assert_allclose(d, expected, atol=1e-14)


@given(vectors)
def test_harmonics_have_unit_norm_and_parity(points):
    for l, (y, back) in enumerate(zip(spherical_harmonics(points, 8), spherical_harmonics(-points, 8))):
        np.testing.assert_allclose(np.linalg.norm(y, axis=-1), 1, atol=1e-12)
        np.testing.assert_allclose(back, (-1) ** l * y, atol=1e-12)


AXIS_VECTORS = [scale * sign * np.eye(3)[k] for k in range(3) for sign in (1, -1) for scale in (1e-3, 1.0, 9.0)]


@pytest.mark.parametrize("vector", AXIS_VECTORS, ids=lambda v: str(v.tolist()))
def test_bond_frames_on_the_axes(vector):
    check_frame(vector)


@given(vectors, st.floats(1e-12, 1e-3))
def test_bond_frames_anywhere_and_close_to_the_axes(points, nudge):
    for point in points:
        check_frame(point)
        for axis in np.concatenate([np.eye(3), -np.eye(3)]):
            check_frame(axis + nudge * point)


def check_frame(vector: np.ndarray) -> None:
    frame = bond_frames(vector)
    np.testing.assert_allclose(frame @ vector / np.linalg.norm(vector), [0, 0, 1], atol=1e-14)
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-14)
    assert np.linalg.det(frame) == pytest.approx(1, abs=1e-13)


def test_bond_frames_are_the_same_one_by_one_and_together(rng):
    points = rng.normal(size=(2, 4, 3))
    frames = bond_frames(points)
    assert frames.shape == (2, 4, 3, 3)
    np.testing.assert_array_equal(frames[1, 2], bond_frames(points[1, 2]))
    np.testing.assert_array_equal(frames, bond_frames(points))


@given(rotations)
def test_an_atom_turns_shell_by_shell(rotation):
    basis = BasisSet("mixed", {8: (1, 0, 2, 1)}, {})
    d, matrix = wigner_d(rotation, 2), atom_rotation(basis, 8, rotation)
    assert matrix.shape == (12, 12)
    for l, start in ((1, 0), (0, 3), (2, 4), (1, 9)):
        here = slice(start, start + 2 * l + 1)
        np.testing.assert_array_equal(matrix[here, here], d[l])
        matrix[here, here] = 0
    assert not matrix.any()
