"""Nothing that a file calls a basis, a functional or an engine is executed or opened."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from nearsight.api.structures import overlap
from nearsight.configuration import validated
from nearsight.errors import ConfigError, InputError
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import write_calculation
from nearsight.orbitals.basis import BasisSet, basis_named
from nearsight.recipes.campaign import Campaign
from nearsight.recipes.engine import make_engine
from nearsight.recipes.overlap import overlap_of
from nearsight.recipes.pyscf_names import checked_name
from nearsight.recipes.pyscf_system import PyscfSettings, build_system, pyscf_module
from nearsight.structures.structure import Structure

PROGRAM = "O    S\n (1.0,open('./ran','w'))[0] 1.0\nO    S\n 2.0 1.0\n"
"""NWChem's format, in which PySCF evaluates what is no number."""
CP2K_PROGRAM = "O GTH\n 1\n 1 0 0 1 1\n (1.0,open('./ran','w'))[0] 1.0\n"
SZV = basis_named("SZV-MOLOPT-SR-GTH")
OXYGEN = Structure(np.array([8]), np.zeros((1, 3)), np.eye(3) * 6, np.ones(3, dtype=bool))


@pytest.mark.parametrize(
    "name",
    [
        PROGRAM,
        CP2K_PROGRAM,
        "/etc/passwd",
        "../basis",
        "a\\b",
        "{x}",
        "[open('x')]",
        "sto-3g\n",
        "x" * 200,
        "",
        " ",
        "a;b",
    ],
)
def test_what_is_no_name_is_refused_by_every_route(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="name of a basis"):
        overlap_of(OXYGEN, BasisSet(name, {8: (0, 0)}, {8: 6}))
    for basis in (name, {"O": name}):
        with pytest.raises(ValidationError, match="name of a basis"):
            PyscfSettings(basis=basis)
        unchecked = PyscfSettings.model_construct(**{**PyscfSettings().model_dump(), "basis": basis})
        with pytest.raises(InputError, match="name of a basis"):
            build_system(OXYGEN, unchecked)
    with pytest.raises(ValidationError, match="pseudopotential"):
        PyscfSettings(basis="gth-szv", pseudo=f"gth{name}\n")
    with pytest.raises(ValidationError, match="functional"):
        PyscfSettings(functional=name)
    assert not any(tmp_path.iterdir())


def test_the_basis_of_one_element_among_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="name of a basis"):
        overlap_of(OXYGEN, BasisSet(f"O:{PROGRAM}", {8: (0, 0)}, {8: 6}))
    with pytest.raises(InputError, match="symbol of an element"):
        overlap_of(
            Structure(np.array([0]), np.zeros((1, 3)), np.eye(3) * 6, np.ones(3, dtype=bool)), SZV, ghost_element="O\nO"
        )
    assert not any(tmp_path.iterdir())


def test_the_name_in_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_calculation("x.h5", Calculation(OXYGEN, BasisSet(PROGRAM, {8: (0, 0)}, {8: 6})))
    with pytest.raises(InputError, match=r"name of a basis|one line"):
        overlap("x.h5")
    assert not Path("ran").exists()


def test_a_campaign(tmp_path: Path) -> None:
    water = {"name": "water", "molecules": {"molecule": "water", "count": 1}}
    tree = {"structures": [water], "dft": {"code": "pyscf", "basis": {"O": PROGRAM, "H": "sto-3g"}}}
    with pytest.raises(ConfigError, match="name of a basis"):
        validated(Campaign, tree, "campaign")


def test_a_file_of_the_name_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "def2-svp").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="a file here"):
        build_system(OXYGEN, PyscfSettings.model_construct(**{**PyscfSettings.model_construct().model_dump()}))
    assert not Path("ran").exists()


def test_pyscf_evaluates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a text reaches it by another way."""
    monkeypatch.chdir(tmp_path)
    gto = pyscf_module().gto
    for text in (PROGRAM, CP2K_PROGRAM):
        with pytest.raises(Exception, match=r"."):
            gto.basis.load(text, "O")
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "name", ["def2-SVP", "6-31+G**", "6-31G(d,p)", "cc-pVDZ", "sto-3g", "gth-szv-molopt-sr", "unc-sto-3g"]
)
def test_names_of_basis_sets_pass(name: str) -> None:
    assert checked_name(name, "basis") == name


def test_shipped_names_pass() -> None:
    for name in ("SZV-MOLOPT-SR-GTH", "DZVP-MOLOPT-SR-GTH"):
        assert checked_name(basis_named(name).name, "basis") == name


@pytest.mark.parametrize(
    "engine",
    ["ase:subprocess.Popen", "ase:evil.Calculator", "ase:ase.calculators.emt.np", "ase:../x.Y", "ase:ase.io.read"],
)
def test_engines_import_calculators_only(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("open('ran', 'w')\nfrom ase.calculators.emt import EMT as Calculator\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"expected ase:MODULE\.CLASS"):
        make_engine(engine)
    assert not Path("ran").exists()


def test_engines_of_allowed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_calculators.py").write_text("from ase.calculators.emt import EMT\nclass Mine(EMT):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="--allow-import mine_calculators"):
        make_engine("ase:mine_calculators.Mine")
    monkeypatch.setenv("NEARSIGHT_ALLOW_IMPORT", "other, mine_calculators")
    assert make_engine("ase:mine_calculators.Mine").describe()
