"""PySCF as an engine: its eigenvalues, rotations, k-points, H₀, ghosts, fields that do not converge, refusals."""

from __future__ import annotations

import builtins
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from pydantic import ValidationError
from scipy.linalg import eigh
from scipy.spatial.transform import Rotation

from nearsight.electronic.eigen import solve
from nearsight.errors import InputError, RecipeError
from nearsight.formats.xyz import read_xyz
from nearsight.operators.bloch import bloch, fold, to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.born_von_karman import mesh_points, to_real_space
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.operators.symmetry import hermiticity_error, is_exactly_hermitian, rotate
from nearsight.orbitals.basis import basis_named, def2_svp
from nearsight.recipes import pyscf_job as module
from nearsight.recipes.pyscf_job import run_job, run_pyscf
from nearsight.recipes.pyscf_system import KELVIN_IN_HARTREE, PyscfSettings
from nearsight.structures.structure import Structure
from nearsight.units import BOHR_IN_ANGSTROM, HARTREE_IN_EV
from tests.random_cases import HFO2_SZV, random_hfo2

pytest.importorskip("pyscf")

GTH = {"basis": "gth-szv", "pseudo": "gth-pbe", "ke_cutoff": 40.0}
BOX = np.diag([2.5, 4.0, 4.0])


def water() -> Structure:
    return Structure.from_ase(molecule("H2O"))


def chain(distance: float = 0.8) -> Structure:
    """H₂ every 2.5 Å."""
    return Structure(np.array([1, 1]), np.array([[0, 0, 0], [distance, 0, 0]]), BOX, np.array([True]))


@cache
def of_water() -> Calculation:
    return run_pyscf(water(), PyscfSettings(h0=True, conv_tol_grad=1e-8))


@cache
def of_chain(mesh: tuple[int, int, int] | None) -> Calculation:
    return run_pyscf(chain(), PyscfSettings(kpoints=mesh, h0=True, **GTH))


def levels(calculation: Calculation, k: tuple[float, ...] = (0, 0, 0)) -> np.ndarray:
    """E_h."""
    h, s = (bloch(o, np.array(k)).toarray() for o in (calculation.hamiltonian, calculation.overlap))
    return eigh(h, s, eigvals_only=True) / HARTREE_IN_EV


def largest(first: BlockOperator, second: BlockOperator) -> float:
    return float(np.abs(to_csr(first) - to_csr(second)).max())


def test_water_is_what_pyscf_says():
    from pyscf import dft, gto

    molecule_ = gto.M(
        atom=[(s, p) for s, p in zip("OHH", water().positions / BOHR_IN_ANGSTROM)],
        unit="Bohr",
        basis="def2-svp",
        verbose=0,
        parse_arg=False,
    )
    field = dft.RKS(molecule_, xc="pbe")
    field.conv_tol, field.conv_tol_grad, field.chkfile = 1e-12, 1e-9, None
    energy = field.kernel()
    got = of_water()
    assert got.hamiltonian is not None
    assert got.hamiltonian.n_orbitals == 24
    assert not got.hamiltonian.folded
    assert got.basis == def2_svp().restricted((1, 8))
    assert got.basis.name == def2_svp().name
    np.testing.assert_allclose(levels(got), field.mo_energy, atol=1e-8)
    np.testing.assert_allclose(got.eigenvalues / HARTREE_IN_EV, field.mo_energy, atol=1e-8)
    assert got.energy == pytest.approx(energy * HARTREE_IN_EV, abs=1e-7)
    homo, lumo = got.eigenvalues[4:6]
    assert homo < got.fermi == pytest.approx((homo + lumo) / 2)


def test_overlap_is_positive_definite_and_water_neutral():
    got = of_water()
    spectrum = solve(got.hamiltonian, got.overlap, got.n_electrons)
    assert 0 < spectrum.overlap_condition < 1e4
    np.testing.assert_allclose(to_csr(got.overlap).diagonal(), 1, atol=1e-12)


def test_initial_hamiltonian_is_another_hermitian_matrix_near_the_last():
    got = of_water()
    assert got.h0 is not None
    assert is_exactly_hermitian(got.h0)
    assert is_exactly_hermitian(got.hamiltonian)
    assert 0.01 * HARTREE_IN_EV < largest(got.hamiltonian, got.h0) < 2 * HARTREE_IN_EV


def test_initial_hamiltonian_keeps_isolated_atoms_spherical():
    # Two helium atoms far apart: H₀ of one has no matrix elements between s and p, and is the same for all three p.
    far = Structure(np.array([2, 2]), np.array([[0, 0, 0], [0, 0, 30.0]]), np.zeros((3, 3)), np.array([False]))
    block = run_pyscf(far, PyscfSettings(h0=True)).require_h0().block(0, 0)
    np.testing.assert_allclose(block[2:, :2], 0, atol=1e-3)
    np.testing.assert_allclose(block[2:, 2:], block[2, 2] * np.eye(3), atol=1e-3)  # eV, the grid


def test_rotated_water_has_rotated_matrices(rng: np.random.Generator):
    turn = Rotation.random(random_state=rng).as_matrix()
    turned = run_pyscf(water().rotated(turn), PyscfSettings(conv_tol_grad=1e-8))
    expected = {name: rotate(getattr(of_water(), name), turn) for name in ("hamiltonian", "overlap")}
    assert largest(expected["overlap"], turned.overlap) < 1e-12
    assert largest(expected["hamiltonian"], turned.hamiltonian) < 1e-5 * HARTREE_IN_EV
    assert largest(of_water().hamiltonian, turned.hamiltonian) > 0.01 * HARTREE_IN_EV


def test_a_cells_eigenvalues_at_every_k_of_the_mesh():
    from pyscf.pbc import dft, gto

    mesh = (3, 1, 1)
    cell = gto.M(
        atom=[("H", p) for p in chain().positions / BOHR_IN_ANGSTROM],
        unit="Bohr",
        a=BOX / BOHR_IN_ANGSTROM,
        basis=GTH["basis"],
        pseudo=GTH["pseudo"],
        ke_cutoff=GTH["ke_cutoff"],
        verbose=0,
        parse_arg=False,
    )
    field = dft.KRKS(cell, cell.make_kpts(mesh), xc="pbe").multigrid_numint()
    field.conv_tol, field.conv_tol_grad, field.chkfile = 1e-11, 1e-9, None
    field.kernel()
    got = of_chain(mesh)
    for k, expected in zip(cell.get_scaled_kpts(field.kpts), field.mo_energy):
        np.testing.assert_allclose(levels(got, tuple(k)), expected, atol=1e-8)
    assert got.k_points is not None
    for k, expected in zip(got.k_points, got.k_eigenvalues):
        np.testing.assert_allclose(levels(got, tuple(k)), expected / HARTREE_IN_EV, atol=1e-8)
    np.testing.assert_allclose(got.eigenvalues / HARTREE_IN_EV, field.mo_energy[0], atol=1e-8)


@pytest.mark.parametrize("mesh", [(3, 1, 1), (4, 1, 1)])
def test_operators_of_a_mesh_are_hermitian_and_sum_to_gamma(mesh: tuple[int, int, int]):
    got = of_chain(mesh)
    for operator in (got.hamiltonian, got.overlap, got.h0):
        assert operator is not None
        assert not operator.folded
        assert is_exactly_hermitian(operator)
        assert np.abs(operator.shift[:, 1:]).max() == 0
        assert operator.shift[:, 0].max() == mesh[0] // 2
    # The overlap does not depend on the density: summed over images it is that of Γ alone.
    assert largest(fold(got.overlap), of_chain(None).overlap) < 1e-10


def test_gamma_alone_is_folded():
    got = of_chain(None)
    assert got.hamiltonian is not None
    assert got.hamiltonian.folded
    np.testing.assert_allclose(levels(got), got.eigenvalues / HARTREE_IN_EV, atol=1e-8)
    assert largest(got.hamiltonian, got.h0) > 1e-4 * HARTREE_IN_EV
    assert got.k_points is None
    assert PyscfSettings(kpoints=(1, 1, 1)).mesh is None


@pytest.mark.parametrize(("functional", "lowest"), [("pbe0", -1.25), ("r2scan", -1.22)])
def test_functionals_without_multigrid(functional: str, lowest: float):
    got = run_pyscf(chain(), PyscfSettings(functional=functional, **GTH))
    np.testing.assert_allclose(levels(got), got.eigenvalues / HARTREE_IN_EV, atol=1e-8)
    assert lowest - 0.05 < got.energy / HARTREE_IN_EV < lowest + 0.05


def test_an_all_electron_cell():
    cell = Structure(np.array([2]), np.zeros((1, 3)), np.diag([2.5, 3.0, 3.0]), np.array([True]))
    got = run_pyscf(cell, PyscfSettings(kpoints=(2, 1, 1)))
    assert got.eigenvalues == pytest.approx(levels(got) * HARTREE_IN_EV, abs=1e-8 * HARTREE_IN_EV)
    assert got.energy == pytest.approx(-2.9 * HARTREE_IN_EV, rel=0.01)  # helium in PBE: −2.893 E_h


@pytest.mark.parametrize("mesh", [(2, 1, 3), (1, 2, 2)])
def test_any_hermitian_operator_comes_back_from_its_mesh(mesh: tuple[int, int, int], rng: np.random.Generator):
    structure = random_hfo2(5, rng)
    skewed = Structure(
        structure.numbers,
        structure.positions + 20 * rng.standard_normal((len(structure), 3)),
        np.array([[5.0, 0, 0], [4, 5, 0], [-3, 7, 6]]),
        np.array([True]),
    )
    size = int(HFO2_SZV.offsets(skewed.numbers)[-1])
    blocks = {tuple(r): rng.standard_normal((size, size)) for r in np.indices((3, 3, 3)).reshape(3, -1).T - 1}
    blocks = {r: b + blocks[tuple(-x for x in r)].T for r, b in blocks.items()}
    points = mesh_points(mesh)
    matrices = np.stack([sum(np.exp(2j * np.pi * np.dot(k, r)) * b for r, b in blocks.items()) for k in points])
    got = to_real_space(matrices, mesh, skewed, HFO2_SZV)
    assert hermiticity_error(got) == 0
    for k, matrix in zip(points, matrices):
        np.testing.assert_allclose(bloch(got, k).toarray(), matrix, atol=1e-12)


def test_blocks_go_to_the_nearest_image():
    # One atom and a mesh of 4: R = 2 and −2 are equally near and share the block.
    one = Structure(np.array([8]), np.full((1, 3), 0.3), np.eye(3) * 3, np.array([True]))
    size = HFO2_SZV.n_orbitals(8)
    got = to_real_space(np.stack([np.eye(size)] * 4) + 0j, (4, 1, 1), one, HFO2_SZV.restricted((8,)))
    assert sorted(got.shift[:, 0]) == [-2, -1, 0, 1, 2]
    # Two atoms in opposite corners: the neighbour across the boundary is the near one.
    two = Structure(np.array([8, 8]), np.array([[0.1, 0, 0], [2.9, 0, 0]]), np.eye(3) * 3, np.array([True]))
    got = to_real_space(np.stack([np.eye(2 * size)] * 3) + 0j, (3, 1, 1), two, HFO2_SZV.restricted((8,)))
    assert sorted(got.shift[(got.source == 0) & (got.target == 1), 0]) == [-2, -1, 0]


def test_complex_blocks_are_refused(rng: np.random.Generator):
    one = Structure(np.array([8]), np.zeros((1, 3)), np.eye(3) * 3, np.array([True]))
    matrices = np.stack([k * np.eye(4) for k in (0.0, 1.0, 2.0)]) + 0j  # H(1/3) ≠ H(−1/3)*
    with pytest.raises(InputError, match="imaginary"):
        to_real_space(matrices, (3, 1, 1), one, HFO2_SZV.restricted((8,)))


def test_smearing_fills_a_metal_up_to_its_fermi_level():
    kelvin, mesh = 3000.0, (2, 1, 1)
    got = run_pyscf(chain(1.25), PyscfSettings(kpoints=mesh, smearing=kelvin, **GTH))
    energy = np.concatenate([levels(got, tuple(k)) for k in mesh_points(mesh)])
    filling = 2 / (1 + np.exp((energy - got.fermi / HARTREE_IN_EV) / (kelvin * KELVIN_IN_HARTREE)))
    assert filling.sum() / len(mesh_points(mesh)) == pytest.approx(2, abs=1e-6)
    assert np.any((filling > 0.1) & (filling < 1.9))


def test_ghosts_carry_functions_and_no_electrons():
    place = np.vstack([water().positions, [0, 0, 3.0]])
    with_ghost = Structure(np.array([8, 1, 1, 0]), place, np.zeros((3, 3)), np.array([False]))
    got = run_pyscf(with_ghost, PyscfSettings(basis={"O": "def2-svp", "H": "sto-3g"}, ghost_basis="O", h0=True))
    assert got.basis.shells[0] == got.basis.shells[8]
    assert got.basis.valence[0] == 0
    assert got.basis.n_electrons(with_ghost.numbers) == 10
    # Its own block of S is oxygen's.
    np.testing.assert_allclose(got.overlap.block(3, 3), got.overlap.block(0, 0), atol=1e-12)


def test_shells_are_those_of_cp2k():
    settings = PyscfSettings(basis="gth-szv-molopt-sr", pseudo="gth-pbe")
    cell = Structure(np.array([72, 8, 0]), np.diag([0, 2.0, 4.0]), np.eye(3) * 6, np.array([True]))
    system = module.build_system(cell, settings)
    basis = module.basis_of(system, cell.numbers, settings)
    known = basis_named(basis.name).restricted(cell.numbers)
    assert basis == known
    assert basis.valence == known.valence


def test_zero_of_energy_against_cp2k():
    # H of both codes differs by 0.12060 E_h times S for this cell (one run of each, 150 and 200 Ry).
    structure = read_xyz(Path(__file__).parents[1] / "data" / "cp2k_mhfo2" / "mhfo2.xyz")
    cell = module.build_system(structure, PyscfSettings(basis="gth-szv-molopt-sr", pseudo="gth-pbe"))
    assert module.shift_from_cp2k(cell) == pytest.approx(0.12060, abs=1e-4)
    assert "eV · S" in of_chain(None).provenance["zero"]


@pytest.mark.parametrize("attempt", range(1, len(module.ATTEMPTS)))
def test_every_fallback_finds_the_same_ground_state(attempt: int, monkeypatch):
    first = (module.ATTEMPTS[0][0], {"steps": 0.02})  # one step: does not converge
    monkeypatch.setattr(module, "ATTEMPTS", (first, module.ATTEMPTS[attempt]))
    got = run_pyscf(water(), PyscfSettings())
    assert got.provenance["scf"] == module.ATTEMPTS[1][0]
    assert largest(got.hamiltonian, of_water().hamiltonian) < 1e-6 * HARTREE_IN_EV


@pytest.mark.parametrize("changes", [{"smearing": 1000.0}, {"kpoints": (2, 1, 1)}, {}])
def test_fallbacks_of_a_crystal(changes: dict, monkeypatch):
    only = tuple((what, {**more, "steps": 0.02}) for what, more in module.ATTEMPTS)
    monkeypatch.setattr(module, "ATTEMPTS", only)
    with pytest.raises(RecipeError) as error:
        run_pyscf(chain(), PyscfSettings(**GTH, **changes))
    assert ("second-order" in str(error.value)) == ("kpoints" in changes)


def test_a_field_that_does_not_converge_is_an_error(monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", module.ATTEMPTS[:1])
    with pytest.raises(RecipeError, match="raise max_scf"):
        run_pyscf(chain(), PyscfSettings(max_scf=1, **GTH))


def test_a_job_leaves_nothing_behind_and_its_result_can_be_stored(tmp_path: Path, capfd):
    said: list[str] = []
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "left-over").write_text("of a stopped run")
    got = run_job(chain(), PyscfSettings(**GTH), tmp_path / "job", lambda event: said.append(event.message))
    assert list(tmp_path.iterdir()) == []
    assert said[0].startswith("SCF step 1 of at most 60, energy -1.")
    assert capfd.readouterr() == ("", "")
    write_calculation(tmp_path / "x.h5", got)
    back = read_calculation(tmp_path / "x.h5")
    assert back.provenance["code"].startswith("PySCF 2")
    np.testing.assert_array_equal(back.hamiltonian.values, got.hamiltonian.values)
    again = run_job(chain(), PyscfSettings(**GTH), tmp_path / "job")
    np.testing.assert_array_equal(again.hamiltonian.values, got.hamiltonian.values)


@pytest.mark.parametrize(
    ("structure", "changes", "error"),
    [
        (water(), {"charge": 1}, "even number of electrons"),
        (water(), {"basis": "no-such-basis"}, "no-such-basis"),
        (water(), {"functional": "no-such-functional"}, "no-such-functional"),
        (water(), {"kpoints": (2, 1, 1)}, "no kpoints for a molecule"),
        (Structure(np.array([52]), np.zeros((1, 3)), BOX, np.array([False])), {}, "effective core potential for Te"),
        (Structure(np.array([0]), np.zeros((1, 3)), BOX, np.array([False])), {}, "not a ghost"),
        (
            Structure(np.array([2]), np.zeros((1, 3)), BOX, np.array([True, False, False])),
            {},
            "three periodic directions",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused(structure: Structure, changes: dict, error: str):
    with pytest.raises(InputError, match=error):
        run_pyscf(structure, PyscfSettings(**changes))


@pytest.mark.parametrize(
    "changes", [{"kpoints": (0, 1, 1)}, {"basis": "gth-szv"}, {"pseudo": "gth-pbe"}, {"cutoff": 3}]
)
def test_settings_that_do_not_fit_are_refused(changes: dict):
    with pytest.raises(ValidationError):
        PyscfSettings(**changes)


def test_without_pyscf_the_way_out_is_said(monkeypatch):
    real = builtins.__import__

    def absent(name: str, *arguments, **more):
        if name == "pyscf":
            raise ImportError("No module named 'pyscf'")
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(InputError, match="pip install"):
        run_pyscf(water(), PyscfSettings())
