"""Which format is which, and what is said about sources of none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError, InputError
from nearsight.formats.registry import FORMATS, find_format, read_any
from nearsight.operators.store import write_calculation
from tests.formats.files import MHFO2


def test_a_store_is_read_as_one(tmp_path: Path) -> None:
    run = read_any(MHFO2 / "binary_upper")
    write_calculation(tmp_path / "a.h5", run)
    again = read_any(tmp_path / "a.h5")
    np.testing.assert_array_equal(again.require_hamiltonian().values, run.require_hamiltonian().values)


def test_every_format_names_itself_and_leaves_foreign_paths_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    for known in FORMATS:
        assert known.name
        assert not known.recognises(tmp_path / "a.txt")
        assert not known.recognises(tmp_path)
        assert not known.recognises(tmp_path / "none")


def test_sources_of_no_format(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(FormatError, match=r"a\.txt: expected one of .*a CP2K run.*; got another file"):
        find_format(tmp_path / "a.txt")
    with pytest.raises(FormatError, match=r"got a folder with a\.txt"):
        read_any(tmp_path)
    with pytest.raises(FormatError, match="got no such file"):
        read_any(tmp_path / "none")
    (tmp_path / "a.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(FormatError, match="got a git-lfs pointer"):
        read_any(tmp_path / "a.txt")


def test_a_cell_that_cannot_be() -> None:
    with pytest.raises(InputError, match="expected a cell with volume"):
        read_any(MHFO2 / "binary_upper", cell=[0, 0, 0])


@pytest.mark.parametrize(
    ("name", "message"),
    [("data.mdb", "LMDB"), ("x.scfout", "convert it to DeepH's folder"), ("graph_data.npz", "HamGNN")],
)
def test_what_holds_pickles_is_refused_by_name(name: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith(".npz"):
        np.savez(path, graph=np.array({0: "anything"}, dtype=object))
    else:
        path.write_bytes(b"\1" * 4096)
    with pytest.raises(FormatError, match=message):
        read_any(path)
