"""FHI-aims' matrices in real space: half of them is there, the dummies, bad files, a real run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.registry import read_any
from nearsight.operators.store import read_calculation
from tests.formats.aims_files import light, write_run
from tests.formats.samples import assert_orders_are_ours, largest_difference, levels, needs_samples, sample
from tests.fuzz.seeds import small_calculation

SILICON = Path(__file__).parents[2] / "data" / "silicon_2.h5"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of NeO₂, not to be changed."""
    return write_run(tmp_path_factory.mktemp("aims") / "run", light(small_calculation()))


def test_a_run(run: Path) -> None:
    known = light(small_calculation())
    for path in (run, run / "rs_hamiltonian.out"):
        found = read_any(path)
        assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-13
        assert largest_difference(found.overlap, known.overlap) < 1e-15
        assert found.basis == known.basis
        assert found.basis.valence == {8: 8, 10: 10}


def test_silicon(tmp_path: Path) -> None:
    known = read_calculation(SILICON)
    found = read_any(write_run(tmp_path / "run", known))
    assert largest_difference(found.hamiltonian, known.hamiltonian) < 1e-13


def test_atoms_are_where_fhi_aims_puts_them(run: Path, tmp_path: Path) -> None:
    """In the cell around the origin, whatever geometry.in says."""
    shutil.copytree(run, tmp_path / "x")
    lines = (tmp_path / "x" / "geometry.in").read_text().splitlines()
    k = next(k for k, line in enumerate(lines) if line.startswith("atom "))
    x, *rest = lines[k].split()[1:]
    lines[k] = " ".join(["atom", str(float(x) + 2 * 5.1), *rest])
    (tmp_path / "x" / "geometry.in").write_text("\n".join(lines))
    np.testing.assert_allclose(
        read_any(tmp_path / "x").structure.positions, read_any(run).structure.positions, atol=1e-9
    )


def test_lines_as_windows_writes_them(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "x"))
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert largest_difference(read_any(folder).hamiltonian, read_any(run).hamiltonian) == 0


def test_positions_of_a_relaxation(run: Path, tmp_path: Path) -> None:
    """The matrices are those of the last step; the same positions in another cell or with other digits are the same."""
    folder = Path(shutil.copytree(run, tmp_path / "x"))
    text = (folder / "geometry.in").read_text()
    (folder / "geometry.in.next_step").write_text(text.replace("atom 2.0 ", "atom -3.10000001 "))
    read_any(folder)
    (folder / "geometry.in.next_step").write_text(text.replace("atom 2.0 ", "atom 2.05 "))
    with pytest.raises(FormatError, match=r"whose atoms do not move, got geometry\.in\.next_step"):
        read_any(folder)
    moved = read_any(folder, structure=folder / "geometry.in.next_step")
    assert moved.structure.positions[1, 0] == pytest.approx(2.05)


def test_exponents_without_their_letter(run: Path, tmp_path: Path) -> None:
    """As Fortran writes three digits."""
    shutil.copytree(run, tmp_path / "x")
    path = tmp_path / "x" / "rs_hamiltonian.out"
    path.write_text(path.read_text().rstrip("\n").rsplit("\n", 1)[0] + "\n  0.12345678-123\n")
    assert read_any(tmp_path / "x").hamiltonian.n_pairs == light(small_calculation()).hamiltonian.n_pairs


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def _up(folder: Path) -> None:
    shutil.copy(folder / "rs_hamiltonian.out", folder / "rs_hamiltonian_up.out")


def _neither(folder: Path) -> None:
    for name in ("rs_hamiltonian.out", "rs_overlap.out"):
        (folder / name).unlink()


def _link(folder: Path) -> None:
    (folder / "rs_overlap.out").unlink()
    (folder / "rs_overlap.out").symlink_to("elsewhere")


def _pipe(folder: Path) -> None:
    (folder / "rs_hamiltonian.out").unlink()
    os.mkfifo(folder / "rs_hamiltonian.out")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "neither matrix": (_neither, "got neither"),
    "a link without its file": (_link, "a link that leads nowhere"),
    "a pipe": (_pipe, "a pipe, a socket or a device"),
    "spin": (_up, "rs_hamiltonian.out or both of"),
    "cut off": (lambda f: (f / "rs_overlap.out").write_text("1.0\n" * 5), "is it cut off"),
    "a word": (_replace("rs_hamiltonian.out", ".", "x"), "one number per line"),
    "not a number": (lambda f: _first(f, "nan"), "finite numbers"),
    "no columns": (_replace("rs_indices.out", "column_index", "column"), "expected cell_index"),
    "other functions": (_replace("rs_indices.out", "n_basis: 18", "n_basis: 17"), "expected 18 functions"),
    "m in another order": (_replace("basis-indices.out", "hydro 1 2 1 -1", "hydro 1 2 1 1"), "m = −l … l"),
    "an atom less": (_replace("geometry.in", "atom ", "#atom "), "functions of atoms 1 to 2"),
    "indices cut off": (lambda f: _shorten(f / "rs_indices.out"), "is the file complete"),
}


def _first(folder: Path, word: str) -> None:
    path = folder / "rs_hamiltonian.out"
    path.write_text(f"{word}\n" + path.read_text().split("\n", 1)[1])


def _shorten(path: Path) -> None:
    path.write_text(path.read_text()[:-200].rsplit("\n", 1)[0])


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, run: Path, tmp_path: Path) -> None:
    spoil, message = BAD[case]
    folder = Path(shutil.copytree(run, tmp_path / "x"))
    spoil(folder)
    with pytest.raises(FormatError, match=message) as caught:
        read_any(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@needs_samples
def test_a_real_run() -> None:
    """Silicon, PBE, tier 1: order and signs up to f, and the gap between Γ and 0.85 X is PBE's 0.6 eV."""
    ours = sample("fhi_aims_Si")
    assert_orders_are_ours(ours)
    gamma, near_x = levels(ours, np.array([[0.0, 0, 0], [0.425, 0.425, 0]]))
    assert near_x[14] - gamma[13] == pytest.approx(0.6, abs=0.05)
