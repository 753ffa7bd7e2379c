"""dftio's folders: round trip, frames, its earlier names, bad files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nearsight.api.exports import export
from nearsight.errors import FormatError, InputError
from nearsight.formats.registry import read_any
from nearsight.operators.store import read_calculation
from nearsight.orbitals.basis import BasisSet
from tests.formats.test_deeph import same
from tests.fuzz.seeds import small_calculation

SILICON = Path(__file__).parents[2] / "data" / "silicon_2.h5"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder, not to be changed."""
    folder = tmp_path_factory.mktemp("dftio") / "x"
    export(small_calculation(), folder, "dftio")
    return folder


def test_round_trip_to_the_last_bit(good: Path, tmp_path: Path) -> None:
    same(read_any(good), replace(small_calculation(), fermi=None))
    export(SILICON, tmp_path / "si", "dftio")
    same(read_any(tmp_path / "si"), replace(read_calculation(SILICON), fermi=None))


def test_blocks_as_somebody_else_reads_them(good: Path) -> None:
    """Names i_j_Rx_Ry_Rz with atoms from 0, in a group for each frame."""
    known = small_calculation().require_hamiltonian()
    with h5py.File(good / "hamiltonians.h5") as file:
        assert list(file) == ["0"]
        assert len(file["0"]) == known.n_pairs
        for name in file["0"]:
            i, j, *shift = map(int, name.split("_"))
            np.testing.assert_array_equal(file["0"][name][()], known.block(i, j, tuple(shift)))


def test_frames_and_names_of_earlier_versions(good: Path, tmp_path: Path) -> None:
    """Single precision, as dftio writes it; two frames, of which one is chosen."""
    shutil.copytree(good, tmp_path / "x")
    folder = tmp_path / "x"
    for name in ("positions", "cell"):
        path = folder / f"{name}.dat"
        path.write_text(path.read_text() * 2)
    for name in ("hamiltonian", "overlap"):
        with h5py.File(folder / f"{name}s.h5", "r") as old, h5py.File(folder / f"{name}.h5", "w") as new:
            for frame, factor in (("0", 1.0), ("1", 2.0)):
                for key in old["0"]:
                    new[f"{frame}/{key}"] = (old["0"][key][()] * factor).astype(np.float32)
        (folder / f"{name}s.h5").unlink()
    (folder / "positions.dat").rename(folder / "position.dat")
    (folder / "atomic_numbers.dat").rename(folder / "atomic_number.dat")
    with pytest.raises(FormatError, match="2 frames; choose one"):
        read_any(folder)
    one, two = (read_any(folder, row=k).require_hamiltonian().values for k in (0, 1))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)
    with pytest.raises(FormatError, match="a frame from 0 to 1"):
        read_any(folder, row=2)


def test_the_half_that_dftio_writes_of_siesta(tmp_path: Path) -> None:
    """Blocks with Rx ≥ 0; a file that has others, and lacks the reverse of one, is not whole."""
    for name in ("x", "y"):
        folder = tmp_path / name
        export(SILICON, folder, "dftio")
        for file in ("hamiltonians.h5", "overlaps.h5"):
            with h5py.File(folder / file, "r+") as opened:
                negative = [key for key in opened["0"] if int(key.split("_")[2]) < 0]
                assert len(negative) > 2
                for key in negative if name == "x" else negative[:1]:
                    del opened["0"][key]
    same(read_any(tmp_path / "x"), replace(read_calculation(SILICON), fermi=None))
    with pytest.raises(FormatError, match="in one direction only"):
        read_any(tmp_path / "y")


def test_shells_that_words_cannot_say_are_not_written(tmp_path: Path) -> None:
    known = small_calculation()
    basis = BasisSet("x", {8: (1, 0), 72: (0, 0, 1, 2)}, {})
    h = replace(known.require_hamiltonian(), basis=basis)
    with pytest.raises(InputError, match="in the order of their l"):
        export(replace(known, basis=basis, hamiltonian=h, overlap=None), tmp_path / "x", "dftio")


def _text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content)


def _rename(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        with h5py.File(folder / "hamiltonians.h5", "r+") as file:
            file[new] = file[old][()]
            del file[old]

    return change


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no shells": (_text("basis.dat", "nothing"), "shells of each element"),
    "strange shells": (_text("basis.dat", "{'Hf': '2s9q', 'O': '1s1p'}"), "shells such as Si=2s2p1d"),
    "a missing element": (_text("basis.dat", "{'Hf': '2s1p1d'}"), "got none for O"),
    "other shells": (_text("basis.dat", "{'Hf': '2s1p', 'O': '1s1p'}"), "another basis"),
    "rows": (_text("positions.dat", "0 0 0\n1 1 1\n"), "positions of 3 atoms"),
    "words": (_text("cell.dat", "a b c\n" * 3), "another text"),
    "a strange key": (_rename("0/0_0_0_0_0", "0/a"), "names such as"),
    "an atom of nobody": (_rename("0/0_0_0_0_0", "0/9_0_0_0_0"), "atoms 0 to 2"),
    "cut off": (lambda f: (f / "overlaps.h5").write_bytes((f / "overlaps.h5").read_bytes()[:-400]), "damaged"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_is_wrong(case: str, good: Path, tmp_path: Path) -> None:
    spoil, message = BAD[case]
    folder = Path(shutil.copytree(good, tmp_path / "x"))
    spoil(folder)
    with pytest.raises(FormatError, match=message) as caught:
        read_any(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
