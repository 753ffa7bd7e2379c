"""Numbers on their way into an HDF5 dataset: as they are, or packed in threads as its filters shuffle and gzip do.

HDF5 packs one chunk after another on one core, and looks for repeated strings, which matrix elements do not have.
zlib's strategy RLE sees only repeated bytes: those of exponents, signs and zeros, once `shuffle` has put like bytes of
the numbers side by side. It is twice as fast, leaves less, and what it writes is read by any HDF5 library.

Leaving out what is too small to matter: elements, and digits of elements.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

import h5py
import numpy as np

from nearsight.errors import InputError
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.units import HARTREE_IN_EV

THREADS = min(4, os.cpu_count() or 1)


class Sink(Protocol):
    """Takes the numbers of a one-dimensional dataset one after another."""

    def append(self, numbers: np.ndarray) -> None:
        """The next numbers."""

    def finish(self) -> None:
        """No more will come."""


class PlainSink:
    """Numbers written as they come."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset, self.done = dataset, 0

    def append(self, numbers: np.ndarray) -> None:
        """The next numbers."""
        self.dataset[self.done : self.done + len(numbers)] = numbers
        self.done += len(numbers)

    def finish(self) -> None:
        """Nothing is held back."""


class PackedSink:
    """Whole chunks, packed in threads and written in order. The dataset's filters are shuffle and gzip."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset, self.size = dataset, dataset.chunks[0]
        self.rest = np.empty(0, dtype=dataset.dtype)
        self.place = 0
        self.waiting: deque[Future[bytes]] = deque()
        self.threads = ThreadPoolExecutor(THREADS)

    def append(self, numbers: np.ndarray) -> None:
        """The next numbers."""
        numbers = np.concatenate([self.rest, numbers.astype(self.dataset.dtype, copy=False)])
        whole = len(numbers) - len(numbers) % self.size
        for first in range(0, whole, self.size):
            self._submit(numbers[first : first + self.size])
        self.rest = numbers[whole:].copy()

    def finish(self) -> None:
        """Write what is left."""
        if len(self.rest):
            self._submit(np.pad(self.rest, (0, self.size - len(self.rest))))
        while self.waiting:
            self._write_one()
        self.threads.shutdown()

    def _submit(self, chunk: np.ndarray) -> None:
        self.waiting.append(self.threads.submit(pack, chunk))
        if len(self.waiting) > 4 * THREADS:
            self._write_one()

    def _write_one(self) -> None:
        self.dataset.id.write_direct_chunk((self.place,), self.waiting.popleft().result())
        self.place += self.size


def pack(chunk: np.ndarray) -> bytes:
    """A chunk as HDF5's filters shuffle and gzip store it."""
    shuffled = chunk.view(np.uint8).reshape(len(chunk), -1).T.tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    return packer.compress(shuffled) + packer.flush()


_UNITS = {"hamiltonian": HARTREE_IN_EV, "overlap": 1.0, "h0": HARTREE_IN_EV}


def pruned(operator: BlockOperator, threshold: float) -> BlockOperator:
    """Elements with |x| < threshold (the operator's unit) become zero; blocks of zeros are dropped.

    A Hermitian operator stays Hermitian.

    Raises:
        InputError: a negative threshold.
    """
    if not threshold >= 0:
        raise InputError(f"expected a threshold of at least 0, got {threshold}")
    values = np.where(np.abs(operator.values) < threshold, 0, operator.values)
    filled = np.concatenate([[0], np.cumsum(values != 0)])
    return operator.with_values(values).select(np.diff(filled[operator.offsets]) > 0)


def rounded(operator: BlockOperator, step: float) -> BlockOperator:
    """Elements as multiples of the largest power of two that is not above `step` (the operator's unit).

    They compress to half the size; each changes by half a step at most. A Hermitian operator stays Hermitian.

    Raises:
        InputError: a step that is not positive.
    """
    if not step > 0:
        raise InputError(f"expected a positive step, got {step}")
    power = 2.0 ** np.floor(np.log2(step))
    return operator.with_values(np.round(operator.values / power) * power)


def reduced(calculation: Calculation, drop_below: float = 0.0, resolution: float | None = None) -> Calculation:
    """A calculation whose files are smaller; the provenance (`stored`) says what was done.

    Args:
        calculation: with any of H, S, H₀.
        drop_below: elements smaller than this (E_h in H and H₀, 1 in S) are left out.
        resolution: the others are rounded to this (same units); None: not.
    """
    matrices: dict[str, BlockOperator | None] = {}
    said = []
    for name, unit in _UNITS.items():
        operator: BlockOperator | None = getattr(calculation, name)
        if operator is not None and drop_below:
            operator = pruned(operator, drop_below * unit)
        if operator is not None and resolution:
            operator = rounded(operator, resolution * unit)
        matrices[name] = operator
    if drop_below:
        said.append(f"elements below {drop_below:g} E_h (H) or {drop_below:g} (S) left out")
    if resolution:
        said.append(f"numbers rounded to {resolution:g} E_h (H) or {resolution:g} (S)")
    provenance = {**calculation.provenance, **({"stored": ", ".join(said)} if said else {})}
    estimate, (old, new) = calculation.error_estimate, (calculation.hamiltonian, matrices["hamiltonian"])
    if estimate is not None and old is not None and new is not None:
        estimate = estimate[old.find(new.source, new.target, new.shift)]
    return replace(calculation, provenance=provenance, error_estimate=estimate, **matrices)  # type: ignore[arg-type]
