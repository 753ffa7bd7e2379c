"""Molden files: H and S from the orbitals, both spins, bad files. PySCF writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearsight.api.files import import_calculation
from nearsight.errors import FormatError
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import to_csr
from nearsight.orbitals.conventions import PYSCF, from_internal_order, reordered
from nearsight.units import HARTREE_IN_EV


def write_molden(path: Path, basis: str = "def2-svp", **keys: Any) -> Any:
    """Water by PySCF; returns the field."""
    from pyscf import dft, gto
    from pyscf.tools import molden

    mol = gto.M(atom="O 0 0 0.1; H 0 0.76 0.59; H 0.2 -0.76 0.59", basis=basis, verbose=0, **keys)
    field = dft.UKS(mol, xc="lda") if mol.spin else dft.RKS(mol, xc="lda")
    field.max_cycle, field.grids.level = 2, 0
    field._chkfile.close()
    field.chkfile = None
    field.kernel()
    molden.dump_scf(field, str(path))
    return field


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("molden") / "water.molden"
    write_molden(path)
    return path


@pytest.mark.parametrize("spin", [0, 2])
def test_h_and_s_are_those_of_the_code(spin: int, tmp_path: Path) -> None:
    """Up to f: order, signs and normalisation."""
    field = write_molden(tmp_path / "a.molden", "cc-pvtz", spin=spin)
    found = import_calculation(tmp_path / "a.molden")
    assert (found.charge, found.n_electrons, found.multiplicity) == (0, 10, 3 if spin else None)
    assert found.basis.describe() == "H 3s2p1d, O 4s3p2d1f"
    order = from_internal_order(PYSCF, found.basis, found.structure.numbers)
    s = field.mol.intor("int1e_ovlp")
    np.testing.assert_allclose(reordered(to_csr(found.overlap).toarray(), *order), s, atol=1e-9)
    both = [found.hamiltonian_up, found.hamiltonian_down] if spin else [found.hamiltonian]
    for own, c, e in zip(both, *(x if spin else x[None] for x in (field.mo_coeff, field.mo_energy))):
        h = reordered(to_csr(own).toarray(), *order) / HARTREE_IN_EV
        np.testing.assert_allclose(h, s @ c * e @ c.T @ s, atol=1e-7)


def test_cores_and_angstrom(tmp_path: Path, good: Path) -> None:
    """[Core] says how many electrons a potential stands for; the same molecule in Å."""
    text = good.read_text()
    rows = re.findall(r"^([HO] +\d +\d+)((?: +-?\d+\.\d+){3})$", text, re.M)
    for name, place in rows:
        angstrom = " ".join(repr(float(x) * 0.529177210903) for x in place.split())
        text = text.replace(name + place, f"{name} {angstrom}")
    text = text.replace("[Atoms] (AU)", "[Atoms] Angs").replace("[GTO]", "[Core]\n1 : 2\n[GTO]")
    (tmp_path / "a.molden").write_text(text)
    found, known = read_any(tmp_path / "a.molden"), read_any(good)
    np.testing.assert_allclose(found.structure.positions, known.structure.positions, atol=1e-9)
    assert found.basis.valence == {8: 6, 1: 1}
    assert found.charge == -2  # there are still ten


def _sub(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        changed = re.sub(old, new, text, count=1, flags=re.M)
        assert changed != text
        return changed

    return change


BAD: dict[str, tuple[Callable[[str], str], str]] = {
    "cut off": (lambda t: t[: len(t) * 2 // 3], "as many as functions"),
    "cut within its last number": (lambda t: t.rstrip()[:-4], "as long as the one before"),
    "empty orbitals left out": (lambda t: t[: t.rindex(" Sym=")], "expected 24 orbitals, .* got 23"),
    "Cartesian": (_sub(r"^\[5d\]$", ""), r"by \[5D\] or \[5D7F\] or \[5D10F\], got Cartesian"),
    "positions of another step": (_sub(r"1\.43619", "1.45"), "S is that of the molecule's functions"),
    "the unit": (_sub(r"\(AU\)", "Angs"), "S is that of the molecule's functions"),
    "functions in another order": (_sub(r"^ +4 +(\S+)\n +5 +", r" 5 \1\n 4 "), "expected"),
    "a function twice": (_sub(r"^ +4 +(\S+)\n +5 +", r" 4 \1\n 4 "), "got 4 twice"),
    "no number": (_sub(r"^ +1 +\S+$", " 1 nan"), "expected numbers"),
    "a function of nobody": (_sub(r"^ +1 +\S+$", " 99 0.5"), "from 1 to 24"),
    "half filled": (lambda t: re.sub(r"Occup= +2\S+", "Occup= 1.0", t), "singly occupied"),
    "a crystal": (_sub(r"\[GTO\]", "[Cell]\n5 0 0\n0 5 0\n0 0 5\n[GTO]"), "got a crystal"),
    "two in one": (lambda t: t + t.split("\n", 1)[1], "are there two files in one"),
    "no orbitals": (_sub(r"^\[MO\]", "[MOS]"), r"a section \[MO\]"),
    "another basis for one atom": (_sub(r"13\.0107", "14.0107"), "two for H"),
    "no energy": (lambda t: t.replace("Ene=", "En="), "Ene= and Occup="),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, good: Path, tmp_path: Path) -> None:
    spoil, message = BAD[case]
    path = tmp_path / "a.molden"
    path.write_text(spoil(good.read_text()))
    with pytest.raises(FormatError, match=message) as caught:
        read_any(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_core_is_taken_off_once_and_placeholders_are_refused(tmp_path: Path) -> None:
    """PySCF writes Z without the electrons of the core, and 0, 1, 2, … where it has no energies."""
    from pyscf import gto, scf
    from pyscf.tools import molden

    mol = gto.M(atom="O 0 0 0; H 0 0.76 0.59; H 0 -0.76 0.59", basis="ccecp-ccpvdz", ecp="ccecp", verbose=0)
    field = scf.RHF(mol).run()
    molden.from_scf(field, str(tmp_path / "core.molden"))
    read_core = read_any(tmp_path / "core.molden")
    assert sorted(read_core.structure.numbers.tolist()) == [1, 1, 8]
    assert read_core.charge == 0
    assert read_core.n_electrons == 8
    with (tmp_path / "none.molden").open("w") as file:
        molden.header(mol, file)
        molden.orbital_coeff(mol, file, field.mo_coeff, occ=field.mo_occ)
    with pytest.raises(FormatError, match="expected energies of the orbitals"):
        read_any(tmp_path / "none.molden")
    text = (tmp_path / "core.molden").read_text()
    (tmp_path / "name.molden").write_text(text.replace("\nO ", "\nN ", 1).replace("\n O ", "\n N ", 1))
    with pytest.raises(FormatError, match="expected the atomic number of N"):
        read_any(tmp_path / "name.molden")
