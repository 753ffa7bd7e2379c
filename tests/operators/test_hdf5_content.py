"""HDF5 of others: nothing comes from other files, nothing is allocated that is not stored, flipped bits are found."""

from __future__ import annotations

import shutil
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nearsight.errors import FormatError, NearsightError
from nearsight.formats.registry import read_any
from nearsight.operators.store import copy_operator, describe, read_calculation, write_calculation
from nearsight.operators.store_writer import Compression, StoreWriter
from tests.fuzz.audits import audit_same
from tests.fuzz.seeds import small_calculation


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """A store of version 1, without checksums, in which anything can be exchanged unseen."""
    path = tmp_path / "former.h5"
    write_calculation(path, small_calculation())
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = 1
        for item in (file, file["hamiltonian"], file["overlap"]):
            del item.attrs["sha256"]
    return path


def test_files_of_version_1_are_read_and_said_to_be_unverified(former: Path) -> None:
    audit_same(read_any(former))
    assert describe(former)["checksums"] == "none: a file of version 1"


def exchange(path: Path, name: str, value: Any, **how: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        if isinstance(value, (h5py.SoftLink, h5py.ExternalLink, h5py.HardLink)):
            file[name] = value
        else:
            file.create_dataset(name, data=value, **how)


def external(path: Path, name: str) -> None:
    (path.parent / "secret").write_bytes(bytes(range(256)) * 8)
    with h5py.File(path, "r+") as file:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, shape, dtype, external=[(str(path.parent / "secret"), 0, h5py.h5f.UNLIMITED)])


def virtual(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource("missing.h5", "x", shape)
        file.create_virtual_dataset(name, layout)


def filtered(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        del file[name]
        file.create_dataset(name, data=values, chunks=True, compression="lzf")


def declared(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        dtype, rank = file[name].dtype, len(file[name].shape)
        del file[name]
        shape = (300_000_000, 3)[:rank]
        file.create_dataset(name, shape, dtype, chunks=(1 << 15, 3)[:rank], compression="gzip")


def unwritten(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, shape, dtype)


@pytest.mark.parametrize("name", ["structure/positions", "hamiltonian/values", "hamiltonian/source", "eigenvalues"])
@pytest.mark.parametrize(
    "spoil",
    [
        external,
        virtual,
        filtered,
        declared,
        unwritten,
        lambda p, n: exchange(p, n, h5py.SoftLink("/structure/cell")),
        lambda p, n: exchange(p, n, h5py.ExternalLink("other.h5", "/x")),
    ],
)
def test_data_that_is_not_in_the_file(former: Path, spoil: Callable[[Path, str], None], name: str) -> None:
    spoil(former, name)
    tracemalloc.start()
    with pytest.raises(FormatError, match=r"former\.h5: expected a complete store"):
        read_any(former)
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()


def test_texts_of_other_files(former: Path, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = "secret"
    with h5py.File(former, "r+") as file:
        file["provenance/note"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(FormatError, match="link, which points elsewhere"):
        read_any(former)
    with pytest.raises(FormatError, match="link, which points elsewhere"):
        describe(former)


def test_objects_in_two_places_and_in_circles(former: Path) -> None:
    with h5py.File(former, "r+") as file:
        file["provenance/again"] = file["hamiltonian"]
        file["hamiltonian/up"] = file["/"]
    with pytest.raises(FormatError, match=r"linked twice|groups more than"):
        read_any(former)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("structure/numbers", np.array([8.5, 8, 72])),
        ("structure/positions", np.zeros((3, 2))),
        ("structure/positions", np.full((3, 3), np.nan)),
        ("structure/positions", np.zeros((3, 3))),
        ("structure/positions", "text"),
        ("structure/positions", np.zeros((3, 3), dtype=complex)),
        ("structure/cell", np.eye(3)[0]),
        ("structure/pbc", np.array([1, 1, 1])),
        ("basis/elements", np.array([8, 8])),
        ("basis/shells", ["0 x", "1"]),
        ("basis/shells", ["0 0 1"]),
        ("basis/valence", np.array([9, 12])),
        ("basis/valence", np.array([6, 12, 3])),
        ("eigenvalues", np.array([1.0, np.inf])),
        ("eigenvalues", np.arange(500.0)),
        ("eigenvalues", np.array([1.0, 0.0])),
        ("k_points", np.zeros((2, 2))),
        ("k_eigenvalues", np.zeros((3, 4))),
        ("hamiltonian/source", np.array([-1, 0])),
        ("hamiltonian/shift", np.zeros(5)),
        ("hamiltonian/values", np.zeros(7)),
    ],
)
def test_other_types_shapes_and_numbers(former: Path, name: str, value: Any) -> None:
    exchange(former, name, value)
    with pytest.raises(FormatError, match=r"former\.h5: "):
        read_any(former)


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("/", "energy", np.nan),
        ("/", "energy", "low"),
        ("/", "energy", np.zeros(2)),
        ("/", "cutoff", -1.0),
        ("/", "version", 0),
        ("/", "version", "1"),
        ("/", "version", 2),
        ("/", "format", 1),
        ("/hamiltonian", "storage", "quarter"),
        ("/hamiltonian", "folded", True),
        ("/hamiltonian", "folded", 2),
        ("/hamiltonian", "elements", "Hf"),
        ("/hamiltonian", "elements", np.array([1, 2, 3])),
        ("/basis", "name", "two\nlines"),
        ("/provenance", "code", 3.0),
    ],
)
def test_other_attributes(former: Path, group: str, name: str, value: Any) -> None:
    with h5py.File(former, "r+") as file:
        file[group].attrs[name] = value
    with pytest.raises(FormatError, match=r"former\.h5: "):
        read_any(former)


@pytest.mark.parametrize("change", ["unsorted", "twice", "alone", "huge", "beyond"])
def test_pairs_that_cannot_be(former: Path, change: str) -> None:
    with h5py.File(former, "r+") as file:
        group = file["overlap"]
        if change == "unsorted":
            for name in ("source", "target", "shift"):
                group[name][...] = group[name][()][::-1]
        elif change == "twice":
            for name in ("source", "target", "shift"):
                group[name][1] = group[name][0]
        elif change == "alone":
            group.attrs["storage"] = "whole"
        elif change == "huge":
            group["values"][3] = 1e300
        else:
            group["target"][0] = 3
    with pytest.raises(FormatError, match=r"former\.h5: "):
        read_any(former)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_any_flipped_bit_is_found_or_changes_nothing(tmp_path: Path, compression: Compression) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, small_calculation(), compression=compression)
    good, rng, refused = path.read_bytes(), np.random.default_rng(5), 0
    for _ in range(50):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        try:
            audit_same(read_any(path))
        except NearsightError:
            refused += 1
    assert refused > 8


@pytest.mark.parametrize("name", ["values", "source"])
def test_a_flipped_bit_in_data(tmp_path: Path, name: str) -> None:
    """In a plain file, where the data lies as it is."""
    path = tmp_path / "a.h5"
    write_calculation(path, small_calculation(), compression="none")
    with h5py.File(path) as file:
        at = file[f"hamiltonian/{name}"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[at + 9] ^= 4
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged"):
        read_calculation(path)


def test_old_matrices_get_checksums_when_they_are_copied(former: Path, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "b.h5", small_calculation()) as writer:
        copy_operator(former, "overlap", writer)
    found = read_calculation(tmp_path / "b.h5")
    assert found.overlap is not None
    np.testing.assert_array_equal(found.overlap.values, small_calculation().require_overlap().values)
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["overlap"].attrs["folded"] = True
    with pytest.raises(FormatError, match="hash"):
        read_calculation(tmp_path / "b.h5")


def test_a_file_that_hdf5_does_not_come_to_an_end_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that tries it ends by itself, and the next file is read."""
    import nearsight.operators.hdf5_probe as probe
    from nearsight import limited_process

    write_calculation(tmp_path / "a.h5", small_calculation())
    shutil.copy(tmp_path / "a.h5", tmp_path / "b.h5")
    assert probe.may_be_read(tmp_path / "a.h5") is None
    monkeypatch.setattr(limited_process, "_line", lambda process: None)
    started = time.monotonic()
    with pytest.raises(FormatError, match="HDF5 does not come to an end"):
        read_any(tmp_path / "b.h5")
    monkeypatch.undo()
    assert time.monotonic() - started < 60
    audit_same(read_any(tmp_path / "a.h5"))


def test_magnitudes_that_no_matrix_has(former: Path) -> None:
    calculation = small_calculation()
    h = calculation.require_hamiltonian()
    write_calculation(former, replace(calculation, hamiltonian=h.with_values(h.values * 1e200)))
    with pytest.raises(FormatError, match="are the units right"):
        read_any(former)


def test_what_hdf5_cannot_do_in_the_other_process_is_not_tried_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a flipped bit in a table it asks for 1.4 GB, and finds then that the address is wrong."""
    import nearsight.operators.hdf5_probe as probe

    write_calculation(tmp_path / "a.h5", small_calculation())
    monkeypatch.setattr(probe.PROCESS, "ask", lambda path, **words: "fault address of object past end of allocation")
    with pytest.raises(FormatError, match=r"a damaged or truncated file \(address of object past end of allocation\)"):
        read_any(tmp_path / "a.h5")
