"""Numbers on their way into an HDF5 dataset: as they are, or packed in threads as its filters shuffle and gzip do.

HDF5 packs one chunk after another on one core, and looks for repeated strings, which matrix elements do not have.
zlib's strategy RLE sees only repeated bytes: those of exponents, signs and zeros, once `shuffle` has put like bytes of
the numbers side by side. It is twice as fast, leaves less, and what it writes is read by any HDF5 library.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import h5py
import numpy as np

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
