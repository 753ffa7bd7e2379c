"""A store under construction: complete at the end, or nothing has changed."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import FormatError, InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import copy_operator, describe, operator_basis, read_calculation, write_calculation
from nearsight.operators.store_writer import Compression, OperatorStream, StoreWriter
from nearsight.operators.symmetry import in_half
from nearsight.structures.graph import build_graph
from tests.random_cases import HFO2_SZV, random_hfo2, random_operator


@pytest.fixture
def head(hfo2, basis) -> Calculation:
    """Everything but the matrices."""
    return Calculation(hfo2, basis, cutoff=4.0, provenance={"model": "made up"})


def half_of(operator: BlockOperator) -> BlockOperator:
    return operator.select(in_half(operator.source, operator.target, operator.shift))


def begin(writer: StoreWriter, half: BlockOperator) -> OperatorStream:
    return writer.begin("hamiltonian", half.basis, half.source, half.target, half.shift, half=True)


def assert_equal(first: BlockOperator | None, second: BlockOperator) -> None:
    assert first is not None
    for name in ("source", "target", "shift", "values"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("step", [7, 10_000, 10**9])
def test_blocks_appended_in_any_steps_are_the_file_written_at_once(
    tmp_path: Path, head: Calculation, hamiltonian: BlockOperator, compression: Compression, step: int
) -> None:
    half = half_of(hamiltonian)
    with StoreWriter(tmp_path / "a.h5", head, compression=compression) as writer:
        stream = begin(writer, half)
        for first in range(0, len(half.values), step):
            stream.append(half.values[first : first + step])
    assert_equal(read_calculation(tmp_path / "a.h5").hamiltonian, hamiltonian)
    at_once = Calculation(head.structure, head.basis, hamiltonian, cutoff=4.0, provenance=head.provenance)
    write_calculation(tmp_path / "b.h5", at_once, compression=compression)
    assert describe(tmp_path / "a.h5") == describe(tmp_path / "b.h5")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.h5", "b.h5"]


@pytest.mark.parametrize(("missing", "got"), [(1, "fewer"), (-1, "more")])
def test_a_wrong_number_of_blocks(
    tmp_path: Path, head: Calculation, hamiltonian: BlockOperator, missing: int, got: str
) -> None:
    half = half_of(hamiltonian)
    values = half.values[:-1] if got == "fewer" else np.append(half.values, 0.0)
    with (
        pytest.raises(InputError, match=f"expected {len(half.values)} numbers .* got {len(half.values) - missing}"),
        StoreWriter(tmp_path / "a.h5", head) as writer,
    ):
        begin(writer, half).append(values)
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_are_not_finite(tmp_path: Path, head: Calculation, hamiltonian: BlockOperator) -> None:
    half = half_of(hamiltonian)
    half.values[5] = np.nan
    message = "expected finite numbers in hamiltonian, got 1 that"
    with pytest.raises(InputError, match=message), StoreWriter(tmp_path / "a.h5", head) as writer:
        begin(writer, half).append(half.values)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_disk_that_is_full_at_any_moment(
    tmp_path: Path,
    head: Calculation,
    hamiltonian: BlockOperator,
    compression: Compression,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HDF5 itself would not survive this: it crashes when the file is closed."""
    path, half = tmp_path / "a.h5", half_of(hamiltonian)
    write_calculation(path, head)
    before, write = path.read_bytes(), os.pwrite

    def attempt(budget: int) -> None:
        left = [budget]

        def limited(handle: int, data: bytes, offset: int) -> int:
            if len(data) > left[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            left[0] -= len(data)
            return write(handle, data, offset)

        with monkeypatch.context() as patch:
            patch.setattr("os.pwrite", limited)
            with StoreWriter(path, head, compression=compression) as writer:
                stream = begin(writer, half)
                for part in np.array_split(half.values, 9):
                    stream.append(part)

    failed = 0
    for budget in [*range(0, 5000, 500), *range(5000, 400_000, 8000)]:
        with contextlib.suppress(InputError):
            attempt(budget)
            break
        failed += 1
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert failed > 20
    assert_equal(read_calculation(path).hamiltonian, hamiltonian)
    with pytest.raises(InputError, match=r"expected to write at least .* MB to .*a\.h5, got: No space left"):
        attempt(10_000)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_what_is_interrupted_leaves_nothing(
    tmp_path: Path, head: Calculation, hamiltonian: BlockOperator, interruption: type[BaseException]
) -> None:
    path, half = tmp_path / "a.h5", half_of(hamiltonian)
    write_calculation(path, head)
    before = path.read_bytes()

    def write() -> None:
        with StoreWriter(path, head) as writer:
            stream = begin(writer, half)
            stream.append(half.values[:1000])
            raise interruption

    with pytest.raises(interruption):
        write()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_an_interruption_inside_a_write(
    tmp_path: Path, head: Calculation, hamiltonian: BlockOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> int:
        raise KeyboardInterrupt

    def write() -> None:
        with StoreWriter(tmp_path / "a.h5", head, compression="none") as writer:
            stream = begin(writer, half_of(hamiltonian))
            monkeypatch.setattr("os.pwrite", interrupted)
            stream.append(half_of(hamiltonian).values)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


def test_numbers_that_do_not_compress_are_copied(tmp_path: Path, rng: np.random.Generator) -> None:
    """Packed chunks grow, which HDF5's copy of an object does not survive."""
    structure = random_hfo2(16, rng)
    operator = random_operator(structure, build_graph(structure, 5.0), HFO2_SZV, rng)
    signs, powers = rng.choice([-1.0, 1.0], operator.n_values), rng.integers(-1000, 15, operator.n_values)
    noise = operator.with_values(signs * rng.uniform(1, 2, operator.n_values) * 2.0**powers)
    assert noise.n_values > 2 * 32768
    head = Calculation(structure, HFO2_SZV)
    write_calculation(tmp_path / "a.h5", Calculation(structure, HFO2_SZV, None, noise))
    with StoreWriter(tmp_path / "b.h5", head) as writer:
        copy_operator(tmp_path / "a.h5", "overlap", writer)
    assert_equal(read_calculation(tmp_path / "b.h5").overlap, noise)


def test_an_operator_is_copied_as_it_is(tmp_path: Path, head: Calculation, hamiltonian: BlockOperator) -> None:
    source, copy = tmp_path / "a.h5", tmp_path / "b.h5"
    write_calculation(source, Calculation(head.structure, head.basis, None, hamiltonian), precision="float32")
    assert operator_basis(source, "overlap") == head.basis
    assert operator_basis(source, "hamiltonian") is None
    with StoreWriter(copy, head) as writer:
        copy_operator(source, "overlap", writer)
    overlap = read_calculation(source).overlap
    assert overlap is not None
    assert_equal(read_calculation(copy).overlap, overlap)
    assert describe(copy)["overlap"] == describe(source)["overlap"]
    with (
        pytest.raises(FormatError, match="expected hamiltonian in the file, got a file without one"),
        StoreWriter(copy, head) as writer,
    ):
        copy_operator(source, "hamiltonian", writer)
    assert_equal(read_calculation(copy).overlap, overlap)


def test_copying_a_store_over_itself(tmp_path: Path, head: Calculation, hamiltonian: BlockOperator) -> None:
    path = tmp_path / "a.h5"
    write_calculation(path, Calculation(head.structure, head.basis, None, hamiltonian))
    with StoreWriter(path, head) as writer:
        copy_operator(path, "overlap", writer)
    assert_equal(read_calculation(path).overlap, hamiltonian)


def test_unknown_settings(tmp_path: Path, head: Calculation) -> None:
    with pytest.raises(InputError, match="expected compression none, gzip, got 'zip'"):
        StoreWriter(tmp_path / "a.h5", head, compression="zip")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected an existing folder"):
        StoreWriter(tmp_path / "nowhere" / "a.h5", head)
    assert list(tmp_path.iterdir()) == []
