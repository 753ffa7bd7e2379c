"""What folders, patterns and databases stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

import nearsight as ns
from nearsight.errors import FormatError
from nearsight.formats.data_names import data_names, read_named
from tests.formats.molecules import water
from tests.formats.test_schnorb import arrays_of, raw, write
from tests.learning.rattled_molecules import molecules


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    for number, molecule in zip((10, 9, 1), molecules(3)):
        ns.write(f"set/w-{number}.h5", molecule)
    return tmp_path


def test_a_folder_is_its_files_by_number(folder: Path) -> None:
    expected = ("set/w-1.h5", "set/w-9.h5", "set/w-10.h5")
    assert data_names(["set"]) == expected
    assert data_names(["set/*.h5"]) == expected
    assert data_names(["**/w-?.h5", "set/w-9.h5"]) == expected[:2]
    assert data_names(["set/w-9.h5", "set"]) == ("set/w-9.h5", "set/w-1.h5", "set/w-10.h5")


def test_what_is_there_is_no_pattern(folder: Path) -> None:
    ns.write("set/a[1].h5", molecules(1)[0])
    assert data_names(["set/a[1].h5"]) == ("set/a[1].h5",)
    assert "set/a[1].h5" in data_names(["set/*"])


def test_nothing_matches(folder: Path) -> None:
    with pytest.raises(FormatError, match="expected files that this pattern matches, got none"):
        data_names(["set/x*.h5"])
    assert data_names(["not there.h5"]) == ("not there.h5",)
    with pytest.raises(FormatError, match="no such file"):
        read_named("not there.h5")


def test_rows_of_a_database(folder: Path) -> None:
    rows = [raw(arrays_of(water())) for _ in range(3)]
    write(Path("water.db"), *rows)
    assert data_names(["water.db"]) == ("water.db@0", "water.db@1", "water.db@2")
    assert read_named("water.db@2").structure.formula == "H2O"
    assert read_named("water.db@2").provenance["entries"] == "row 2 of 3"
    with pytest.raises(FormatError):
        read_named("water.db@3")
