"""What every reader promises, on real data: physics of H and S, order of orbitals, and nothing lost on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearsight.checks.linter import check_calculation
from nearsight.electronic.eigen import solve
from nearsight.formats.registry import FORMATS, find_format
from nearsight.operators.bloch import to_csr
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.operators.symmetry import is_exactly_hermitian
from nearsight.units import HARTREE_IN_EV
from tests.contracts.sources import N_VARIANTS, SOURCES

MATRICES = ("hamiltonian", "overlap", "h0")


@pytest.fixture(scope="module", params=SOURCES)
def calculation(request, tmp_path_factory) -> Calculation:
    return SOURCES[request.param](tmp_path_factory.mktemp("source"))


def test_hermitian_and_of_the_structure(calculation):
    for name in MATRICES:
        operator = getattr(calculation, name)
        if operator is not None:
            assert is_exactly_hermitian(operator)
            np.testing.assert_array_equal(operator.numbers, calculation.structure.numbers)
            assert operator.n_orbitals == calculation.basis.offsets(calculation.structure.numbers)[-1]


def test_overlap_is_positive_definite_with_normalised_functions(calculation):
    if calculation.overlap is None:
        pytest.skip("this format has no overlap")
    on_site = calculation.overlap.select(calculation.overlap.on_site)
    matrix = to_csr(calculation.overlap).toarray()
    assert np.linalg.eigvalsh(matrix)[0] > 0
    if not calculation.overlap.folded:
        diagonal = np.concatenate([np.diag(on_site.block(i, i)) for i in range(on_site.n_atoms)])
        np.testing.assert_allclose(diagonal, 1, atol=1e-6)


def test_eigenvalues_are_the_code_s_own(calculation):
    """To 1e-5 E_h; a threshold of CP2K's writing decides, else it is 1e-10."""
    if calculation.eigenvalues is None or calculation.overlap is None:
        pytest.skip("none are printed at Γ")
    levels = solve(calculation.require_hamiltonian(), calculation.overlap, 2).eigenvalues
    error = levels[: len(calculation.eigenvalues)] - calculation.eigenvalues
    assert np.abs(error).max() / HARTREE_IN_EV < 1e-5


def test_the_linter_is_silent(calculation):
    found = check_calculation(calculation, quick=True)
    assert [f for f in found if f.level != "note"] == []


def test_round_trip_through_the_store_to_the_last_bit(calculation, tmp_path):
    write_calculation(tmp_path / "x.h5", calculation)
    back = read_calculation(tmp_path / "x.h5")
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(back.structure, name), getattr(calculation.structure, name))
    for name in MATRICES:
        old, new = getattr(calculation, name), getattr(back, name)
        assert (old is None) == (new is None)
        if old is not None:
            assert old.folded == new.folded
            for field in ("source", "target", "shift", "values"):
                np.testing.assert_array_equal(getattr(new, field), getattr(old, field))
    assert back.basis == calculation.basis
    assert (back.energy, back.fermi, back.cutoff) == (calculation.energy, calculation.fermi, calculation.cutoff)
    assert dict(back.provenance) == dict(calculation.provenance)


def test_single_precision_is_written_once(calculation, tmp_path):
    """float32 costs its rounding; writing what was read costs nothing more."""
    write_calculation(tmp_path / "a.h5", calculation, precision="float32")
    once = read_calculation(tmp_path / "a.h5").require_hamiltonian()
    np.testing.assert_allclose(once.values, calculation.require_hamiltonian().values, rtol=6e-8, atol=1e-44)
    write_calculation(tmp_path / "b.h5", read_calculation(tmp_path / "a.h5"), precision="float32")
    np.testing.assert_array_equal(read_calculation(tmp_path / "b.h5").require_hamiltonian().values, once.values)


def test_every_format_has_a_source():
    """A new format is added to tests/contracts/sources.py, too."""
    assert len(FORMATS) == len(SOURCES) - N_VARIANTS


def test_one_format_recognises_each_source(tmp_path):
    for name, make in SOURCES.items():
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        make(folder)
        for path in [p for p in Path(folder).iterdir() if p.suffix in (".db", ".npz")]:
            assert [f.recognises(path) for f in FORMATS].count(True) == 1
            assert find_format(path)
