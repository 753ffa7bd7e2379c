"""Densities in Löwdin's orbitals: k-points against supercells, ill-conditioned S, metals, charged cells, ghosts."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg

from nearsight.electronic.filling import occupations
from nearsight.electronic.k_points import half_mesh, monkhorst_pack
from nearsight.electronic.matrices import hermitian_dense
from nearsight.electronic.populations import atomic_charges
from nearsight.elements import GHOST
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.operators.bloch import fold, to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.dipole_integrals import dipole_integrals
from nearsight.operators.store import read_calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.self_consistency import atomic_density
from nearsight.self_consistency.atomic_density import TEMPERATURE, LoewdinBasis

DATA = Path(__file__).parents[2] / "data"
EXCERPT = Path(__file__).parents[1] / "data" / "BASIS_MOLOPT_excerpt"


@cache
def read(name: str) -> Calculation:
    return read_calculation(DATA / f"{name}.h5")


def basis_of(calculation: Calculation, temperature: float | None = None) -> LoewdinBasis:
    layout = CoupledLayout(calculation.basis.restricted(calculation.structure.numbers))
    return LoewdinBasis(calculation, layout, temperature)


def test_charges_of_an_insulator_are_those_of_its_filled_levels() -> None:
    calculation = read("aHfO2_96_A")
    h = calculation.require_hamiltonian()
    basis, expected = basis_of(calculation), atomic_charges(calculation)
    np.testing.assert_allclose(basis.density_of(h)[0].charges, expected, atol=1e-5)
    np.testing.assert_allclose(basis_of(calculation, 100.0).density_of(h)[0].charges, expected, atol=1e-9)
    np.testing.assert_allclose(basis.density_of(h, single=True)[0].charges, expected, atol=3e-5)


def test_net_and_gross_blocks_and_dipoles_are_those_of_the_density_matrix() -> None:
    """Traces of gross blocks are Mulliken's populations, net blocks those of P; all dipoles add up to that of P."""
    calculation = read("aHfO2_96_A")
    layout = CoupledLayout(calculation.basis.restricted(calculation.structure.numbers))
    functions = read_basis_file(EXCERPT, "SZV-MOLOPT-SR-GTH")
    basis = LoewdinBasis(calculation, layout, 100.0, functions=functions)
    density = basis.density_of(calculation.require_hamiltonian())[0]
    h, s = (hermitian_dense(o, "A") for o in (calculation.require_hamiltonian(), calculation.require_overlap()))
    c = linalg.eigh(h, s)[1][:, : calculation.n_electrons // 2]
    p, offsets = 2 * c @ c.T, calculation.basis.offsets(calculation.structure.numbers)
    gross = calculation.basis.valence[8] - atomic_charges(calculation, kind="mulliken")
    for i in np.flatnonzero(calculation.structure.numbers == 8)[:5]:
        rows = slice(offsets[i], offsets[i + 1])
        np.testing.assert_allclose(layout.uncouple(density.net[[i]], 8, 8)[0], p[rows, rows], atol=1e-7)
        np.testing.assert_allclose(np.trace(layout.uncouple(density.gross[[i]], 8, 8)[0]), gross[i], atol=1e-7)
    for axis, integrals in enumerate(dipole_integrals(calculation.structure, functions)):
        dense = to_csr(integrals).toarray()
        np.testing.assert_allclose(density.dipoles[:, axis].sum(), -(p * dense).sum(), atol=1e-6)
    assert np.abs(density.dipoles).max() > 0.01


def test_a_mesh_of_k_points_is_the_supercell_at_gamma() -> None:
    """Of two atoms of silicon: levels and own blocks at k = i/2 along one axis are those of the doubled cell."""
    silicon = read("silicon_2")
    mesh = monkhorst_pack((2, 2, 2), through_gamma=True, time_reversal=False)[0]
    sampled = replace(silicon, k_points=mesh, k_eigenvalues=None)
    found, filling = basis_of(sampled).density_of(silicon.require_hamiltonian())
    whole = _gamma_of_supercell(silicon, mesh)
    np.testing.assert_allclose(found.charges, whole, atol=1e-9)
    assert filling.occupations.shape == (len(half_mesh(mesh)[0]), 2 * silicon.basis.n_orbitals(14))


def _gamma_of_supercell(calculation: Calculation, mesh: np.ndarray) -> np.ndarray:
    """Löwdin charges from matrices of the Born-von Kármán cell, made without Bloch's theorem."""
    h, s = (_repeated(o, 2) for o in (calculation.require_hamiltonian(), calculation.require_overlap()))
    values, vectors = np.linalg.eigh(s)
    root = (vectors / np.sqrt(values)) @ vectors.T
    levels, states = np.linalg.eigh(root @ h @ root)
    filled = occupations(levels, calculation.n_electrons * len(mesh), temperature=TEMPERATURE).occupations
    populations = ((states**2) @ filled)[: calculation.basis.offsets(calculation.structure.numbers)[-1]]
    offsets = calculation.basis.offsets(calculation.structure.numbers)
    valence = np.array([calculation.basis.valence[int(z)] for z in calculation.structure.numbers])
    return np.asarray(valence - np.add.reduceat(populations, offsets[:-1]))


def _repeated(operator: BlockOperator, times: int) -> np.ndarray:
    """The matrix of times³ cells at Γ, block by block."""
    offsets = operator.basis.offsets(operator.numbers)
    n, cells = int(offsets[-1]), [np.array(c) for c in np.ndindex(times, times, times)]
    place = {tuple(c): k for k, c in enumerate(cells)}
    result = np.zeros((n * len(cells), n * len(cells)))
    for p in range(operator.n_pairs):
        i, j = int(operator.source[p]), int(operator.target[p])
        block = operator.stack(np.array([p]))[0]
        for k, cell in enumerate(cells):
            other = place[tuple((cell + operator.shift[p]) % times)]
            rows, columns = slice(n * k + offsets[i], n * k + offsets[i + 1]), n * other + offsets[j]
            result[rows, columns : columns + block.shape[1]] += block
    return result


def test_a_metal_and_a_charged_cell_hold_their_electrons() -> None:
    metal = read("aPtGe2_96_train")
    for charge, k_points in ((0.0, None), (-2.0, None), (1.0, np.array([[0.25, 0.25, 0.25], [-0.25, 0.25, 0.25]]))):
        charged = replace(metal, charge=charge, k_points=k_points, k_eigenvalues=None)
        density, filling = basis_of(charged).density_of(metal.require_hamiltonian())
        assert density.charges.sum() == pytest.approx(charge, abs=1e-8)
        assert ((filling.occupations > 0.01) & (filling.occupations < 1.99)).any()


def test_the_density_of_a_metal_is_smooth_in_h() -> None:
    """A shift of one atom's levels by δ moves charges by O(δ): no level changes from filled to empty at once."""
    metal = replace(read("aPtGe2_96_train"), k_points=None)
    basis, h = basis_of(metal), metal.require_hamiltonian()
    bare = hermitian_dense(h, "H")
    change = np.zeros(len(bare))
    change[:5] = 1.0
    moved = [basis.density_of(bare + np.diag(step * change))[0].charges for step in (0.0, 1e-4, 2e-4)]
    first, second = moved[1] - moved[0], moved[2] - moved[1]
    np.testing.assert_allclose(second, first, atol=0.02 * np.abs(first).max())


@pytest.mark.parametrize("single", [False, True])
def test_a_followed_density_is_that_of_eigenvectors(single: bool) -> None:
    """Of an H that stays the same after it changed by 0.2 eV on some atoms; one step leaves a tenth of the change."""
    calculation = read("aHfO2_96_A")
    basis, fresh = basis_of(calculation, 300.0), basis_of(calculation, 300.0)
    bare = hermitian_dense(calculation.require_hamiltonian(), "H")
    changed = bare + np.diag(0.2 * np.sin(np.arange(len(bare))))
    assert basis.followed(changed) is None  # of what
    first, expected = basis.density_of(bare, single=single)[0], fresh.density_of(changed)[0]
    steps = [basis.followed(changed) for _ in range(8)]
    assert all(step is not None for step in steps)
    errors = [np.abs(step.vector() - expected.vector()).max() for step in steps if step is not None]
    assert errors[0] < 0.15 * np.abs(first.vector() - expected.vector()).max()
    assert errors[-1] < (2e-5 if single else 1e-8)


@pytest.mark.parametrize("above", [5.0, -0.1], ids=["across the gap", "into the gap"])
def test_a_level_that_moves_without_mixing_is_noticed(above: float) -> None:
    """One full level alone changes, so that all eigenvectors stay."""
    calculation = replace(read("aHfO2_96_A"), h0=None)
    basis = basis_of(calculation, 300.0)
    h = hermitian_dense(calculation.require_hamiltonian(), "H")
    s = hermitian_dense(calculation.require_overlap(), "S")
    levels, vectors = linalg.eigh(h, s)
    full = calculation.n_electrons // 2
    own = s @ vectors[:, full - 20]
    shift = levels[full] + above - levels[full - 20]
    basis.density_of(h)
    assert basis.followed(h) is not None
    assert basis.followed(h + shift * np.outer(own, own)) is None


def test_levels_of_a_metal_are_not_followed() -> None:
    metal = replace(read("aPtGe2_96_train"), k_points=None)
    basis, h = basis_of(metal), metal.require_hamiltonian()
    basis.density_of(h)
    assert basis.followed(h) is None


def test_a_root_in_single_precision_is_right_and_gives_way_to_double() -> None:
    calculation = read("aHfO2_96_A")
    h = calculation.require_hamiltonian()
    layout = CoupledLayout(calculation.basis.restricted(calculation.structure.numbers))
    basis, exact = LoewdinBasis(calculation, layout, single=True), basis_of(calculation).density_of(h)[0]
    assert np.abs(basis.density_of(h, single=True)[0].vector() - exact.vector()).max() < 5e-5
    assert np.abs(basis.density_of(h)[0].vector() - exact.vector()).max() < 1e-10


def test_directions_that_s_does_not_resolve_are_projected_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a threshold above the smallest eigenvalues of this S: levels less, the charges of the cell stay."""
    calculation = read("aHfO2_96_A")
    s = fold(calculation.require_overlap())
    whole = basis_of(calculation).density_of(calculation.require_hamiltonian())[0]
    monkeypatch.setattr(atomic_density, "overlap_threshold", lambda calculation: 0.19)
    basis = basis_of(replace(calculation, overlap=s))
    assert basis.projected_out > 0
    projected = basis.density_of(calculation.require_hamiltonian())[0]
    assert projected.charges.sum() == pytest.approx(0, abs=1e-8)
    assert 1e-4 < np.abs(projected.charges - whole.charges).max() < 1


def test_a_ghost_is_charged_by_the_electrons_on_it() -> None:
    calculation = replace(read("aHfO1.8_96_train"), k_points=None)
    charges = basis_of(calculation).density_of(calculation.require_hamiltonian())[0].charges
    ghosts = calculation.structure.numbers == GHOST
    assert ghosts.any()
    assert (charges[ghosts] < 0).all()
    assert charges.sum() == pytest.approx(0, abs=1e-8)
    np.testing.assert_allclose(charges, atomic_charges(calculation, temperature=1000.0), atol=1e-8)
