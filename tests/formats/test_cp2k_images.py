"""CP2K's matrices per cell vector (tests/data/README.md): H(k) against CP2K's eigenvalues, sums, damage."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import eigh

from nearsight.errors import FormatError
from nearsight.formats.cp2k_output import read_output
from nearsight.formats.cp2k_wrapping import wrapping
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import bloch, fold
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import read_calculation, write_calculation
from nearsight.operators.symmetry import is_exactly_hermitian
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

DATA = Path(__file__).parents[1] / "data" / "cp2k_images.zip"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    with zipfile.ZipFile(DATA) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def run(runs, tmp_path) -> Path:
    """A copy of the mesh's run that may be damaged."""
    for path in (runs / "k222").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def levels(calculation: Calculation, k: np.ndarray) -> np.ndarray:
    h, s = (
        bloch(operator, k).toarray() for operator in (calculation.require_hamiltonian(), calculation.require_overlap())
    )
    found: np.ndarray = eigh(h, s, eigvals_only=True)
    return found


def test_the_code_s_eigenvalues_at_every_k_point(runs):
    calculation, output = read_any(runs / "k222"), read_output(runs / "k222" / "job.out")
    assert calculation.require_hamiltonian().folded is False
    assert output.k_points is not None
    assert output.k_eigenvalues is not None
    assert len(output.k_points) == 8
    for k, printed in zip(output.k_points, output.k_eigenvalues):
        error = np.abs(levels(calculation, k)[: len(printed)] - printed).max() / HARTREE_IN_EV
        assert error < 1e-5
    assert calculation.eigenvalues is None  # Γ is not among a mesh of even numbers
    np.testing.assert_array_equal(calculation.k_points, output.k_points)
    np.testing.assert_array_equal(calculation.k_eigenvalues, output.k_eigenvalues)


def test_two_spins(run):
    """`KS_SPIN_2` per cell vector, made of the first by a factor, and ALPHA and BETA levels of the output."""
    from nearsight.formats.cp2k_csr import read_csr

    known = read_any(run)
    for path in run.glob("*-KS_SPIN_1_R_*.csr"):
        records = np.frombuffer(path.read_bytes(), dtype="<i4,<i4,<i4,<f8,<i4").copy()
        records["f3"] *= 1.25
        other = path.with_name(path.name.replace("SPIN_1", "SPIN_2"))
        other.write_bytes(records.tobytes())
        assert path.stat().st_size == 0 or len(read_csr(other)[0]) == len(records)
    with pytest.raises(FormatError, match=r"of 1 spin as job\.out says, got"):
        read_any(run)
    text = (run / "job.out").read_text()
    text = re.sub(r"(Number of spin states +)1", r"\g<1>2", text)
    text = re.sub(r"( *Number of electrons: +)(\d+)", lambda m: f"{m[1]}{int(m[2]) // 2}\n{m[1]}{int(m[2]) // 2}", text)
    table = re.compile(r"^ MO\| EIG(.*?^ MO\| Sum:[^\n]*\n)", re.M | re.S)
    text = table.sub(lambda m: f" MO| ALPHA EIG{m[1]}\n MO| BETA EIG{m[1]}", text)
    (run / "job.out").write_text(text)
    (run / "job.inp").write_text((run / "job.inp").read_text().replace("&DFT", "&DFT\n UKS T", 1))
    found = read_any(run)
    up, down = found.hamiltonian_up, found.hamiltonian_down
    np.testing.assert_array_equal(up.values, known.hamiltonian.values)
    np.testing.assert_allclose(down.values, 1.25 * up.values, atol=1e-12)
    np.testing.assert_array_equal(found.k_eigenvalues, np.stack([known.k_eigenvalues, known.k_eigenvalues]))
    next(iter(run.glob("*-KS_SPIN_2_R_1-1_0.csr"))).unlink()
    with pytest.raises(FormatError, match="no file for image 1"):
        read_any(run)


def test_eigenvalues_at_gamma(runs):
    calculation = read_any(runs / "gamma")
    assert calculation.eigenvalues is not None
    error = levels(calculation, np.zeros(3))[: len(calculation.eigenvalues)] - calculation.eigenvalues
    assert np.abs(error).max() / HARTREE_IN_EV < 1e-5


def test_images_summed_are_the_matrix_of_a_run_without_k_points(runs):
    """Two runs of CP2K, converged to 1e-8 each; elements below 1e-7 are not written."""
    images, folded = read_any(runs / "gamma"), read_any(runs / "folded")
    for name, unit in (("hamiltonian", HARTREE_IN_EV), ("overlap", 1.0)):
        summed, whole = fold(getattr(images, name)), getattr(folded, name)
        found = whole.on_pairs(summed.source, summed.target, summed.shift)
        assert np.abs(found.values - summed.values).max() / unit < 5e-6
        assert np.abs(found.values - summed.values).mean() / unit < 5e-7
    assert images.energy == pytest.approx(folded.energy, abs=1e-5)


def test_hermitian_and_near_sighted(runs):
    calculation = read_any(runs / "k222")
    for operator in (calculation.require_hamiltonian(), calculation.require_overlap()):
        assert is_exactly_hermitian(operator)
        places = calculation.structure.positions
        vector = places[operator.target] + operator.shift @ calculation.structure.cell - places[operator.source]
        distance = np.linalg.norm(vector, axis=1)
        largest = np.maximum.reduceat(np.abs(operator.values), operator.offsets[:-1])
        tops = [largest[(distance >= r) & (distance < r + 2)].max() for r in range(0, 10, 2)]
        assert tops == sorted(tops, reverse=True)
        assert tops[4] < 0.01 * tops[0]


def test_round_trip_through_the_store(runs, tmp_path):
    calculation = read_any(runs / "k222")
    write_calculation(tmp_path / "x.h5", calculation)
    back = read_calculation(tmp_path / "x.h5")
    for name in ("hamiltonian", "overlap"):
        a, b = getattr(calculation, name), getattr(back, name)
        for field in ("source", "target", "shift", "values"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
    assert back.provenance["k-points"] == "MONKHORST-PACK 2 2 2"


def test_positions_moved_by_cell_vectors(run):
    """CP2K wraps them: the same files, other R, the same spectrum."""
    before = read_any(run)
    moves = np.array([[1, 0, -2], [0, 3, 0], [-1, 1, 1]])
    moved = before.structure.positions + moves @ before.structure.cell
    text = (run / "job.inp").read_text()
    for old, new in zip(before.structure.positions, moved):
        text = text.replace(" ".join(f"{x:.15g}" for x in old) + "\n", " ".join(f"{x:.15g}" for x in new) + "\n")
    (run / "job.inp").write_text(text)
    after = read_any(run)
    np.testing.assert_allclose(after.structure.positions, moved, atol=1e-12)
    k = np.array([0.13, -0.31, 0.22])
    np.testing.assert_allclose(levels(after, k), levels(before, k), atol=1e-9)
    h = after.require_hamiltonian()
    np.testing.assert_array_equal(h.block(0, 1, (2, -3, -2)), before.require_hamiltonian().block(0, 1, (1, 0, 0)))


def test_wrapping_is_cp2k_s():
    """f − ANINT(f), halves away from zero; halves but for rounding too."""
    at = np.array([[0.2, 0.5, -0.5], [0.7, 1.4, -1.6], [0.5 - 1e-12, -0.5 + 1e-12, 2.5]])
    cell = np.array([[4.0, 0, 0], [1, 5, 0], [0, 2, 6]])
    structure = Structure(np.full(3, 8), at @ cell, cell, np.ones(3, bool))
    np.testing.assert_array_equal(wrapping(structure), [[0, 1, -1], [1, 1, -2], [1, -1, 3]])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "job.out").unlink(), "expected CP2K's output beside the matrices"),
        (lambda f: (f / "job-ks-KS_SPIN_1_R_7-1_0.csr").unlink(), "no file for image 7 \\(1 missing\\)"),
        (
            lambda f: (f / "job-s-S_SPIN_1_R_900-1_0.csr").write_bytes((f / "job-s-S_SPIN_1_R_1-1_0.csr").read_bytes()),
            "R_900-1_0.csr, which is not in the table",
        ),
        (
            lambda f: (f / "old-ks-KS_SPIN_1_R_1-1_0.csr").write_bytes(
                (f / "job-ks-KS_SPIN_1_R_1-1_0.csr").read_bytes()
            ),
            "one file of image 1, got .*two runs",
        ),
        (
            lambda f: (f / "job-ks-KS_SPIN_1_R_3-1_0.csr").write_bytes(
                (f / "job-ks-KS_SPIN_1_R_2-1_0.csr").read_bytes()
            ),
            "a difference of .*images of several runs",
        ),
        (
            lambda f: (f / "job.out").write_text(re.sub(r"(?m)^ +40( +-?\d+){3} *\n", "", (f / "job.out").read_text())),
            "expected image 40 in the table of periodic images, got 41",
        ),
        (lambda f: (f / "x-KS_SPIN_2_R_1-1_0.csr").write_bytes(b" 1 1 0.1\n"), "got KS_SPIN_2"),
    ],
)
def test_damage_is_named(run, damage, said):
    damage(run)
    with pytest.raises(FormatError, match=said):
        read_any(run)


def test_another_structure_is_noticed(run, runs):
    """Atoms exchanged: overlaps would be large where no neighbours are."""
    text = (run / "job.inp").read_text()
    positions = read_any(runs / "k222").structure.positions
    rows = [" ".join(f"{x:.15g}" for x in place) for place in positions]
    (run / "job.inp").write_text(text.replace(rows[1], "0.1 0.1 4.2").replace(rows[2], "1.2 3.9 -4"))
    with pytest.raises(FormatError, match=r"has positions .*, got positions .* they are of different runs"):
        read_any(run)


def test_without_overlap(run):
    for path in run.glob("*-S_SPIN*"):
        path.unlink()
    calculation = read_any(run)
    assert calculation.overlap is None
    assert calculation.require_hamiltonian().n_pairs > 100
