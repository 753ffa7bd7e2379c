"""The store: the same numbers come back, in part too, and a failed write harms nothing."""

from __future__ import annotations

import dataclasses
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nearsight.errors import FormatError, InputError
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import (
    copy_operator,
    describe,
    is_store,
    read_blocks,
    read_calculation,
    write_calculation,
)
from nearsight.operators.store_writer import Compression, StoreWriter
from nearsight.operators.symmetry import hermitian_part
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.structure import Structure
from tests.learning.random_calculation import random_calculation
from tests.random_cases import operators


@pytest.fixture
def calculation(hfo2: Structure, basis: BasisSet, hamiltonian: BlockOperator) -> Calculation:
    """A Hermitian H resolved in R, an S that is not Hermitian, and everything else filled."""
    overlap = hamiltonian.with_values(np.random.default_rng(3).normal(size=hamiltonian.n_values))
    return Calculation(
        hfo2,
        basis,
        hamiltonian,
        overlap,
        4.0,
        -123.456789012345,
        0.1,
        np.linspace(-5, 5, 7),
        {"code": "made up", "source": "σ"},
    )


def assert_same(first: BlockOperator | None, second: BlockOperator | None) -> None:
    assert first is not None
    assert second is not None
    assert first.basis == second.basis
    assert first.folded == second.folded
    for name in ("numbers", "source", "target", "shift"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.values.dtype == second.values.dtype
    assert first.values.tobytes() == second.values.tobytes()


def rows_of(operator: BlockOperator, atoms: np.ndarray) -> BlockOperator:
    return operator.select(np.isin(operator.source, atoms))


@pytest.mark.exact
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_round_trip_is_exact_to_the_last_bit(
    tmp_path: Path, calculation: Calculation, compression: Compression
) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, calculation, compression=compression)
    again = read_calculation(path)
    assert_same(again.hamiltonian, calculation.hamiltonian)
    assert_same(again.overlap, calculation.overlap)
    for name in ("numbers", "positions", "cell", "pbc"):
        np.testing.assert_array_equal(getattr(again.structure, name), getattr(calculation.structure, name))
    assert again.basis == calculation.basis
    assert again.basis.name == calculation.basis.name
    assert dict(again.basis.valence) == dict(calculation.basis.valence)
    assert (again.cutoff, again.energy, again.fermi) == (4.0, -123.456789012345, 0.1)
    np.testing.assert_array_equal(again.eigenvalues, calculation.eigenvalues)
    assert dict(again.provenance) == dict(calculation.provenance)


def test_an_initial_hamiltonian_is_a_matrix_like_the_others(tmp_path: Path, calculation: Calculation) -> None:
    """Written, read, left unread, described and copied; a file without one reads as None."""
    h = calculation.require_hamiltonian()
    h0 = h.with_values(0.5 * h.values)
    write_calculation(tmp_path / "a.h5", dataclasses.replace(calculation, h0=h0))
    assert_same(read_calculation(tmp_path / "a.h5").h0, h0)
    assert read_calculation(tmp_path / "a.h5", h0=False).h0 is None
    said = describe(tmp_path / "a.h5")["h0"]
    assert (said["unit"], said["storage"]) == ("eV", "half")
    assert_same(read_blocks(tmp_path / "a.h5", "h0", np.array([0])), rows_of(h0, np.array([0])))
    with StoreWriter(tmp_path / "b.h5", calculation) as writer:
        copy_operator(tmp_path / "a.h5", "h0", writer)
    assert_same(read_calculation(tmp_path / "b.h5").h0, h0)
    write_calculation(tmp_path / "c.h5", calculation)
    assert read_calculation(tmp_path / "c.h5").h0 is None
    assert "h0" not in describe(tmp_path / "c.h5")


@pytest.mark.exact
def test_hermitian_operators_are_stored_as_half_and_others_whole(tmp_path: Path, calculation: Calculation) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, calculation)
    said = describe(path)
    assert said["hamiltonian"]["storage"] == "half"
    assert said["overlap"]["storage"] == "whole"
    assert calculation.hamiltonian is not None
    n_on_site = int(calculation.hamiltonian.on_site.sum())
    with h5py.File(path) as file:
        assert len(file["hamiltonian/source"]) == (calculation.hamiltonian.n_pairs + n_on_site) // 2


def test_one_flipped_bit_keeps_an_operator_whole(tmp_path: Path, calculation: Calculation) -> None:
    h = calculation.hamiltonian
    assert h is not None
    values = h.values.copy()
    place = h.offsets[int(np.argmax(h.source != h.target))]
    values[place] = np.nextafter(values[place], np.inf)
    changed = dataclasses.replace(calculation, hamiltonian=h.with_values(values))
    write_calculation(tmp_path / "a.h5", changed)
    assert describe(tmp_path / "a.h5")["hamiltonian"]["storage"] == "whole"
    assert_same(read_calculation(tmp_path / "a.h5").hamiltonian, changed.hamiltonian)


def test_folded_operators_and_missing_reverses_round_trip(tmp_path: Path, calculation: Calculation) -> None:
    h = calculation.hamiltonian
    assert h is not None
    upper = h.select(h.source <= h.target)
    write_calculation(tmp_path / "a.h5", dataclasses.replace(calculation, hamiltonian=fold(h), overlap=upper))
    again = read_calculation(tmp_path / "a.h5")
    assert_same(again.hamiltonian, fold(h))
    assert_same(again.overlap, upper)
    assert describe(tmp_path / "a.h5")["hamiltonian"]["storage"] == "half"


@given(operators(), st.data())
def test_any_operator_round_trips_whole_and_in_rows(
    tmp_path_factory: pytest.TempPathFactory, operator: BlockOperator, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("store") / "a.h5"
    n = operator.n_atoms
    structure = Structure(operator.numbers, 5.0 * np.eye(3)[np.arange(n) % 3] * np.arange(n)[:, None], np.eye(3), True)
    write_calculation(path, Calculation(structure, operator.basis, operator, fold(operator)))
    again = read_calculation(path)
    assert_same(again.hamiltonian, operator)
    assert_same(again.overlap, fold(operator))
    atoms = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1)))), dtype=np.int64)
    assert_same(read_blocks(path, "hamiltonian", atoms), rows_of(operator, atoms))


def test_an_operator_without_pairs_round_trips(tmp_path: Path, calculation: Calculation) -> None:
    h = calculation.hamiltonian
    assert h is not None
    nothing = h.select(np.zeros(h.n_pairs, dtype=bool))
    write_calculation(tmp_path / "a.h5", dataclasses.replace(calculation, hamiltonian=nothing))
    assert_same(read_calculation(tmp_path / "a.h5").hamiltonian, nothing)


def test_single_precision_rounds_the_matrices_and_nothing_else(tmp_path: Path, calculation: Calculation) -> None:
    write_calculation(tmp_path / "a.h5", calculation, precision="float32")
    again = read_calculation(tmp_path / "a.h5")
    assert calculation.hamiltonian is not None
    assert again.hamiltonian is not None
    expected = calculation.hamiltonian.values.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(again.hamiltonian.values, expected)
    np.testing.assert_array_equal(again.structure.positions, calculation.structure.positions)
    assert describe(tmp_path / "a.h5")["hamiltonian"]["dtype"] == "float32"
    with pytest.raises(InputError, match="expected precision float32 or float64, got 'float16'"):
        write_calculation(tmp_path / "a.h5", calculation, precision="float16")  # type: ignore[arg-type]


def test_what_is_not_asked_for_is_not_loaded(tmp_path: Path, calculation: Calculation) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, calculation)
    with h5py.File(path, "a") as file:
        del file["overlap"]["values"]
    again = read_calculation(path, overlap=False)
    assert again.overlap is None
    assert_same(again.hamiltonian, calculation.hamiltonian)
    with pytest.raises(FormatError, match="damaged"):
        read_calculation(path)


@pytest.mark.parametrize("which", ["hamiltonian", "overlap"])
@pytest.mark.parametrize("atoms", [[0], [5, 2, 17], list(range(24)), []])
def test_rows_of_some_atoms_equal_the_rows_of_the_whole(
    tmp_path: Path, calculation: Calculation, which: str, atoms: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nearsight.operators.store_writer.CHUNK", 128)
    write_calculation(tmp_path / "a.h5", calculation)
    chosen = np.array(atoms, dtype=np.int64)
    rows = read_blocks(tmp_path / "a.h5", which, chosen)  # type: ignore[arg-type]
    assert_same(rows, rows_of(getattr(calculation, which), chosen))


def test_rows_of_atoms_that_do_not_exist(tmp_path: Path, calculation: Calculation) -> None:
    write_calculation(tmp_path / "a.h5", dataclasses.replace(calculation, overlap=None))
    with pytest.raises(InputError, match="expected atoms 0 to 23, got 24 to 24"):
        read_blocks(tmp_path / "a.h5", "hamiltonian", np.array([24]))
    with pytest.raises(FormatError, match="expected overlap in the file, got a file without one"):
        read_blocks(tmp_path / "a.h5", "overlap", np.array([0]))


def test_the_file_describes_itself(tmp_path: Path, calculation: Calculation) -> None:
    write_calculation(tmp_path / "a.h5", calculation)
    said = describe(tmp_path / "a.h5")
    assert (said["version"], said["checksums"]) == (2, "verified")
    assert "eV" in said["units"]
    assert "m = -l..l" in said["convention"]
    assert said["formula"] == calculation.structure.formula
    assert said["cutoff"] == 4.0
    assert said["basis"] == {"name": calculation.basis.name, "shells": calculation.basis.describe()}
    assert said["provenance"] == {"code": "made up", "source": "σ"}
    assert (said["hamiltonian"]["unit"], said["overlap"]["unit"]) == ("eV", "1")


def test_files_that_are_no_store(tmp_path: Path, calculation: Calculation) -> None:
    text, foreign, newer = tmp_path / "t.h5", tmp_path / "f.h5", tmp_path / "n.h5"
    text.write_text("hello")
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    write_calculation(newer, calculation)
    with h5py.File(newer, "a") as file:
        file.attrs["version"] = 99
    assert [is_store(p) for p in (text, foreign, newer, tmp_path / "none.h5", tmp_path)] == [
        False,
        False,
        True,
        False,
        False,
    ]
    with pytest.raises(FormatError, match=r"t\.h5: expected a store .* got a file that is not HDF5"):
        read_calculation(text)
    with pytest.raises(FormatError, match="got an HDF5 file of another program"):
        read_calculation(foreign)
    with pytest.raises(FormatError, match="expected a store of version 3 or older, got version 99; update"):
        read_calculation(newer)
    with pytest.raises(FormatError, match="got no such file"):
        read_calculation(tmp_path / "none.h5")


@pytest.mark.parametrize("part", [0.2, 0.9, 0.999])
def test_a_truncated_store_says_so(tmp_path: Path, calculation: Calculation, part: float) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, calculation)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    assert is_store(path)
    with pytest.raises(FormatError, match="expected a complete store, got a damaged or truncated file"):
        read_calculation(path)


def test_a_wrong_count_of_numbers_says_so(tmp_path: Path, calculation: Calculation) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, calculation)
    with h5py.File(path, "a") as file:
        values = file["hamiltonian/values"][:-3]
        del file["hamiltonian/values"]
        file["hamiltonian/values"] = values
    with pytest.raises(FormatError, match="expected a complete store, got a damaged"):
        read_calculation(path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 64 kB; where mounting is not allowed, one where no file can exceed 32 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        if mounted.returncode != 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (32_000, limits[1]))
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if mounted.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file_as_it_was(small_disk: Path, calculation: Calculation) -> None:
    path = small_disk / "a.h5"
    small = dataclasses.replace(calculation, hamiltonian=None, overlap=None)
    write_calculation(path, small)
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"expected to write .* MB to .*a\.h5, got: (No space left|File too large)"):
        write_calculation(path, calculation, compression="none")
    assert path.read_bytes() == before
    assert [p.name for p in small_disk.iterdir()] == ["a.h5"]


def test_an_interrupted_write_leaves_the_old_file_as_it_was(
    tmp_path: Path, calculation: Calculation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, calculation)
    before = path.read_bytes()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_calculation(path, dataclasses.replace(calculation, hamiltonian=None))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_folder_that_is_not_there(tmp_path: Path, calculation: Calculation) -> None:
    with pytest.raises(InputError, match=r"expected an existing folder for .*got none at .*nowhere; make it first"):
        write_calculation(tmp_path / "nowhere" / "a.h5", calculation)


def test_k_points_and_long_texts(calculation: Calculation, tmp_path: Path) -> None:
    """An input of thousands of atoms is longer than an attribute of HDF5 can be."""
    long = dataclasses.replace(
        calculation,
        provenance={"code": "CP2K", "input": "Hf 0.0 0.0 0.0\n" * 20_000},
        k_points=np.array([[0.0, 0, 0], [0.5, 0, 0.25]]),
        k_eigenvalues=np.arange(6.0).reshape(2, 3),
    )
    write_calculation(tmp_path / "x.h5", long)
    back = read_calculation(tmp_path / "x.h5")
    assert back.provenance == long.provenance
    assert back.k_points is not None
    assert back.k_eigenvalues is not None
    np.testing.assert_array_equal(back.k_points, np.array([[0.0, 0, 0], [0.5, 0, 0.25]]))
    np.testing.assert_array_equal(back.k_eigenvalues, np.arange(6.0).reshape(2, 3))
    assert describe(tmp_path / "x.h5")["provenance"]["input"].startswith("Hf 0.0")


@pytest.mark.parametrize("hermitian", [True, False])
def test_expected_errors_come_back_for_every_block(tmp_path, hermitian):
    calculation = random_calculation()
    h = calculation.require_hamiltonian()
    h = hermitian_part(h) if hermitian else h
    estimate = np.random.default_rng(0).random(h.n_pairs)
    estimate = (estimate + estimate[h.reverse]) / 2
    write_calculation(tmp_path / "x.h5", dataclasses.replace(calculation, hamiltonian=h, error_estimate=estimate))
    np.testing.assert_allclose(read_calculation(tmp_path / "x.h5").error_estimate, estimate, rtol=1e-6)
    assert read_calculation(tmp_path / "x.h5", hamiltonian=False).error_estimate is None
    with pytest.raises(InputError, match="error estimates, one for each block"):
        dataclasses.replace(calculation, error_estimate=estimate[1:])
