"""PySCF's checkpoints of molecules: H and S from the orbitals, nothing evaluated, bad files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.linalg import eigh

from nearsight.api.files import import_calculation
from nearsight.errors import FormatError
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import bloch, to_csr
from nearsight.orbitals.conventions import PYSCF, from_internal_order, reordered
from nearsight.units import HARTREE_IN_EV
from tests.formats.molecules import NUMBERS, POSITIONS
from tests.formats.samples import levels


def write_checkpoint(path: Path, charge: int = 0, **keys: Any) -> Any:
    """Water, or its ion, by PySCF; returns the field."""
    from pyscf import dft, gto

    atoms = list(zip(NUMBERS.tolist(), POSITIONS.tolist()))
    mol = gto.M(atom=atoms, basis=keys.pop("basis", "def2-svp"), charge=charge, verbose=0, **keys)
    field = dft.RKS(mol, xc="pbe") if mol.spin == 0 else dft.UKS(mol, xc="pbe")
    field._chkfile.close()
    field.chkfile = str(path)
    field.max_cycle, field.grids.level = 4, 0
    field.kernel()
    return field


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("pyscf") / "water.chk"
    return path, write_checkpoint(path)


def test_h_and_s_are_pyscf_s(good: tuple[Path, Any]) -> None:
    path, field = good
    found = read_any(path)
    order = from_internal_order(PYSCF, found.basis, found.structure.numbers)
    s = reordered(to_csr(found.require_overlap()).toarray(), *order)
    h = reordered(to_csr(found.require_hamiltonian()).toarray(), *order) / HARTREE_IN_EV
    c, e = field.mo_coeff, field.mo_energy
    np.testing.assert_allclose(s, field.mol.intor("int1e_ovlp"), atol=1e-11)
    np.testing.assert_allclose(h, s @ c * e @ c.T @ s, atol=1e-9)
    np.testing.assert_allclose(found.eigenvalues, e * HARTREE_IN_EV, atol=1e-10)
    assert found.energy == pytest.approx(field.e_tot * HARTREE_IN_EV)
    assert (found.charge, found.n_electrons) == (0, 10)
    np.testing.assert_allclose(found.structure.positions, POSITIONS, atol=1e-12)


def test_the_import_compares_s_with_the_functions(good: tuple[Path, Any]) -> None:
    """Radial functions come along, so that S of any other geometry is known."""
    found = import_calculation(good[0])
    assert set(found.basis.functions) == {1, 8}
    assert found.provenance["levels"].startswith("those that the code printed")


def test_ions_and_general_contractions(tmp_path: Path) -> None:
    """cc-pvdz has several contractions of the same primitives."""
    field = write_checkpoint(tmp_path / "a.chk", charge=2, basis="cc-pvdz")
    found = read_any(tmp_path / "a.chk")
    assert (found.charge, found.n_electrons) == (2, 8)
    assert found.require_hamiltonian().n_orbitals == field.mol.nao


def test_two_spins(tmp_path: Path) -> None:
    """H of either, with one S."""
    field = write_checkpoint(tmp_path / "a.chk", spin=2)
    found = read_any(tmp_path / "a.chk")
    assert (found.multiplicity, found.n_electrons, found.hamiltonian) == (3, 10, None)
    order = from_internal_order(PYSCF, found.basis, found.structure.numbers)
    s = field.mol.intor("int1e_ovlp")
    for own, c, e in zip((found.hamiltonian_up, found.hamiltonian_down), field.mo_coeff, field.mo_energy):
        h = reordered(to_csr(own).toarray(), *order) / HARTREE_IN_EV
        np.testing.assert_allclose(h, s @ c * e @ c.T @ s, atol=1e-9)


def test_open_shells_with_one_set_of_orbitals_are_refused(good: tuple[Path, Any], tmp_path: Path) -> None:
    """Their levels are those of no H of one spin."""
    path = Path(shutil.copy(good[0], tmp_path / "a.chk"))
    with h5py.File(path, "r+") as file:
        file["scf/mo_occ"][4:6] = 1.0
    with pytest.raises(FormatError, match="singly occupied orbitals"):
        read_any(path)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"basis": {"O": "sto-3g", "H1": "sto-3g", "H2": "sto-6g"}}, "one basis for each element, got two for H"),
        ({"atom": "Cl1 0 0 0; Cl2 0 0 2.2", "basis": "lanl2dz", "ecp": {"Cl1": "lanl2dz"}}, "no potentials on some"),
    ],
)
def test_atoms_of_one_element_that_are_not_alike(said: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Other functions of the same shells, or a potential on one of two atoms."""
    from pyscf import gto, scf

    mol = gto.M(**{"atom": "O 0 0 0; H1 0 0.76 0.59; H2 0 -0.76 0.59", "verbose": 0, **said})
    field = scf.RHF(mol)
    field._chkfile.close()
    field.chkfile, field.max_cycle = str(tmp_path / "a.chk"), 1
    field.kernel()
    with pytest.raises(FormatError, match=message):
        read_any(tmp_path / "a.chk")


def _moved(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        said = json.loads(file["mol"][()])
        said["_env"][said["_atm"][0][1] + 2] += 0.01
        del file["mol"]
        file["mol"] = json.dumps(said)


def _json(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            said = json.loads(file["mol"][()])
            del file["mol"]
            file["mol"] = json.dumps({**said, **changes})

    return change


def _dataset(name: str, values: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            new = values(file[name][()])
            del file[name]
            file[name] = new

    return change


def _without(name: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            del file[name]

    return change


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "a crystal of another S": (_json(a=[[5, 0, 0], [0, 5, 0], [0, 0, 5]]), "resolves S"),
    "positions of another step": (_moved, "S is that of the molecule's functions"),
    "Cartesian": (_json(cart=True), "Cartesian"),
    "a ghost": (_json(_atom=[["GHOST-O", [0, 0, 0]], ["H", [0, 0, 0]], ["H", [0, 0, 0]]]), "no ghosts"),
    "tables of nothing": (_json(_bas=[]), "table _bas"),
    "shells outside": (_json(_env=[0.0] * 25), "expected"),
    "orbitals left out": (_dataset("scf/mo_energy", lambda e: e[:-1]), "dependent ones left out"),
    "dependent orbitals": (_dataset("scf/mo_coeff", lambda c: c * 0 + 1), "independent orbitals"),
    "no orbitals": (_without("scf/mo_coeff"), "no dataset mo_coeff"),
    "no molecule": (_without("mol"), "a checkpoint of PySCF"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:-500]), "damaged or truncated"),
    "no JSON": (lambda p: _words(p, "x = 1"), "as JSON"),
}


def _words(path: Path, words: str) -> None:
    with h5py.File(path, "r+") as file:
        del file["mol"]
        file["mol"] = words


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, good: tuple[Path, Any], tmp_path: Path) -> None:
    spoil, message = BAD[case]
    path = Path(shutil.copy(good[0], tmp_path / "x.chk"))
    spoil(path)
    with pytest.raises(FormatError, match=message) as caught:
        read_any(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_nothing_in_it_is_evaluated(good: tuple[Path, Any], tmp_path: Path) -> None:
    """PySCF itself would run these texts."""
    path = Path(shutil.copy(good[0], tmp_path / "x.chk"))
    _json(atom=f"open({str(tmp_path / 'made')!r}, 'w')", basis=f"open({str(tmp_path / 'made')!r}, 'w')")(path)
    read_any(path)
    assert not (tmp_path / "made").exists()


def write_crystal(path: Path, mesh: tuple[int, int, int], spin: bool = False, edge: float = 5.0) -> Any:
    """H₂ in a cell, whose functions reach a few neighbours."""
    from pyscf.pbc import dft, gto

    cell = gto.M(
        a=np.diag([edge, 5.2, 5.4]), atom="H 0 0 0; H 0.1 0.2 0.75", basis="gth-szv", pseudo="gth-pbe", verbose=0
    )
    cell.build(mesh=[25, 25, 27], verbose=0)
    kind = dft.KUKS if spin else dft.KRKS
    field = kind(cell, cell.make_kpts(mesh), xc="lda")
    field._chkfile.close()
    field.chkfile, field.max_cycle = str(path), 3
    field.kernel()
    return field


@pytest.mark.parametrize("spin", [False, True])
def test_a_crystal(spin: bool, tmp_path: Path) -> None:
    """H(R) of a mesh through Γ: at its points levels and S are PySCF's."""
    field = write_crystal(tmp_path / "a.chk", (3, 1, 1), spin)
    found = read_any(tmp_path / "a.chk")
    assert found.structure.pbc.all()
    assert (found.charge, found.n_electrons, found.spin_polarised) == (0, 2, spin)
    np.testing.assert_allclose(np.sort(found.k_points[:, 0]), [0, 1 / 3, 2 / 3], atol=1e-12)
    k = found.k_points
    s = np.array(field.get_ovlp())
    order = from_internal_order(PYSCF, found.basis, found.structure.numbers)
    for own, known in zip(k, s):
        np.testing.assert_allclose(reordered(bloch(found.overlap, own).toarray(), *order), known, atol=1e-9)
    for one in [found.of_spin("up"), found.of_spin("down")] if spin else [found]:
        np.testing.assert_allclose(levels(one, k), one.k_eigenvalues, atol=1e-6)
    assert found.provenance["k-points"].startswith("3 × 1 × 1, which resolve S to")


def _kpts(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            file["scf/kpts"][...] = change(file["scf/kpts"][()])

    return spoil


def _shape(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        orbitals = file["scf/mo_coeff"][()]
        del file["scf/mo_coeff"]
        file["scf/mo_coeff"] = orbitals[:, :, :1]


def _unpaired(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["scf/mo_occ"][...] = 1.0


CRYSTALS: dict[str, tuple[Callable[[Path], None], str]] = {
    "open shells with one set of orbitals": (_unpaired, "singly occupied"),
    "a shifted mesh": (_kpts(lambda k: k + 0.1), "a mesh through Γ"),
    "a point twice": (_kpts(lambda k: k[[0, 1, 1]]), "a mesh through Γ"),
    "other points": (_kpts(lambda k: k * 1.1), "a mesh through Γ"),
    "k and −k exchanged for one": (_kpts(lambda k: k[[1, 0, 2]]), r"H\(−k\) = H\(k\)\*|resolves S"),
    "orbitals left out": (_shape, "orbitals of shape"),
}


def test_bad_crystals(tmp_path: Path) -> None:
    write_crystal(tmp_path / "good.chk", (3, 1, 1))
    for name, (spoil, message) in CRYSTALS.items():
        path = Path(shutil.copy(tmp_path / "good.chk", tmp_path / "bad.chk"))
        spoil(path)
        with pytest.raises(FormatError, match=message):
            print(name, read_any(path))
    write_crystal(tmp_path / "dense.chk", (2, 1, 1), edge=2.0)
    with pytest.raises(FormatError, match=r"resolves S\(R\) of this basis to 0\.01, got \(2, 1, 1\)"):
        read_any(tmp_path / "dense.chk")


@pytest.mark.parametrize("spin", [0, 2])
def test_a_crystal_at_gamma(spin: int, tmp_path: Path) -> None:
    """The sums over images, exactly, in a cell however small."""
    from pyscf.pbc import dft, gto

    cell = gto.M(a=np.eye(3) * 2.5, atom="H 0 0 0; H 0.1 0.2 0.75", basis="gth-szv", pseudo="gth-pbe", spin=spin)
    cell.build(mesh=[13, 13, 13], verbose=0)
    field = (dft.UKS if spin else dft.RKS)(cell, xc="lda")
    field._chkfile.close()
    field.chkfile, field.max_cycle = str(tmp_path / "a.chk"), 1
    field.kernel()
    found = read_any(tmp_path / "a.chk")
    assert found.overlap.folded
    order = from_internal_order(PYSCF, found.basis, found.structure.numbers)
    np.testing.assert_allclose(reordered(to_csr(found.overlap).toarray(), *order), field.get_ovlp(), atol=1e-9)
    for own, known in zip(
        [found.hamiltonian_up, found.hamiltonian_down] if spin else [found.hamiltonian], np.atleast_2d(field.mo_energy)
    ):
        own_levels = eigh(to_csr(own).toarray(), to_csr(found.overlap).toarray(), eigvals_only=True)
        np.testing.assert_allclose(own_levels, known * HARTREE_IN_EV, atol=1e-6)
