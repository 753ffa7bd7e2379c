"""Writing a store: matrices go to the file block by block, and the file takes its place when it is complete."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import h5py
import numpy as np

from nearsight.atomic_files import Replacement
from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator, is_on_site
from nearsight.operators.calculation import Calculation
from nearsight.operators.hdf5_content import HASH, content_hash
from nearsight.operators.packing import PackedSink, PlainSink, Sink
from nearsight.operators.store_head import UNIT_OF, VERSION, OperatorName, write_head
from nearsight.operators.symmetry import in_half, is_exactly_hermitian
from nearsight.orbitals.basis import BasisSet
from nearsight.output_path import STORE, check_output

CHUNK = 1 << 15
"""Numbers per HDF5 chunk: the rows of a few atoms, so that reading some atoms' rows touches little else."""

Precision = Literal["float32", "float64"]
Compression = Literal["none", "gzip"]
FILTERS: dict[Compression, dict[str, Any]] = {
    "none": {"fletcher32": True},
    "gzip": {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True},
}
"""How chunks are packed, with a checksum each.

Numbers of a DFT code shrink to less than half, those of a network by a tenth.
"""

_NUMBERS = 1 << 20
"""Numbers copied at once."""


class StoreWriter:
    """A store under construction, used in a `with` block, at whose end the file is complete, or nothing has changed.

    Parameters
    ----------
    path : str or pathlib.Path
        The file. An old one is replaced only by a complete new one.
    head : Calculation
        Everything but the matrices; those in it are not written.
    precision : {"float64", "float32"}
        Number type of the matrices; all else is kept in float64.
    compression : {"gzip", "none"}
        Whether the matrices are packed.
    version : int
        Version of the file.
    begin : callable, optional
        Writes what the file begins with; by default the head.

    Raises
    ------
    InputError
        If precision or compression is not known; or, here and in every method, if the file cannot be written (no such
        folder, a full disk).
    """

    def __init__(
        self,
        path: str | Path,
        head: Calculation,
        *,
        precision: Precision = "float64",
        compression: Compression = "gzip",
        version: int = VERSION,
        begin: Callable[[h5py.File], None] | None = None,
    ) -> None:
        if precision not in ("float32", "float64"):
            raise InputError(f"expected precision float32 or float64, got {precision!r}")
        if compression not in FILTERS:
            raise InputError(f"expected compression {', '.join(FILTERS)}, got {compression!r}")
        self._numbers, self._dtype, self._filters = head.structure.numbers, np.dtype(precision), FILTERS[compression]
        self._streams: list[OperatorStream] = []
        check_output(path, kind=STORE)
        self._replacement = Replacement(Path(path))
        try:
            with self.guarded():
                self._file = h5py.File(self._replacement, "w")
                if begin is None:
                    write_head(self._file, head, version)
                else:
                    begin(self._file)
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for stream in self._streams:
                    stream.finish()
                with self.guarded():
                    self._file.attrs[HASH] = content_hash(self._file, tuple(UNIT_OF))
                    self._file.close()
                self._replacement.commit()
        except BaseException:
            self._abandon()
            raise
        if error is not None:
            self._abandon()

    def begin(
        self,
        which: OperatorName,
        basis: BasisSet,
        source: np.ndarray,
        target: np.ndarray,
        shift: np.ndarray,
        *,
        half: bool,
        folded: bool = False,
    ) -> OperatorStream:
        """Begin a matrix whose blocks are still to come.

        Parameters
        ----------
        which : {"hamiltonian", "overlap", "h0"}
            The matrix.
        basis : BasisSet
            Orbitals of its elements.
        source, target : (P,) array of int
            The atoms of each pair, sorted by (i, j, R); with `half` only the pairs of `in_half`.
        shift : (P, 3) array of int
            The cell of the second atom.
        half : bool
            Whether the operator is Hermitian to the last bit, and what is not given is the transpose of what is.
        folded : bool, default False
            Whether images are summed.

        Returns
        -------
        OperatorStream
            Takes the blocks.
        """
        sizes = basis.sizes(self._numbers)
        n_values = int(np.sum(sizes[source] * sizes[target]))
        doubled = int(len(source) - is_on_site(source, target, shift).sum()) if half else 0
        with self.guarded():
            group = self._file.create_group(which)
            group.attrs.update(
                {
                    "unit": UNIT_OF[which],
                    "folded": folded,
                    "storage": "half" if half else "whole",
                    "n_pairs": len(source) + doubled,
                    "n_orbitals": int(basis.offsets(self._numbers)[-1]),
                    "elements": np.array(list(basis.shells), dtype=np.int64),
                }
            )
            for name, column in (("source", source), ("target", target), ("shift", shift)):
                self._dataset(group, name, column.shape, np.dtype(np.int32))[...] = column.astype(np.int32)
            values = self._dataset(group, "values", (n_values,), self._dtype)
            group.attrs[HASH] = content_hash(group)
        sink: Sink = PackedSink(values) if "compression" in self._filters and n_values else PlainSink(values)
        self._streams.append(OperatorStream(self, which, n_values, sink))
        return self._streams[-1]

    def write(self, which: OperatorName, operator: BlockOperator) -> None:
        """Write a whole operator, as half where it is Hermitian to the last bit.

        Parameters
        ----------
        which : {"hamiltonian", "overlap", "h0"}
            The matrix.
        operator : BlockOperator
            Its blocks.
        """
        half = is_exactly_hermitian(operator)
        kept = np.arange(operator.n_pairs)
        if half:
            kept = np.flatnonzero(in_half(operator.source, operator.target, operator.shift))
        stream = self.begin(
            which,
            operator.basis,
            operator.source[kept],
            operator.target[kept],
            operator.shift[kept],
            half=half,
            folded=operator.folded,
        )
        ends = np.cumsum(np.diff(operator.offsets)[kept])
        first = 0
        while first < len(kept):
            done = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + _NUMBERS, side="right")))
            stream.append(operator.values[operator.flat_index(kept[first:last])])
            first = last

    def annotate(self, name: str, values: np.ndarray, unit: str, meaning: str) -> None:
        """Write a dataset beside the matrices, with its unit and meaning in words.

        Parameters
        ----------
        name : str
            Name of the dataset.
        values : array
            Its numbers.
        unit, meaning : str
            Its attributes.
        """
        with self.guarded():
            dataset = self._dataset(self._file, name, values.shape, values.dtype)
            dataset[...] = values
            dataset.attrs.update({"unit": unit, "meaning": meaning})

    def table(self, name: str, attributes: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> None:
        """Write a group of attributes and datasets, with the hash of both.

        Parameters
        ----------
        name : str
            Name of the group.
        attributes : mapping of str to Any
            Texts, numbers, or lists of numbers.
        columns : mapping of str to array
            Datasets by name.
        """
        with self.guarded():
            group = self._file.create_group(name)
            group.attrs.update(attributes)
            for key, values in columns.items():
                self._dataset(group, key, values.shape, values.dtype)[...] = values
            group.attrs[HASH] = content_hash(group)

    def say(self, attributes: Mapping[str, Any]) -> None:
        """Write attributes of the file: texts, numbers, or lists of numbers."""
        with self.guarded():
            self._file.attrs.update(attributes)

    def copy(self, which: OperatorName, stored: h5py.Group) -> None:
        """Copy an operator of another store on the same atoms, number by number.

        HDF5's own copy of an object may write beyond its memory where a compressed chunk is longer than the one before
        (seen in 2.0.0: `malloc(): unsorted double linked list corrupted`).

        Parameters
        ----------
        which : {"hamiltonian", "overlap", "h0"}
            The matrix.
        stored : h5py.Group
            Its group in the other store.

        Raises
        ------
        InputError
            If it holds numbers that are not finite.
        """
        values = stored["values"]
        for start in range(0, len(values), _NUMBERS):
            check_finite(which, values[start : start + _NUMBERS])
        with self.guarded():
            group = self._file.create_group(which)
            group.attrs.update(stored.attrs)
            for name, source in stored.items():
                target = self._dataset(group, name, source.shape, source.dtype)
                target.attrs.update(source.attrs)
                for start in range(0, len(source), _NUMBERS):
                    target[start : start + _NUMBERS] = source[start : start + _NUMBERS]
            group.attrs[HASH] = content_hash(group)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Run what HDF5 does inside the `with` block, and raise a write that failed as an InputError."""
        try:
            yield
        except Exception:
            self._replacement.check()
            raise
        self._replacement.check()

    def _dataset(self, group: h5py.Group, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> h5py.Dataset:
        if not shape[0]:
            return group.create_dataset(name, shape, dtype)
        rows = min(CHUNK, shape[0])
        return group.create_dataset(name, shape, dtype, chunks=(rows, *shape[1:]), **self._filters)

    def _abandon(self) -> None:
        self._replacement.give_up()
        if hasattr(self, "_file"):
            with contextlib.suppress(Exception):
                self._file.close()
        self._replacement.discard()


class OperatorStream:
    """The blocks of one operator on their way to the file, in the order of its pairs; made by `StoreWriter.begin`."""

    def __init__(self, writer: StoreWriter, which: OperatorName, n_values: int, sink: Sink) -> None:
        self._writer, self._which, self._n_values, self._sink, self._done = writer, which, n_values, sink, 0

    def append(self, values: np.ndarray) -> None:
        """Write the next blocks.

        Parameters
        ----------
        values : (m,) array of float
            One or more blocks, each row-major.

        Raises
        ------
        InputError
            If a number is not finite, there are more than the pairs have, or the file cannot be written.
        """
        check_finite(self._which, values)
        self._done += len(values)
        if self._done > self._n_values:
            raise self._miscounted()
        with self._writer.guarded():
            self._sink.append(values)

    def finish(self) -> None:
        """End the operator; no more blocks will come.

        Raises
        ------
        InputError
            If blocks are missing, or the file cannot be written.
        """
        if self._done != self._n_values:
            raise self._miscounted()
        with self._writer.guarded():
            self._sink.finish()

    def _miscounted(self) -> InputError:
        return InputError(f"expected {self._n_values} numbers in the blocks of {self._which}, got {self._done}")


def check_finite(which: OperatorName, values: np.ndarray) -> None:
    """Check that all numbers are finite.

    Parameters
    ----------
    which : {"hamiltonian", "overlap", "h0"}
        The matrix, for the message.
    values : (m,) array of float
        Its numbers.

    Raises
    ------
    InputError
        If some are NaN or infinite.
    """
    bad = len(values) - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InputError(f"expected finite numbers in {which}, got {bad} that are NaN or infinite")
