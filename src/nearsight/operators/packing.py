"""Numbers on their way into an HDF5 dataset: as they are, or packed in threads as its filters shuffle and gzip do.

HDF5 packs one chunk after another on one core, and looks for repeated strings, which matrix elements do not have.
zlib's strategy RLE sees only repeated bytes: those of exponents, signs and zeros, once `shuffle` has put like bytes of
the numbers side by side. It is twice as fast, its result is smaller, and any HDF5 library reads what it writes.
"""

from __future__ import annotations

import os
import zlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import h5py
import numpy as np

_ROW = 256
"""Words whose weighted sum fits into 32 bits."""
THREADS = min(4, os.cpu_count() or 1)


class Sink(Protocol):
    """Takes the numbers of a one-dimensional dataset one after another."""

    def append(self, numbers: np.ndarray) -> None:
        """Take the next numbers."""

    def finish(self) -> None:
        """End the dataset; no more numbers will come."""


class PlainSink:
    """Writes numbers as they come.

    Parameters
    ----------
    dataset : h5py.Dataset
        One-dimensional.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset, self.done = dataset, 0

    def append(self, numbers: np.ndarray) -> None:
        """Write the next numbers."""
        self.dataset[self.done : self.done + len(numbers)] = numbers
        self.done += len(numbers)

    def finish(self) -> None:
        """Do nothing, for nothing is held back."""


class PackedSink:
    """Packs whole chunks in threads and writes them in order.

    Parameters
    ----------
    dataset : h5py.Dataset
        One-dimensional and chunked, with the filters shuffle and gzip, and maybe Fletcher32.
    """

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset, self.size, self.checked = dataset, dataset.chunks[0], dataset.fletcher32
        self.rest = np.empty(0, dtype=dataset.dtype)
        self.place = 0
        self.waiting: deque[Future[bytes]] = deque()
        self.threads = ThreadPoolExecutor(THREADS)

    def append(self, numbers: np.ndarray) -> None:
        """Take the next numbers, and submit the chunks that they fill."""
        numbers = np.concatenate([self.rest, numbers.astype(self.dataset.dtype, copy=False)])
        whole = len(numbers) - len(numbers) % self.size
        for first in range(0, whole, self.size):
            self._submit(numbers[first : first + self.size])
        self.rest = numbers[whole:].copy()

    def finish(self) -> None:
        """Write the chunks that are still being packed, and the last one, padded with zeros."""
        if len(self.rest):
            self._submit(np.pad(self.rest, (0, self.size - len(self.rest))))
        while self.waiting:
            self._write_one()
        self.threads.shutdown()

    def _submit(self, chunk: np.ndarray) -> None:
        self.waiting.append(self.threads.submit(pack, chunk, self.checked))
        if len(self.waiting) > 4 * THREADS:
            self._write_one()

    def _write_one(self) -> None:
        self.dataset.id.write_direct_chunk((self.place,), self.waiting.popleft().result())
        self.place += self.size


def pack(chunk: np.ndarray, checked: bool = False) -> bytes:
    """Pack a chunk as HDF5's filters shuffle and gzip store it.

    Parameters
    ----------
    chunk : (c,) array
        The numbers of a whole chunk.
    checked : bool, default False
        Whether the filter Fletcher32 comes after them, by which HDF5 finds damage when it reads the chunk.

    Returns
    -------
    bytes
        What `h5py.Dataset.id.write_direct_chunk` takes.
    """
    shuffled = chunk.view(np.uint8).reshape(len(chunk), -1).T.tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_RLE)
    packed = packer.compress(shuffled) + packer.flush()
    return packed + fletcher32(packed).to_bytes(4, "little") if checked else packed


def fletcher32(data: bytes) -> int:
    """Return HDF5's checksum of some bytes.

    Parameters
    ----------
    data : bytes
        At most 1 GB, for the sums to be exact.

    Returns
    -------
    int
        Σ w and Σ (n − i) w of the n big-endian words of 16 bits, each modulo 65535, in the low and the high half.
    """
    words = np.frombuffer(data, ">u2", count=len(data) // 2)
    padded = np.zeros(len(words) + -len(words) % _ROW, dtype=np.uint32)
    padded[len(padded) - len(words) :] = words
    rows = padded.reshape(-1, _ROW)
    sums = rows.sum(axis=1, dtype=np.uint64)
    inner = int((rows * np.arange(_ROW, 0, -1, dtype=np.uint32)).sum(dtype=np.uint64))
    first, second = int(sums.sum()), inner + _ROW * int(sums @ np.arange(len(sums) - 1, -1, -1, dtype=np.uint64))
    if len(data) % 2:
        first += data[-1] << 8
        second += first
    first, second = ((total % 65535 or 65535) if total else 0 for total in (first, second))
    return (second << 16) | first
