"""CP2K's input as it is written: read back it gives the same structure, kinds and settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from nearsight.errors import InputError
from nearsight.formats.cp2k_input import Section, parse_sections, read_input
from nearsight.recipes.cp2k_job import Cp2kJob
from nearsight.recipes.cp2k_settings import FALLBACKS, Cp2kSettings, fallback
from nearsight.recipes.cp2k_text import render
from nearsight.recipes.packing import pack
from nearsight.recipes.vacancies import Vacancies, with_vacancies
from nearsight.structures.structure import Structure

OXIDE = pack({"Hf": 1, "O": 2}, 24, 12.17, 1.5, seed=1)


def written(folder: Path, structure: Structure = OXIDE, **settings) -> Section:
    Cp2kJob(structure, Cp2kSettings(**settings)).write(folder)
    return parse_sections(folder / "job.inp").all("FORCE_EVAL", "DFT")[0]


def test_the_structure_comes_back(tmp_path):
    ghosts = with_vacancies(OXIDE, Vacancies(fraction=0.2))
    written(tmp_path, ghosts)
    back = read_input(tmp_path / "job.inp")
    np.testing.assert_array_equal(back.structure.numbers, ghosts.numbers)
    np.testing.assert_allclose(back.structure.positions, ghosts.positions, rtol=1e-14)
    np.testing.assert_allclose(back.structure.cell, ghosts.cell, rtol=1e-14)
    assert back.kinds["Gh"].number == 0
    assert back.kinds["Hf"].potential == "GTH-PBE-q12"
    assert {kind.basis for kind in back.kinds.values()} == {"SZV-MOLOPT-SR-GTH"}


def test_gamma_and_meshes(tmp_path):
    gamma = written(tmp_path)
    assert gamma.all("KPOINTS")[0].get("SCHEME") == "GAMMA"
    assert gamma.all("PRINT", "KS_CSR_WRITE")[0].get("REAL_SPACE") == "T"
    mesh = written(tmp_path, kpoints=(2, 2, 2), smearing=1000)
    assert mesh.all("KPOINTS")[0].get("SCHEME") == "MONKHORST-PACK 2 2 2"
    assert mesh.all("SCF", "SMEAR")[0].get("METHOD") == "FERMI_DIRAC"
    folded = written(tmp_path, images=False)
    assert not folded.all("KPOINTS")
    assert folded.all("PRINT", "S_CSR_WRITE")[0].get("UPPER_TRIANGULAR") == "T"
    assert folded.all("PRINT", "S_CSR_WRITE")[0].get("REAL_SPACE") is None


def test_hubbard_ot_and_charge(tmp_path):
    """The paper's corrections (D.1): 7 eV on the metal's d, 10 eV on O's p."""
    hubbard = {"Hf": {"l": 2, "u": 7}, "O": {"l": 1, "u": 10}}
    dft = written(tmp_path, images=False, solver="ot", charge=-1, hubbard=hubbard)
    assert dft.get("PLUS_U_METHOD") == "MULLIKEN"
    assert dft.get("CHARGE") == "-1"
    assert dft.all("SCF", "OT")
    assert not dft.all("SCF", "MIXING")
    kinds = {s.parameter: s for s in parse_sections(tmp_path / "job.inp").all("FORCE_EVAL", "SUBSYS", "KIND")}
    assert kinds["O"].all("DFT_PLUS_U")[0].get("L") == "1"


def test_a_molecule_is_isolated(tmp_path):
    water = Structure(
        np.array([8, 1, 1]),
        np.array([[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]),
        np.zeros((3, 3)),
        np.zeros(3, bool),
    )
    dft = written(tmp_path, water, images=False)
    assert dft.all("POISSON")[0].get("POISSON_SOLVER") == "MT"
    back = read_input(tmp_path / "job.inp")
    assert not back.structure.pbc.any()
    slab = Structure(OXIDE.numbers, OXIDE.positions, OXIDE.cell, np.array([True, True, False]))
    with pytest.raises(InputError, match="in all directions or in none"):
        written(tmp_path, slab)


def test_empty_bands_never_exceed_what_there_is(tmp_path):
    """Hf: 10 orbitals, 12 electrons; O: 4 orbitals, 6 electrons: HfO2 has 18 orbitals and 12 occupied."""
    asked = written(tmp_path, empty_bands=10_000)
    assert int(asked.all("SCF")[0].get("ADDED_MOS") or 0) == 8 * (18 - 12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kpoints": (2, 1, 1), "images": False}, "images=true"),
        ({"solver": "ot"}, "solver=ot"),
        ({"solver": "ot", "images": False, "mixing": 0.1}, "no mixing with solver=ot"),
        ({"hubbard": {"Hf": {"l": 2, "u": 7}}}, "at Γ only"),
        ({"h0": True}, "H₀ at Γ only"),
        ({"kpoints": (0, 1, 1)}, "at least 1"),
        ({"cutof": 300}, "Extra inputs"),
    ],
)
def test_settings_that_do_not_fit(settings, said):
    with pytest.raises(ValidationError, match=said):
        Cp2kSettings(**settings)


def test_an_element_without_basis(tmp_path):
    with pytest.raises(InputError, match="got none for O"):
        written(tmp_path, basis={"Hf": "SZV-MOLOPT-SR-GTH"})


def test_a_basis_per_element(tmp_path):
    names = {"Hf": "SZV-MOLOPT-SR-GTH", "O": "DZVP-MOLOPT-SR-GTH"}
    ghosts = with_vacancies(OXIDE, Vacancies(fraction=0.2))
    written(tmp_path, ghosts, basis=names)
    assert {label: kind.basis for label, kind in read_input(tmp_path / "job.inp").kinds.items()} == {
        **names,
        "Gh": "DZVP-MOLOPT-SR-GTH",
    }


def test_fallbacks_change_the_way_not_the_goal():
    settings = Cp2kSettings()
    for number in range(len(FALLBACKS)):
        tried = fallback(settings, number)
        same = {"mixing", "memory", "max_scf"}
        assert tried.model_dump(exclude=same) == settings.model_dump(exclude=same)
        assert tried.mixing <= settings.mixing
        assert tried.max_scf >= settings.max_scf


def test_nested_sections():
    assert render([("&A x", [("K", 1), ("&B", [])])]) == "&A x\n  K 1\n  &B\n  &END B\n&END A\n"
