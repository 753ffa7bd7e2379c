"""Content of HDF5 files that others may have made: checked before it is allocated, typed when it is read, and hashed.

HDF5 can take the data of one file from another one, run filters of anybody, and declare petabytes in a few bytes. None
of that belongs in a store, so it is refused by what the file says of itself, before any of its data is read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any, Literal

import h5py
import numpy as np

Kind = Literal["integer", "float", "bool"]

HASH = "sha256"
"""The attribute with the hash of everything that is not under HDF5's own checksums."""

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
}
_MOST_OBJECTS = 10_000
_MOST_ATTRIBUTES = 10_000
_DEEPEST = 16
_MOST_TEXT = 1 << 26
"""Bytes of one text."""
_MOST_TEXTS = 10_000
_INFLATION = 200
"""Declared bytes per stored byte of a whole file. Numbers shrink to a half, indices to a hundredth."""
_ALWAYS = 1 << 28
"""Declared bytes that any file may have."""
_LARGEST_CHUNK = 1 << 26
_KINDS: dict[np.dtype[Any], Kind] = {
    **{np.dtype(name): "integer" for name in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")},
    **{np.dtype(name): "float" for name in ("f4", "f8")},
    np.dtype("?"): "bool",
}
"""The processor's own types; HDF5 knows others, such as integers of 7 bits."""
_REFERENCE = 16
"""Bytes that HDF5 stores for a text of variable length, beside the text."""
_PIECE = 1 << 20
_SMALL = 1 << 14


class Refused(ValueError):  # noqa: N818 - what is wrong is said in its message
    """Raised for content that a store cannot have; becomes a FormatError, which names the file."""


def check_objects(file: h5py.File) -> None:
    """Check that a file holds nothing but groups and datasets of its own, and no more data than it has bytes for.

    Parameters
    ----------
    file : h5py.File
        An open file.

    Raises
    ------
    Refused
        If there are soft or external links, an object in two places, too many objects, virtual or external datasets,
        unknown filters, missing chunks, or datasets much larger than the file.
    """
    declared = 0
    seen: set[Any] = set()
    for name, item in _objects(file):
        if len(seen) >= _MOST_OBJECTS:
            raise Refused(f"more than {_MOST_OBJECTS} objects")
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise Refused(f"{name} is linked twice")
        seen.add(address)
        if item.attrs and len(item.attrs) > _MOST_ATTRIBUTES:
            raise Refused(f"{name} has {len(item.attrs)} attributes")
        if isinstance(item, h5py.Dataset):
            declared += _declared_bytes(name, item)
    if declared > _ALWAYS + _INFLATION * file.id.get_filesize():
        raise Refused(f"datasets of {declared / 1e9:.3g} GB are declared in {file.id.get_filesize() / 1e6:.3g} MB")


def look(file: h5py.File) -> None:
    """Read every attribute and small dataset of a file that `check_objects` lets through, and nothing else."""
    for item in (file, *(item for _, item in _objects(file))):
        for name in item.attrs:
            attribute(item, name)
        if isinstance(item, h5py.Dataset) and item.size <= _SMALL:
            item[()]


def _objects(group: h5py.Group, path: str = "", depth: int = 0) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    """All objects below a group, by hard links only."""
    if depth > _DEEPEST:
        raise Refused(f"groups more than {_DEEPEST} deep")
    for number, name in enumerate(group):
        if number > _MOST_OBJECTS:
            raise Refused(f"more than {_MOST_OBJECTS} objects in /{path}")
        place = f"{path}{name}"
        link = group.get(name, getlink=True)
        if not isinstance(link, h5py.HardLink):
            raise Refused(f"{place!r:.80} is a soft or external link, which points elsewhere")
        item = group[name]
        if not isinstance(item, (h5py.Group, h5py.Dataset)):
            raise Refused(f"{place!r:.80} is neither a group nor a dataset")
        yield place, item
        if isinstance(item, h5py.Group):
            yield from _objects(item, f"{place}/", depth + 1)


def _declared_bytes(name: str, dataset: h5py.Dataset) -> int:
    """Bytes that a dataset says it has, checked against those that are stored."""
    properties = dataset.id.get_create_plist()
    if dataset.is_virtual or properties.get_external_count():
        raise Refused(f"{name} has its data in another file")
    if dataset.shape is None:
        raise Refused(f"{name} is empty")
    unit = _REFERENCE if dataset.id.get_type().get_class() == h5py.h5t.VLEN or _is_vlen_text(dataset) else None
    declared = math.prod(dataset.shape) * (unit or dataset.id.get_type().get_size())
    stored = dataset.id.get_storage_size()
    if properties.get_layout() != h5py.h5d.CHUNKED:
        if declared != stored:
            raise Refused(f"{name} has {stored} of {declared} bytes")
        return declared
    for k in range(properties.get_nfilters()):
        if properties.get_filter(k)[0] not in _FILTERS:
            raise Refused(f"{name} is packed by the filter {properties.get_filter(k)[3]!r:.40}, not by gzip")
    _check_chunks(name, dataset, packed=properties.get_nfilters() > 0)
    return declared


def _is_vlen_text(dataset: h5py.Dataset) -> bool:
    text = h5py.check_string_dtype(dataset.dtype)
    return text is not None and text.length is None


def _check_chunks(name: str, dataset: h5py.Dataset, packed: bool) -> None:
    """Check that every chunk is there once, and not larger than it can be."""
    size = math.prod(dataset.chunks) * dataset.id.get_type().get_size()
    expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks))
    if size > _LARGEST_CHUNK:
        raise Refused(f"{name} has chunks of {size / 1e6:.3g} MB")
    if not expected:
        return
    if dataset.id.get_num_chunks() != expected:
        raise Refused(f"{name} has {dataset.id.get_num_chunks()} of {expected} chunks")
    if not hasattr(dataset.id, "chunk_iter"):
        return
    places: set[tuple[int, ...] | None] = set()
    largest = size + size // 100 + 1024 if packed else size

    def see(chunk: Any) -> None:
        places.add(tuple(chunk.chunk_offset))
        if chunk.size > largest or chunk.filter_mask or any(o % c for o, c in zip(chunk.chunk_offset, dataset.chunks)):
            places.add(None)

    dataset.id.chunk_iter(see)
    inside = all(p is not None and all(o < n for o, n in zip(p, dataset.shape)) for p in places)
    if len(places) != expected or not inside:
        raise Refused(f"{name} has chunks that are misplaced or too large")


def array(
    group: h5py.Group, name: str, kind: Kind, shape: tuple[int | None, ...], *, largest: int | None = None
) -> np.ndarray:
    """Read a dataset whose type and shape are known.

    Parameters
    ----------
    group : h5py.Group
        Where it is.
    name : str
        Its name.
    kind : {"integer", "float", "bool"}
        What its numbers are, in any width.
    shape : tuple of int or None
        Its shape; None where any length is possible.
    largest : int, optional
        Most numbers that it may have.

    Returns
    -------
    array
        int64, float64 or bool; finite.

    Raises
    ------
    Refused
        If it is not there, of another type or shape, or has numbers that are not finite.
    """
    dataset = checked_dataset(group, name, kind, shape)
    if largest is not None and dataset.size > largest:
        raise Refused(f"{name} has {dataset.size} numbers, more than {largest}")
    return _converted(name, kind, dataset[()])


def checked_dataset(group: h5py.Group, name: str, kind: Kind, shape: tuple[int | None, ...]) -> h5py.Dataset:
    """Return a dataset of a type and shape, without reading it; see `array`."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise Refused(f"no dataset {name} in {group.name}")
    if _kind(dataset.id.get_type()) != kind:
        raise Refused(f"{name} holds {dataset.dtype}, not {kind}s")
    if len(dataset.shape) != len(shape) or any(n is not None and n != m for n, m in zip(shape, dataset.shape)):
        raise Refused(f"{name} has shape {dataset.shape}, not {shape}")
    return dataset


def _kind(stored: Any) -> Kind | None:
    """The kind of a type, if it is one of a processor's own."""
    dtype = stored.dtype
    kind = _KINDS.get(dtype.newbyteorder("="))
    return kind if kind is not None and h5py.h5t.py_create(dtype, logical=True).equal(stored) else None


def _converted(name: str, kind: Kind, values: Any) -> np.ndarray:
    values = np.asarray(values)
    if kind == "bool":
        raw = values.view(np.uint8) if values.ndim else np.array([values]).view(np.uint8)
        if (raw > 1).any():
            raise Refused(f"{name} holds {int(raw.max())}, neither true nor false")
        return values.astype(bool)
    if kind == "integer":
        if values.dtype.kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise Refused(f"{name} holds {int(values.max())}")
        return values.astype(np.int64, copy=False)
    if not np.isfinite(values).all():
        raise Refused(f"{name} holds {int((~np.isfinite(values)).sum())} numbers that are NaN or infinite")
    return values.astype(np.float64, copy=False)


def texts(group: h5py.Group, name: str) -> list[str]:
    """Read a list of texts, such as the shells of the elements."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or h5py.check_string_dtype(dataset.dtype) is None:
        raise Refused(f"no texts {name} in {group.name}")
    if len(dataset.shape) != 1 or dataset.size > _MOST_TEXTS:
        raise Refused(f"{name} has shape {dataset.shape}")
    return [_bounded(name, text) for text in dataset.asstr()[()]]


def text(group: h5py.Group, name: str) -> str:
    """Read one text that is a dataset."""
    dataset = group.get(name)
    if not isinstance(dataset, h5py.Dataset) or h5py.check_string_dtype(dataset.dtype) is None or dataset.shape != ():
        raise Refused(f"{name!r:.80} in {group.name} is no text")
    return _bounded(name, dataset.asstr()[()])


def _bounded(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MOST_TEXT:
        raise Refused(f"{name!r:.80} is no text of at most {_MOST_TEXT} characters")
    return value


def attribute(item: h5py.Group | h5py.Dataset, name: str) -> Any:
    """Read an attribute: a text, a finite number, a truth value, or a list of numbers.

    Parameters
    ----------
    item : h5py.Group or h5py.Dataset
        What it belongs to.
    name : str
        Its name.

    Returns
    -------
    str, int, float, bool or array
        Its value.

    Raises
    ------
    Refused
        If it is not there, or of any other type.
    """
    attributes = item.attrs
    if name not in attributes:
        raise Refused(f"no attribute {name} of {item.name}")
    stored = attributes.get_id(name)
    shape = stored.shape
    if len(shape) > 1 or math.prod(shape) > _MOST_TEXTS or stored.get_storage_size() > _MOST_TEXT:
        raise Refused(f"the attribute {name} of {item.name} has shape {shape}")
    if h5py.check_string_dtype(stored.dtype) is not None:
        if shape != ():
            raise Refused(f"the attribute {name} of {item.name} is several texts")
        value = attributes[name]
        return _bounded(name, value.decode() if isinstance(value, bytes) else value)
    kind = _kind(stored.get_type())
    if kind is None:
        raise Refused(f"the attribute {name} of {item.name} holds {stored.dtype}")
    found = _converted(name, kind, attributes[name])
    return found if found.ndim else found.item()


def number(item: h5py.Group, name: str) -> float:
    """Read an attribute that is one finite number."""
    value = attribute(item, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused(f"the attribute {name} of {item.name} is no number")
    return float(value)


def content_hash(group: h5py.Group, without: tuple[str, ...] = ()) -> str:
    """Hash names, attributes, types and shapes in a group, and the data that has no checksum of HDF5's own.

    Parameters
    ----------
    group : h5py.Group
        What is hashed, with all groups inside.
    without : tuple of str, optional
        Members of the group that are left out.

    Returns
    -------
    str
        SHA-256 in hexadecimal, independent of how HDF5 lays the file out.
    """
    digest = hashlib.sha256()
    _feed(digest, group, without)
    return digest.hexdigest()


def _feed(digest: Any, item: h5py.Group | h5py.Dataset, without: tuple[str, ...] = ()) -> None:
    for name in sorted(item.attrs):
        if name != HASH:
            value = attribute(item, name)
            _say(digest, name, value.tolist() if isinstance(value, np.ndarray) else value)
    if isinstance(item, h5py.Dataset):
        _say(digest, str(item.dtype), item.shape)
        if not item.fletcher32:
            _feed_data(digest, item)
        return
    for name in sorted(item):
        if name not in without:
            member = item[name]
            _say(digest, name, type(member).__name__)
            _feed(digest, member)


def _say(digest: Any, *words: object) -> None:
    digest.update("".join(f"{len(str(w))}:{w!r};" for w in words).encode("utf-8", "surrogatepass"))


def _feed_data(digest: Any, dataset: h5py.Dataset) -> None:
    if h5py.check_string_dtype(dataset.dtype) is not None:
        _say(digest, text(dataset.parent, dataset.name) if dataset.shape == () else texts(dataset.parent, dataset.name))
    elif not dataset.shape:
        digest.update(np.asarray(dataset[()]).tobytes())
    else:
        for start in range(0, len(dataset), _PIECE):
            digest.update(np.ascontiguousarray(dataset[start : start + _PIECE]).tobytes())
