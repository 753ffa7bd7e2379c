"""HDF5 files with a small dataset for each block of a matrix, of which there may be hundreds of thousands.

They are walked through by HDF5's own calls, several times faster than by h5py's objects, and checked as
`hdf5_content.check_objects` does: nothing but datasets in the root, of floats, with their bytes in this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5l, h5o, h5s, h5t

from nearsight.operators.hdf5_content import Refused

_MOST = 20_000_000
_LARGEST = 1 << 22
"""Numbers of one block."""
_FLOATS: tuple[tuple[Any, np.dtype[Any]], ...] = (
    (h5t.IEEE_F64LE, np.dtype("f8")),
    (h5t.IEEE_F32LE, np.dtype("f4")),
    (h5t.IEEE_F64BE, np.dtype("f8")),
    (h5t.IEEE_F32BE, np.dtype("f4")),
)


def flat_datasets(file: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    """Read every dataset in the root of a file, and in the groups of its root.

    Parameters
    ----------
    file : h5py.File
        An open file.

    Yields
    ------
    str
        The name of a dataset, such as ``a`` or ``group/a``.
    array of float32 or float64
        Its numbers, finite.

    Raises
    ------
    Refused
        If there is anything else but datasets of floats with one or two dimensions, stored here and as large as they
        say, or a number is not finite.
    """
    yield from _datasets(file.id, "")


def _datasets(group: h5py.h5g.GroupID, before: str) -> Iterator[tuple[str, np.ndarray]]:
    count = group.get_num_objs()
    if count > _MOST:
        raise Refused(f"{count} datasets")
    links: list[tuple[bytes, int]] = []

    def see(name: bytes, link: h5l.LinkInfo) -> None:
        links.append((name, link.type))

    group.links.iterate(see, info=True)
    for raw, kind in links:
        name = before + raw.decode("utf-8", "replace")
        if kind != h5l.TYPE_HARD:
            raise Refused(f"{name!r:.80} is a soft or external link, which points elsewhere")
        item = h5o.open(group, raw)
        if isinstance(item, h5d.DatasetID):
            yield name, _read(item, name)
        elif isinstance(item, h5py.h5g.GroupID) and not before:
            yield from _datasets(item, f"{name}/")
        else:
            raise Refused(f"{name!r:.80} is neither a dataset nor a group of the root")


def _read(dataset: h5d.DatasetID, name: str) -> np.ndarray:
    shape, dtype = dataset.shape, _float_of(dataset, name)
    if shape is None or not 1 <= len(shape) <= 2 or math.prod(shape) > _LARGEST:
        raise Refused(f"{name!r:.80} has shape {shape}")
    size = math.prod(shape) * dtype.itemsize
    if dataset.get_offset() is None or dataset.get_storage_size() != size:  # else it lies in this file in one piece
        _check_storage(dataset, name, size)
    values = np.empty(shape, dtype)
    dataset.read(h5s.ALL, h5s.ALL, values)
    if not np.isfinite(values).all():
        raise Refused(f"{name!r:.80} holds numbers that are NaN or infinite")
    return values


def _float_of(dataset: h5d.DatasetID, name: str) -> np.dtype[Any]:
    stored = dataset.get_type()
    for kind, dtype in _FLOATS:
        if stored.equal(kind):
            return dtype
    raise Refused(f"{name!r:.80} holds {stored.dtype}, not real numbers")


def _check_storage(dataset: h5d.DatasetID, name: str, size: int) -> None:
    properties = dataset.get_create_plist()
    layout = properties.get_layout()
    if properties.get_external_count() or layout not in (h5d.CONTIGUOUS, h5d.CHUNKED, h5d.COMPACT):
        raise Refused(f"{name!r:.80} has its data in another file")
    if layout == h5d.CHUNKED:
        _check_chunks(properties, dataset, name)
    elif dataset.get_storage_size() != size:
        raise Refused(f"{name!r:.80} has {dataset.get_storage_size()} of {size} bytes")


def _check_chunks(properties: h5py.h5p.PropDCID, dataset: h5d.DatasetID, name: str) -> None:
    """Packed blocks are small, so that their size is no matter; but nobody's own filter is run."""
    known = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
    for k in range(properties.get_nfilters()):
        if properties.get_filter(k)[0] not in known:
            raise Refused(f"{name!r:.80} is packed by the filter {properties.get_filter(k)[3]!r:.40}, not by gzip")
    chunk = properties.get_chunk()
    expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, chunk))
    if math.prod(chunk) > _LARGEST or dataset.get_num_chunks() != expected:
        raise Refused(f"{name!r:.80} has {dataset.get_num_chunks()} of {expected} chunks of {chunk}")
