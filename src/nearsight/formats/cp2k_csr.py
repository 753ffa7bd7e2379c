"""CP2K's matrices (KS_CSR_WRITE, S_CSR_WRITE), text or binary, and H and S at Γ made of two of them.

Both kinds have the extension .csr. Text has one `row column value` a line, from 1, in Fortran's (2(I8),E23.14E3).
Binary has Fortran records of 24 bytes: length 16, row, column (int32), value (float64), length 16.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nearsight.errors import FormatError
from nearsight.formats.basis_choice import choose_basis
from nearsight.formats.options import ReadOptions
from nearsight.formats.sniffing import first_bytes
from nearsight.formats.triplets import Triangle, Triplets, assemble, check_complete
from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.basis import BasisSet
from nearsight.progress import Event, Progress, silent
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

if TYPE_CHECKING:
    import pandas as pd

Encoding = Literal["text", "binary"]

_EXPECTED = "a CP2K matrix (.csr), text or binary"
_RECORD = np.dtype([("head", "i4"), ("row", "i4"), ("column", "i4"), ("value", "f8"), ("tail", "i4")])
_PAYLOAD = 16
_CHUNK = 1 << 20
_RECORDS = 1 << 16
"""Binary records at once: they stay in the cache, and no fresh memory is asked for."""
_LINE = re.compile(rb"\s*(\d+)\s+(\d+)\s+([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(\s.*)?$", re.DOTALL)


def read_csr(path: str | Path, progress: Progress = silent) -> tuple[Triplets, Encoding]:
    """Read all entries of a matrix file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    progress : Progress, default silent
        Told the bytes that are read.

    Returns
    -------
    entries : Triplets
        In the file's unit.
    encoding : {"binary", "text"}
        How the file is written.

    Raises
    ------
    FormatError
        If it is not such a file, a record or line is truncated, an index is below 1, or a number is not finite.
    """
    check_is_matrix(path)
    progress(Event(f"reading {Path(path).name}", 0, Path(path).stat().st_size))
    order = _byte_order(first_bytes(path, _EXPECTED))
    if order is not None:
        return _read_binary(Path(path), order, progress), "binary"
    return _read_text(Path(path), progress), "text"


def check_is_matrix(path: str | Path) -> None:
    """Check that the first bytes of a file are those of a matrix file.

    Raises
    ------
    FormatError
        If they are not.
    """
    head = first_bytes(path, _EXPECTED)
    if _byte_order(head) is None and not re.match(rb"\s*\d+\s", head):
        raise FormatError(path, f"expected {_EXPECTED}, got a file that begins with {head[:40]!r}")


def _byte_order(head: bytes) -> str | None:
    """`<` or `>` for Fortran records of 16 bytes, None for anything else."""
    for order in "<>":
        if head[:4] == struct.pack(f"{order}i", _PAYLOAD):
            return order
    return None


def _read_binary(path: Path, order: str, progress: Progress) -> Triplets:
    size = path.stat().st_size
    record = _RECORD.newbyteorder(order)  # type: ignore[arg-type]
    count, rest = divmod(size, record.itemsize)
    if rest:
        raise FormatError(
            path,
            f"expected records of {record.itemsize} bytes, got {count} whole ones and a truncated "
            f"record {count + 1} of {rest} bytes; copy the file again",
        )
    rows, columns = np.empty(count, dtype=np.int32), np.empty(count, dtype=np.int32)
    values = np.empty(count)
    with open(path, "rb") as file:
        for start in range(0, count, _RECORDS):
            records = np.fromfile(file, record, min(_RECORDS, count - start))
            _check_markers(path, records, start)
            part = slice(start, start + len(records))
            rows[part], columns[part], values[part] = records["row"], records["column"], records["value"]
            _check_chunk(path, rows[part], columns[part], values[part], start, "record")
            progress(Event(done=(start + len(records)) * record.itemsize, total=size))
    return _from_one(path, rows, columns, values)


def _check_markers(path: Path, records: np.ndarray, start: int) -> None:
    good = (records["head"] == _PAYLOAD) & (records["tail"] == _PAYLOAD)
    if not good.all():
        bad = int(np.argmin(good))
        raise FormatError(
            path,
            f"expected the record marks {_PAYLOAD} … {_PAYLOAD} in record {start + bad + 1}, got "
            f"{records['head'][bad]} … {records['tail'][bad]}; the file is damaged",
        )


def _read_text(path: Path, progress: Progress) -> Triplets:
    _check_end(path)
    size, done = path.stat().st_size, 0
    columns_read: list[list[np.ndarray]] = [[], [], []]
    with open(path, "rb") as file:
        try:
            for frame in _frames(file):
                columns = [frame["row"].to_numpy(), frame["column"].to_numpy(), frame["value"].to_numpy()]
                _check_chunk(path, columns[0], columns[1], columns[2], done, "line")
                for column, values in zip(columns_read, columns, strict=True):
                    column.append(values.copy())
                done += len(frame)
                progress(Event(done=min(file.tell(), size), total=size))
        except (ValueError, OverflowError) as error:  # pandas' ParserError is a ValueError
            if isinstance(error, FormatError):
                raise
            raise _bad_line(path, done, error) from error
    joined = []
    for column in columns_read:
        joined.append(np.concatenate(column))
        column.clear()
    return _from_one(path, *joined)


def _frames(file: Any) -> Iterator[pd.DataFrame]:
    import pandas as pd  # a third of a second, and only text files need it

    return iter(
        pd.read_csv(
            file,
            sep=r"\s+",
            header=None,
            names=["row", "column", "value"],
            usecols=[0, 1, 2],
            engine="c",
            dtype={"row": np.int32, "column": np.int32, "value": np.float64},
            na_filter=False,
            chunksize=_CHUNK,
        )
    )


def _bad_line(path: Path, skip: int, cause: Exception) -> FormatError:
    """The error that names the first line that is not `row column value`."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if number > skip and line.strip() and not _is_entry(line):
                text = line[:60].decode("utf-8", "replace").rstrip()
                if b"nan" in line.lower():
                    return FormatError(
                        path, f"expected finite numbers, got NaN in line {number}: {text!r}; did the SCF diverge?"
                    )
                return FormatError(
                    path,
                    f"expected `row column value` in line {number}, got {text!r}; "
                    "is the file complete, and is it a matrix?",
                )
    return FormatError(path, f"expected `row column value` in every line, got: {cause}")


def _check_end(path: Path) -> None:
    """Among lines of one length, a shorter last one without line end was cut, even if it can be read."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 400))
        end = file.read().split(b"\n")
    if len(end) >= 3 and end[-1].strip() and len(end[-1]) < len(end[-2]) == len(end[-3]):
        raise FormatError(
            path,
            f"expected a complete last line, got {end[-1].decode('utf-8', 'replace')!r}; "
            "the file is cut off: copy it again",
        )


def _is_entry(line: bytes) -> bool:
    found = _LINE.match(line)
    return found is not None and max(int(found[1]), int(found[2])) < 2**31


def _check_chunk(path: Path, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, start: int, unit: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise FormatError(
            path,
            f"expected finite numbers, got {values[bad]} in {unit} {start + bad + 1} (row "
            f"{rows[bad]}, column {columns[bad]}); did the SCF diverge?",
        )
    if len(rows) and min(rows.min(), columns.min()) < 1:
        bad = int(np.argmax((rows < 1) | (columns < 1)))
        raise FormatError(
            path, f"expected indices from 1, got row {rows[bad]}, column {columns[bad]} in {unit} {start + bad + 1}"
        )


def _from_one(path: Path, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> Triplets:
    rows -= 1
    columns -= 1
    return Triplets(path, rows, columns, values)


@dataclass(frozen=True, eq=False)
class GammaMatrices:
    """H (eV) and S at Γ with their basis, and what the files were.

    Attributes
    ----------
    basis : BasisSet
        Given, or recognised by the size of H.
    hamiltonian : BlockOperator
        H, folded.
    overlap : BlockOperator or None
        S, folded; None where there is no file.
    encodings, triangles : tuple of str
        Of H, then of S.
    n_entries : int
        Lines or records of H.
    """

    basis: BasisSet
    hamiltonian: BlockOperator
    overlap: BlockOperator | None
    encodings: tuple[Encoding, ...]
    triangles: tuple[Triangle, ...]
    n_entries: int

    @property
    def provenance(self) -> dict[str, str]:
        """What was found in the files, in words."""
        parts = [f"{t} matrix" if t in ("full", "diagonal") else f"{t} triangle" for t in self.triangles]
        return {"encoding": ", ".join(dict.fromkeys(self.encodings)), "entries": ", ".join(dict.fromkeys(parts))}


def read_gamma_matrices(
    h_path: Path, s_path: Path | None, structure: Structure, options: ReadOptions, basis: BasisSet | None = None
) -> GammaMatrices:
    """Read both matrices of a run at Γ.

    Parameters
    ----------
    h_path, s_path : pathlib.Path
        The files (Hartree); no overlap where `s_path` is None.
    structure : Structure
        In the order of the matrix.
    options : ReadOptions
        The user's choice of basis.
    basis : BasisSet, optional
        The source's own basis, where it says so.

    Returns
    -------
    GammaMatrices
        H and S.

    Raises
    ------
    FormatError
        If a file is damaged, or does not fit the structure, the basis or the other file.
    """
    entries, encoding = read_csr(h_path, options.progress)
    size, n_entries = entries.size, len(entries)
    if basis is None:
        basis = choose_basis(h_path, structure, options, n_orbitals=size)
    n_orbitals = int(basis.offsets(structure.numbers)[-1])
    # A diagonal element of H may by chance be below CP2K's threshold; one of S cannot.
    hamiltonian, triangle = _matrix(entries, structure, basis, n_orbitals // 1000 + 1)
    hamiltonian.values[:] *= HARTREE_IN_EV
    del entries
    if s_path is None:
        return GammaMatrices(basis, hamiltonian, None, (encoding,), (triangle,), n_entries)
    entries, s_encoding = read_csr(s_path, options.progress)
    if entries.size != size:
        raise FormatError(
            s_path,
            f"expected H and S of the same size, got H with {size} orbitals in {h_path.name} "
            f"and S with {entries.size}; are they from the same run?",
        )
    overlap, s_triangle = _matrix(entries, structure, basis, 0)
    return GammaMatrices(basis, hamiltonian, overlap, (encoding, s_encoding), (triangle, s_triangle), n_entries)


def _matrix(
    entries: Triplets, structure: Structure, basis: BasisSet, missing_allowed: int
) -> tuple[BlockOperator, Triangle]:
    operator, triangle = assemble(entries, structure.numbers, basis)
    check_complete(entries, operator.n_orbitals, missing_allowed)
    return operator, triangle
