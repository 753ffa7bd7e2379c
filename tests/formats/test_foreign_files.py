"""The boundary: pipes, bombs, loops and wrong types of every kind of file end in an error that names the file."""

from __future__ import annotations

import os
import sqlite3
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nearsight.configuration import Shipped, apply_overrides, read_tree
from nearsight.errors import CheckpointError, ConfigError, FormatError, InputError, NearsightError
from nearsight.foreign_files import read_text, reading
from nearsight.formats.cp2k_basis import read_basis_file
from nearsight.formats.cp2k_wavefunction import read_wavefunction
from nearsight.formats.npz_file import read_arrays, read_bare
from nearsight.formats.registry import read_any
from nearsight.formats.structure_files import read_structure
from nearsight.learning.config import load_config
from nearsight.nn.loading import load_model
from nearsight.operators.store import is_store, read_calculation
from nearsight.recipes.campaign import load_campaign
from tests.fuzz.seeds import write_seeds

CAMPAIGNS = Shipped("nearsight.recipes", "campaigns", "campaigns")
READERS: list[Callable[[Path], Any]] = [
    read_any,
    read_structure,
    read_calculation,
    load_model,
    load_config,
    load_campaign,
    read_wavefunction,
    lambda path: read_basis_file(path, "SZV-MOLOPT-SR-GTH"),
]
NAMES = ["p.xyz", "p.h5", "p.npz", "p.db", "p.inp", "p.safetensors", "p.yaml", "p.wfn", "p.cif", "H.csr", "p"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.timeout(120)
def test_pipes_devices_and_folders_are_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).mkdir()
    for path in (tmp_path / name, Path("/dev/null"), Path("/dev/zero"), tmp_path / "folder" / name):
        assert not is_store(path)
        for read in READERS:
            with pytest.raises(NearsightError, match=rf"{path}|{path.parent}"):
                read(path)


@pytest.mark.parametrize("error", [MemoryError, RecursionError, TypeError, IndexError, OverflowError, UnicodeError])
def test_whatever_is_raised_names_the_file(error: type[Exception]) -> None:
    with pytest.raises(FormatError, match=r"a\.h5: expected a calculation"), reading("a.h5", "a calculation"):
        raise error("odd\nsecond line")
    with pytest.raises(InputError, match=r"^a\.h5: expected something"), reading("a.h5", "a calculation"):
        raise InputError("expected something")


def test_archives_that_unpack_to_more_than_they_hold(tmp_path: Path) -> None:
    """An array of zeros that is not looked at, and one that is."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, numbers=np.array([1.0]), unused=np.zeros(60_000_000))
    tracemalloc.start()
    assert read_arrays(path, {"numbers": ("float", 1)})["numbers"] == [1.0]
    with pytest.raises(FormatError, match="arrays that fit their file"):
        read_arrays(path, {"unused": ("float", 1)})
    assert tracemalloc.get_traced_memory()[1] < 3e7
    tracemalloc.stop()


@pytest.mark.parametrize(
    "shape", ["(1000000000000,)", "(-1,)", "(2, 2, 2, 2)", "()", "(1,", "__import__('os')", "(" * 300]
)
def test_headers_that_declare_what_is_not_there(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    with pytest.raises(FormatError, match=r"a\.npy: expected"):
        read_bare(tmp_path / "a.npy", "float", (1, 2))
    with pytest.raises(FormatError, match=r"a\.npz: expected"):
        read_arrays(tmp_path / "a.npz", {"x": ("float", (1, 2))})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("energy_ha", np.array(np.nan)),
        ("energy_ha", np.array(["low"])),
        ("energy_ha", np.zeros(2)),
        ("mo_eig_ha", np.array([0.0, np.nan])),
        ("mo_eig_ha", np.zeros(500)),
        ("mo_eig_ha", np.zeros((2, 2))),
        ("numbers", np.array([72, 8, 2**62])),
        ("positions_ang", np.zeros((3, 3))),
        ("positions_ang", np.zeros((3, 3), dtype=complex)),
        ("cell_ang", np.zeros((3, 3))),
        ("norb", np.array([1, 2])),
        ("norb", np.array(["a"])),
        ("H_row", np.array([2**33])),
        ("H_row", np.array([0.5])),
        ("H_val", np.array([1e300])),
        ("S_col", np.array([[1]])),
    ],
)
def test_arrays_of_other_types_shapes_and_numbers(tmp_path: Path, key: str, value: np.ndarray) -> None:
    write_seeds(tmp_path)
    with np.load(tmp_path / "calc.npz") as archive:
        arrays = dict(archive)
    np.savez(tmp_path / "bad.npz", **(arrays | {key: value}))
    with pytest.raises(FormatError, match=r"bad\.npz: "):
        read_any(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghi", "bcdefghij")),
        "a: &a [*a]",
        "[" * 5000,
        "a: " + "{a: " * 60 + "1" + "}" * 60,
        "data: 1\ndata: 2",
        "a: 2001-99-99",
        "a: " + "9" * 5000,
        "a: !!python/object/apply:os.system [ls]",
        "\x00",
    ],
)
def test_yaml_that_is_more_than_it_looks(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.yaml: expected"):
        read_tree(tmp_path / "a.yaml", CAMPAIGNS)
    with pytest.raises(ConfigError, match=r"a\.yaml: "):
        load_config(tmp_path / "a.yaml")


def test_aliases_that_repeat_little_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n")
    assert read_tree(tmp_path / "a.yaml", CAMPAIGNS) == {"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 1, "e": 2}}
    with pytest.raises(ConfigError, match="expected a YAML value after a="):
        apply_overrides({}, ["a=" + "[" * 5000])


@pytest.mark.parametrize(
    "schema",
    [
        "CREATE VIEW data AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
        "SELECT x AS id, x AS N, x AS Z, x AS pos, x AS Ham FROM c",
        "CREATE TABLE data (id INTEGER, N INTEGER, Z BLOB, pos BLOB, Ham BLOB AS (zeroblob(2000000000)))",
        "CREATE VIRTUAL TABLE data USING fts5(id, N, Z, pos, Ham)",
    ],
)
@pytest.mark.timeout(120)
def test_databases_that_compute(tmp_path: Path, schema: str) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute(schema)
        connection.commit()
    with pytest.raises(FormatError, match=r"a\.db: "):
        read_any(tmp_path / "a.db")


@pytest.mark.parametrize("text", ["", "1", "3\n", "1\n\n²\n", "²\n\nH 0 0 0\n", "1\nx\n9223372036854775808 0 0 0\n"])
def test_short_and_odd_xyz(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.xyz").write_text(text, encoding="utf-8")
    for isolated in (False, True):
        with pytest.raises(FormatError, match=r"a\.xyz: "):
            read_structure(tmp_path / "a.xyz", isolated=isolated)


def test_texts_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("x" * 2_000_000)
    (tmp_path / "binary").write_bytes(b"a\x00b")
    for name in ("long", "binary", "none"):
        with pytest.raises(FormatError, match=f"{name}: expected a text"):
            read_text(tmp_path / name, "a text")
    with pytest.raises(FormatError, match="at most 0 MB"):
        read_text(tmp_path / "long", "a text", largest=1000)


@pytest.mark.parametrize(
    "entry", ["Hf A\n 1\n 1 0 0 1 99999999999\n 1.0 1.0\n", "Hf A\n 99999999999\n 1 0 0 -1 1\n", "Hf A\n 1\n 1 9 2 1\n"]
)
def test_basis_files_with_huge_counts(tmp_path: Path, entry: str) -> None:
    (tmp_path / "BASIS").write_text(entry)
    with pytest.raises(FormatError, match="BASIS: expected a set"):
        read_basis_file(tmp_path / "BASIS", "A")


def test_models_that_ask_for_more_than_they_hold(tmp_path: Path) -> None:
    import json

    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    source = Path(__file__).parents[1] / "data" / "version_0_1_0" / "xia2025" / "best.safetensors"
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    tensors, bad = load_file(source), tmp_path / "bad.safetensors"
    for changes in ({"channels": 4096}, {"layers": 64, "channels": 2048}, {"layers": 10**9}, {"feed_forward": 65536}):
        model = json.dumps({**json.loads(metadata["model"]), **changes})
        save_file(tensors, bad, {**metadata, "model": model})
        with pytest.raises(CheckpointError, match=r"bad\.safetensors: expected"):
            load_model(bad)
    for key, text in (("model", "[" * 10_000), ("model", "[]"), ("basis", "{}"), ("basis", "null"), ("model", '"x"')):
        save_file(tensors, bad, {**metadata, key: text})
        with pytest.raises(CheckpointError, match=r"bad\.safetensors: "):
            load_model(bad)
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] * float("nan")}, bad, metadata)
    with pytest.raises(CheckpointError, match="finite"):
        load_model(bad)
