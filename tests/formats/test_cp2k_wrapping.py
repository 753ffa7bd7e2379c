"""Where CP2K put atoms whose fractional coordinates are halves: a crystal of hydrogen in which they go either way."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.linalg import eigh

from nearsight.errors import FormatError
from nearsight.formats.cp2k_output import read_output
from nearsight.formats.cp2k_wrapping import check_nearest, placed, settled, wrapping
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import bloch
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.symmetry import is_exactly_hermitian
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

DATA = Path(__file__).parents[1] / "data" / "cp2k_halves.zip"
HYDROGEN = BasisSet("one s", {1: (0,)}, {1: 1})


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("halves")
    with zipfile.ZipFile(DATA) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def full(runs, tmp_path) -> Path:
    """A copy that may be damaged."""
    for path in (runs / "full").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def by_distance(overlap: BlockOperator, structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    """Distances, ascending, and the overlaps of one s function per atom."""
    places = structure.positions
    distance = np.linalg.norm(places[overlap.target] + overlap.shift @ structure.cell - places[overlap.source], axis=1)
    order = np.argsort(distance)
    return distance[order], overlap.values[order]


@pytest.mark.parametrize("run", ["full", "upper"])
def test_the_overlap_of_two_s_functions_depends_on_their_distance_alone(runs, run):
    calculation = read_any(runs / run)
    distance, overlap = by_distance(calculation.require_overlap(), calculation.structure)
    assert len(distance) > 500
    assert np.diff(overlap).max() < 1e-8  # of CP2K's neighbour list and the threshold of the files


def test_no_rounding_rule_serves(runs):
    """1½ and −½ stayed in their cells, ½ did not: the rule puts overlaps at distances where they cannot be."""
    calculation = read_any(runs / "full")
    structure, overlap = calculation.structure, calculation.require_overlap()
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    np.testing.assert_allclose(fractional[1:], [[0, 0.5, 0.5], [1.5, -1, 0.5], [-0.5, 0.5, 0]], atol=1e-12)
    rule = wrapping(structure)
    np.testing.assert_array_equal(rule, [[0, 0, 0], [0, 1, 1], [2, -1, 1], [-1, 1, 0]])
    true = np.array([[0, 0, 0], [0, 1, 1], [1, -1, 1], [0, 1, 0]])
    cp2k_s = placed(overlap, -true)
    np.testing.assert_array_equal(settled(runs, cp2k_s, structure), true)
    _, misplaced = by_distance(placed(cp2k_s, rule), structure)
    assert np.diff(misplaced).max() > 0.03
    with pytest.raises(FormatError, match="largest with the nearest image"):
        check_nearest(runs, placed(cp2k_s, rule), structure)


@pytest.mark.parametrize("run", ["full", "upper"])
def test_eigenvalues_at_half_of_the_mesh(runs, run):
    """Without FULL_GRID CP2K takes one of k and −k; the images are the same."""
    calculation, output = read_any(runs / run), read_output(runs / run / "job.out")
    assert output.k_points is not None
    assert output.k_eigenvalues is not None
    np.testing.assert_array_equal(output.k_points, [[-0.25, -0.25, 0], [-0.25, 0.25, 0]])
    assert calculation.provenance["k-points"] == "MONKHORST-PACK 2 2 1"
    assert calculation.fermi == pytest.approx(output.fermi)
    for sign in (1, -1):
        for k, printed in zip(output.k_points, output.k_eigenvalues):
            h, s = (
                bloch(operator, sign * k).toarray()
                for operator in (calculation.require_hamiltonian(), calculation.require_overlap())
            )
            found = eigh(h, s, eigvals_only=True)[: len(printed)]
            assert np.abs(found - printed).max() / HARTREE_IN_EV < 1e-8


def test_a_second_run_in_the_same_output(full):
    """CP2K appends to its output; iterations of the atoms' guess look like rows of eigenvalues."""
    once, text = read_output(full / "job.out"), (full / "job.out").read_text()
    assert "Iteration          Convergence" in text
    (full / "job.out").write_text(text.replace(" 2    2    1", " 2    2    2") + text)
    twice = read_output(full / "job.out")
    assert (twice.k_scheme, twice.fermi) == (once.k_scheme, once.fermi)
    for name in ("k_points", "k_eigenvalues"):
        np.testing.assert_array_equal(getattr(twice, name), getattr(once, name))


def test_smearing_fermi_level_fills_the_electrons(runs):
    """Four electrons in the printed levels at 3000 K."""
    output = read_output(runs / "full" / "job.out")
    assert output.fermi is not None
    assert output.k_eigenvalues is not None
    kt = 3000 * 8.617333262e-5
    filling = 2 / (1 + np.exp((output.k_eigenvalues - output.fermi) / kt))
    assert filling.sum(axis=1).mean() == pytest.approx(4, abs=1e-4)


def test_an_upper_triangle_is_the_whole(runs):
    full, upper = read_any(runs / "full"), read_any(runs / "upper")
    for name in ("hamiltonian", "overlap"):
        a, b = getattr(full, name), getattr(upper, name)
        assert is_exactly_hermitian(b)
        for field in ("source", "target", "shift"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        np.testing.assert_allclose(b.values, a.values, rtol=1e-13, atol=1e-13)


def test_without_overlaps_h_decides(full):
    expected = read_any(full).require_hamiltonian()
    for path in full.glob("*-S_SPIN*"):
        path.unlink()
    found = read_any(full).require_hamiltonian()
    np.testing.assert_array_equal(found.shift, expected.shift)
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize(
    ("kept", "said"),
    [(lambda size: size - 7, "truncated record"), (lambda size: size - 24, "expected a diagonal element .*cut off")],
)
def test_a_file_that_was_cut(full, kept, said):
    path = full / "h-s-S_SPIN_1_R_1-1_0.csr"
    path.write_bytes(path.read_bytes()[: kept(path.stat().st_size)])
    with pytest.raises(FormatError, match=said):
        read_any(full)


def test_a_far_image_cut_between_records(full):
    path = full / "h-ks-KS_SPIN_1_R_2-1_0.csr"
    path.write_bytes(path.read_bytes()[: 24 * 6])
    with pytest.raises(FormatError, match=r"a difference of .*cut off"):
        read_any(full)


def test_an_output_elsewhere(full, tmp_path_factory):
    expected = read_any(full)
    elsewhere = tmp_path_factory.mktemp("outputs") / "queue.out"
    (full / "job.out").rename(elsewhere)
    found = read_any(full, output=elsewhere)
    np.testing.assert_array_equal(found.require_hamiltonian().values, expected.require_hamiltonian().values)


def crystal(
    seed: int, pbc: tuple[bool, bool, bool] = (True, True, True), share: float = 0.5
) -> tuple[Structure, np.ndarray]:
    """Atoms, many of them on halves, and cell vectors taken off them, at halves either way."""
    random = np.random.default_rng(seed)
    cell = np.diag(random.uniform(5, 7, 3)) + random.uniform(-1, 1, (3, 3))
    fractional = random.uniform(-2, 2, (9, 3))
    fractional = np.where(random.random(fractional.shape) < share, np.round(fractional) + 0.5, fractional)
    taken = np.round(fractional)
    halves = np.abs(fractional % 1 - 0.5) < 1e-9
    taken = np.where(halves, np.floor(fractional) + random.integers(0, 2, taken.shape), taken).astype(int)
    taken[:, ~np.array(pbc)] = 0
    return Structure(np.ones(9, dtype=int), fractional @ cell, cell, np.array(pbc)), taken


def overlaps(structure: Structure, reach: float = 9.0, width: float = 2.5) -> BlockOperator:
    """Gaussian overlaps with R that refer to the positions."""
    span = [range(-7, 8) if periodic else range(1) for periodic in structure.pbc]
    cells = np.stack(np.meshgrid(*span, indexing="ij"), axis=-1).reshape(-1, 3)
    rows = [
        (i, j, *cell)
        for i in range(len(structure))
        for j in range(len(structure))
        for cell in cells[
            np.linalg.norm(structure.positions[j] + cells @ structure.cell - structure.positions[i], axis=1) < reach
        ]
    ]
    source, target, *shift = np.array(rows).T
    result = zeros(structure.numbers, HYDROGEN, source, target, np.array(shift).T, False)
    vector = structure.positions[target] + result.shift @ structure.cell - structure.positions[source]
    result.values[:] = np.exp(-(vector**2).sum(axis=1) / width**2)
    return result


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
@pytest.mark.parametrize("seed", range(6))
def test_halves_rounded_either_way_are_found(seed, pbc):
    structure, taken = crystal(seed, pbc)
    true = overlaps(structure)
    found = settled(Path("run"), placed(true, -taken), structure)
    np.testing.assert_array_equal(placed(placed(true, -taken), found).shift, true.shift)


def settled_and_checked(seen: BlockOperator, structure: Structure) -> None:
    check_nearest(Path("run"), placed(seen, settled(Path("run"), seen, structure)), structure)


@pytest.mark.parametrize("seed", range(6))
def test_other_positions_are_noticed(seed):
    structure, taken = crystal(seed)
    seen = placed(overlaps(structure), -taken)
    other = Structure(structure.numbers, crystal(seed + 100)[0].positions, structure.cell, structure.pbc)
    with pytest.raises(FormatError, match="run: expected overlaps to be largest with the nearest image"):
        settled_and_checked(seen, other)
