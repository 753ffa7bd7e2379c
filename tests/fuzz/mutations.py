"""Mutations of files: of bytes, of words in texts, and of objects inside HDF5, NumPy's archives, SQLite and models."""

from __future__ import annotations

import json
import random
import re
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Mutation = Callable[[Path, random.Random], None]

_WORDS = [
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "1e400",
    "1E-400",
    "1.0D0",
    "99999999999999999999",
    "2147483648",
    "-2147483649",
    "0.5",
    "1/3",
    "²",
    "٣",
    "a",
    "_",
    ":",
    "&",
    "${X}",
    "$X",
    "@IF",
    "@INCLUDE",
    "@SET",
    "[1,2]",
    "{a:",
    "1}",
    "*x",
    "&x",
    "!!python/object:os.system",
    "null",
    "true",
    "~",
    "X",
    "Hf",
    "Xx",
    "119",
    "-0",
    "1e-5",
    "1e12",
    "1_0",
    "0x10",
    "%",
    "?",
    "-",
    "|",
    ">",
    "\\",
    "'",
    '"',
    "",
]
_INTEGERS = (
    0,
    1,
    -1,
    2,
    127,
    128,
    255,
    256,
    32767,
    65535,
    2**31 - 1,
    2**31,
    -(2**31),
    2**32 - 1,
    2**62,
    2**63 - 1,
    -(2**63),
)
_FLOATS = (0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e300, -1e300, 1e-300, 1e12, -1e9, 0.1, 5e-324)


def of_bytes(path: Path, rng: random.Random) -> None:
    """Flip bits, overwrite, cut, insert, repeat and exchange."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        _change_bytes(data, rng)
    path.write_bytes(data)


def one_bit(path: Path, rng: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _change_bytes(data: bytearray, rng: random.Random) -> None:
    at, kind = rng.randrange(len(data) + 1), rng.randrange(9)
    length = min(rng.choice((1, 2, 4, 8, 64, 1000)), len(data) - at)
    if kind <= 1 and at < len(data):
        data[at] ^= 1 << rng.randrange(8)
    elif kind == 2:
        data[at : at + length] = rng.randbytes(length)
    elif kind == 3:
        whole = rng.choice(_INTEGERS)
        data[at : at + 8] = struct.pack(rng.choice("<>") + "q", whole)[: rng.choice((4, 8))]
    elif kind == 4:
        data[at : at + 8] = struct.pack("<d", rng.choice(_FLOATS))
    elif kind == 5:
        del data[at : at + length]
    elif kind == 6:
        data[at:at] = rng.randbytes(length)
    elif kind == 7:
        data[at:at] = data[at : at + length] * rng.choice((1, 2, 50))
    elif rng.random() < 0.3:
        del data[at:]


def of_text(path: Path, rng: random.Random) -> None:
    """Exchange words, lines and characters."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not lines:
            break
        k, kind = rng.randrange(len(lines)), rng.randrange(8)
        words = re.split(r"(\s+)", lines[k])
        if kind <= 2:
            words[2 * rng.randrange((len(words) + 1) // 2)] = rng.choice(_WORDS)
            lines[k] = "".join(words)
        elif kind == 3:
            del lines[k]
        elif kind == 4:
            lines[k:k] = [lines[rng.randrange(len(lines))]] * rng.choice((1, 2, 100))
        elif kind == 5:
            other = rng.randrange(len(lines))
            lines[k], lines[other] = lines[other], lines[k]
        elif kind == 6:
            at = rng.randrange(len(lines[k]) + 1)
            lines[k] = (
                lines[k][:at] + rng.choice((*_WORDS, "\x00", "\x1b[", "é", "\t", " " * 99, "(" * 500)) + lines[k][at:]
            )
        else:
            number = re.search(r"-?\d+\.?\d*", lines[k])
            if number:
                lines[k] = lines[k][: number.start()] + rng.choice(_WORDS) + lines[k][number.end() :]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def array(rng: random.Random, like: np.ndarray) -> Any:
    """Another array in the place of one: other values, types, shapes."""
    like, kind = np.array(like), rng.randrange(10)
    if kind <= 3 and like.size and like.dtype.kind in "fiu":
        flat = like.reshape(-1)
        for _ in range(rng.choice((1, 1, 5))):
            value = rng.choice(_FLOATS if like.dtype.kind == "f" else _INTEGERS)
            with np.errstate(all="ignore"):
                flat[rng.randrange(like.size)] = np.array(value).astype(like.dtype)
        return like
    if kind == 4:
        return like.reshape(-1)[: rng.randrange(like.size + 1)] if like.ndim else like.reshape(1)
    if kind == 5:
        return like[..., None] if rng.random() < 0.5 else like.reshape(-1)
    if kind == 6:
        with np.errstate(all="ignore"):
            try:
                return like.astype(rng.choice(("f4", "i1", "u8", "c16", "S3", "?", ">f8", "f2", "i2")))
            except (TypeError, ValueError):
                return np.float64(1.0)
    if kind == 7:
        return np.concatenate([like.reshape(-1)] * 2)
    if kind == 8:
        return like.reshape(-1)[::-1].reshape(like.shape) if like.ndim else like
    return np.array(rng.choice(_FLOATS)) if rng.random() < 0.5 else np.zeros(rng.choice((0, 1, 3, 1000)), like.dtype)


def of_hdf5(path: Path, rng: random.Random) -> None:
    """Exchange, remove and link the objects and attributes of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        for _ in range(rng.choice((1, 1, 2))):
            name = rng.choice(names)
            item = file.get(name)
            if item is None:
                continue
            kind = rng.randrange(8)
            if kind <= 1 or isinstance(item, h5py.Group):
                _change_attribute(rng.choice((item, file, item.parent)), rng)
            elif kind <= 5:
                old = item[()]
                new = (
                    array(rng, old)
                    if not isinstance(old, bytes) and np.asarray(old).dtype.kind in "fiub"
                    else _odd(rng)
                )
                del file[name]
                file[name] = new
            elif kind == 6:
                del file[name]
            else:
                del file[name]
                file[name] = rng.choice(
                    (h5py.SoftLink("/"), h5py.ExternalLink("x.h5", "/"), h5py.SoftLink("/basis/valence"))
                )


def _odd(rng: random.Random) -> Any:
    return rng.choice(
        ("text", ["a", "b"], 1, 2.5, b"\xff\xfe", ["0 0 1"] * 3, ["0 9", "x"], np.zeros((2, 2)), np.void(b"abc"))
    )


def _change_attribute(item: Any, rng: random.Random) -> None:
    if not len(item.attrs):
        return
    name = rng.choice(list(item.attrs))
    value = item.attrs[name]
    odd = (
        _odd(rng),
        rng.choice(_FLOATS),
        rng.choice(_INTEGERS),
        np.zeros(3),
        "",
        "x" * 5000,
        not value if np.ndim(value) == 0 else 1,
    )
    if rng.random() < 0.15:
        del item.attrs[name]
    else:
        item.attrs[name] = (
            array(rng, value) if isinstance(value, np.ndarray) and rng.random() < 0.5 else rng.choice(odd)
        )


def of_npz(path: Path, rng: random.Random) -> None:
    """Exchange, remove and add arrays of an archive."""
    with np.load(path) as archive:
        arrays: dict[str, Any] = dict(archive)
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(list(arrays))
        if rng.random() < 0.1:
            del arrays[name]
        else:
            arrays[name] = array(rng, arrays[name])
        if not arrays:
            break
    np.savez(path, **arrays)


def of_sqlite(path: Path, rng: random.Random) -> None:
    """Exchange values of a database, and its schema."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        table = rng.choice(tables)
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        column, kind = rng.choice(columns), rng.randrange(8)
        old = connection.execute(f'SELECT "{column}" FROM "{table}"').fetchone()
        values = [*_FLOATS, *_INTEGERS, None, "text", b"", b"\x00" * 24, "", "{}", "[1]", "null"]
        new: Any = rng.choice(values)
        if old is not None and isinstance(old[0], bytes) and len(old[0]) and kind <= 5:
            changed = bytearray(old[0])
            _change_bytes(changed, rng)
            new = bytes(changed)
        elif old is not None and isinstance(old[0], str) and len(old[0]) > 20 and kind <= 5:
            at = rng.randrange(len(old[0]))
            new = old[0][:at] + rng.choice(_WORDS) + old[0][at + rng.choice((0, 1, 3)) :]
        try:
            if kind == 6:
                connection.execute(f'DELETE FROM "{table}"')
            elif kind == 7:
                connection.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "x"')
            else:
                connection.execute(f'UPDATE "{table}" SET "{column}" = ?', (new,))
            connection.commit()
        except (sqlite3.Error, OverflowError):
            connection.rollback()


def of_json(value: Any, rng: random.Random) -> Any:
    """Exchange one value of nested lists and dicts."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.07:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: of_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        k = rng.randrange(len(value))
        return [*value[:k], of_json(value[k], rng), *value[k + 1 :]]
    return rng.choice(
        (None, "", "x", -1, 0, 1.5, 10**6, 10**18, [], {}, [[]], True, 1e300, "nan", {"1": [9]}, [0] * 100)
    )


def of_model(path: Path, rng: random.Random) -> None:
    """Exchange metadata and tensors of a safetensors file, whose header stays well-formed."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, rest = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.get("__metadata__", {})
    kind = rng.randrange(6)
    if kind <= 3 and metadata:
        key = rng.choice(list(metadata))
        try:
            metadata[key] = json.dumps(of_json(json.loads(metadata[key]), rng))
        except ValueError:
            metadata[key] = rng.choice(_WORDS)
    elif kind == 4:
        name = rng.choice([k for k in header if k != "__metadata__"])
        header[name] = of_json(header[name], rng)
    else:
        changed = bytearray(rest)
        _change_bytes(changed, rng)
        rest = bytes(changed)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + rest)
