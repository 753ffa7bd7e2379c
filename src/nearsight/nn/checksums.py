"""Checksums of model files, by which a changed bit is found when the file is read.

A file keeps them in its metadata under `checksums`, as JSON: under `metadata` the hash of all other metadata, under
`tensors` that of each tensor by name. Files of versions that wrote none are read without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from nearsight.errors import CheckpointError

KEY = "checksums"
_BYTES = 16


def checksums(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Return the checksums of a file's content.

    Parameters
    ----------
    metadata : mapping of str to str
        Text by key; what is under `checksums` does not count.
    tensors : mapping of str to Tensor
        Tensors by name, on any device.

    Returns
    -------
    str
        What belongs into the metadata under `checksums`: BLAKE2b of 16 bytes, in hexadecimal.
    """
    own = {name: _of_tensor(tensor) for name, tensor in sorted(tensors.items())}
    return json.dumps({"metadata": _of_metadata(metadata), "tensors": own})


def verify(path: Path, metadata: Mapping[str, str], names: Iterable[str], tensors: Mapping[str, Tensor]) -> None:
    """Refuse content that is not what was written.

    Parameters
    ----------
    path : Path
        The file, for messages.
    metadata : mapping of str to str
        All metadata of the file.
    names : iterable of str
        Names of all tensors of the file.
    tensors : mapping of str to Tensor
        Those that are used.

    Raises
    ------
    CheckpointError
        Metadata, names or a tensor have changed since the file was written.
    """
    if KEY not in metadata:
        return
    stored = json.loads(metadata[KEY])
    if stored["metadata"] != _of_metadata(metadata):
        raise _changed(path, "its metadata are others")
    if set(stored["tensors"]) != set(names):
        raise _changed(path, "its tensors have other names")
    for name, tensor in tensors.items():
        if stored["tensors"][name] != _of_tensor(tensor):
            raise _changed(path, f"the numbers of {name} are others")


def _changed(path: Path, how: str) -> CheckpointError:
    return CheckpointError(
        f"{path}: expected what was written, got a file that has changed since (damaged on a disk or on its way?): "
        f"{how}; take a copy of it, or train again"
    )


def _of_metadata(metadata: Mapping[str, str]) -> str:
    others = {key: text for key, text in metadata.items() if key != KEY}
    return _hash(json.dumps(others, sort_keys=True).encode())


def _of_tensor(tensor: Tensor) -> str:
    """The hash of a tensor's type, shape and numbers."""
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return _hash(f"{tensor.dtype} {tuple(tensor.shape)} ".encode(), numbers.data)


def _hash(*parts: bytes | memoryview) -> str:
    digest = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
