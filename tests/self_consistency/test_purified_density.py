"""Densities by purification are those of eigenvectors; what has none is refused with the way out."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency import purified_density
from nearsight.self_consistency.atomic_density import LoewdinBasis
from nearsight.self_consistency.density_solver import DENSE_UP_TO, chosen, density_basis
from nearsight.self_consistency.purified_density import PurifiedBasis
from nearsight.self_consistency.solver import solve_self_consistent
from tests.self_consistency.test_screening import Chain, N, known_chain

DATA = Path(__file__).parents[2] / "data"
EXCERPT = Path(__file__).parents[1] / "data" / "BASIS_MOLOPT_excerpt"


@cache
def oxide() -> Calculation:
    return read_calculation(DATA / "aHfO2_96_A.h5")


def layout_of(calculation: Calculation) -> CoupledLayout:
    return CoupledLayout(calculation.basis.restricted(calculation.structure.numbers))


@pytest.mark.parametrize(("thresholds", "allowed"), [(1.0, 1e-3), (1e-3, 3e-5)])
def test_the_density_is_that_of_eigenvectors(
    thresholds: float, allowed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As exact as what is neglected; with nothing neglected as exact as single precision."""
    for name in ("NEGLECTED", "NEGLECTED_ROOT", "NEGLECTED_HAMILTONIAN"):
        monkeypatch.setattr(purified_density, name, thresholds * getattr(purified_density, name))
    known, layout = oxide(), layout_of(oxide())
    functions = read_basis_file(EXCERPT, "SZV-MOLOPT-SR-GTH")
    h = known.require_hamiltonian()
    expected, filling = LoewdinBasis(known, layout, 300.0, functions=functions).density_of(h)
    density, found = PurifiedBasis(known, layout, functions=functions).density_of(h)
    np.testing.assert_allclose(density.charges, expected.charges, atol=allowed)
    for own, theirs in zip(density.own_blocks, expected.own_blocks):
        np.testing.assert_allclose(own, theirs, atol=2 * allowed)
    np.testing.assert_allclose(density.dipoles, expected.dipoles, atol=3 * allowed)
    assert abs(density.charges.sum()) < 1e-9
    assert abs(found.excess) < 10 * allowed
    assert filling.gap - 0.2 < found.gap < filling.gap + 0.01


def test_the_loop_ends_at_the_charges_that_dense_matrices_give() -> None:
    potential = 0.1 * np.eye(N)[3]
    dense, sparse = (
        solve_self_consistent(Chain(2.0, potential), known_chain(), temperature=300, tolerance=1e-5, solver=solver)
        for solver in ("dense", "purification")
    )
    np.testing.assert_allclose(sparse.density.charges, dense.density.charges, atol=3e-4)


def test_metals_odd_electrons_and_k_points_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    metal = replace(read_calculation(DATA / "aPtGe2_96_train.h5"), k_points=None)
    with pytest.raises(InputError, match=r"expected a gap .* density_solver=dense"):
        PurifiedBasis(metal, layout_of(metal)).density_of(metal.require_hamiltonian())
    odd = replace(oxide(), charge=1.0)
    with pytest.raises(InputError, match="odd number needs dense"):
        PurifiedBasis(odd, layout_of(odd))
    crystal = read_calculation(DATA / "silicon_2.h5")
    with pytest.raises(InputError, match="several k-points, which need dense"):
        PurifiedBasis(crystal, layout_of(crystal))
    monkeypatch.setattr(purified_density, "overlap_threshold", lambda calculation: 0.2)
    with pytest.raises(InputError, match="density_solver=dense projects"):
        PurifiedBasis(oxide(), layout_of(oxide()))


def test_auto_is_dense_for_small_and_purification_for_large_matrices() -> None:
    assert chosen("auto", DENSE_UP_TO) == "dense"
    assert chosen("auto", DENSE_UP_TO + 1) == "purification"
    assert chosen("dense", 10 * DENSE_UP_TO) == "dense"
    assert isinstance(density_basis(oxide(), layout_of(oxide())), LoewdinBasis)
    assert isinstance(density_basis(oxide(), layout_of(oxide()), solver="purification"), PurifiedBasis)
