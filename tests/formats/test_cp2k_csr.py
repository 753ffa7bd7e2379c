"""Matrix files: both encodings, sniffed by content, and every way in which they are damaged."""

from __future__ import annotations

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from nearsight.errors import FormatError
from nearsight.formats.cp2k_csr import read_csr
from nearsight.progress import Event
from tests.formats.files import entries_of, symmetric, write_binary, write_text

ENTRIES = entries_of(symmetric(5))


def test_text_and_binary_give_the_same_bits_from_the_same_extension(tmp_path: Path) -> None:
    text, how_text = read_csr(write_text(tmp_path / "t.csr", ENTRIES))
    binary, how_binary = read_csr(write_binary(tmp_path / "b.csr", ENTRIES))
    big_endian, _ = read_csr(write_binary(tmp_path / "e.csr", ENTRIES, ">"))
    assert (how_text, how_binary) == ("text", "binary")
    expected = np.array(ENTRIES)
    for found in (text, binary, big_endian):
        assert (found.rows.dtype, found.columns.dtype, found.values.dtype) == (np.int32, np.int32, np.float64)
        np.testing.assert_array_equal(found.rows + 1, expected[:, 0])
        np.testing.assert_array_equal(found.columns + 1, expected[:, 1])
        np.testing.assert_array_equal(found.values, expected[:, 2])
        assert found.size == 5


@pytest.mark.parametrize("chunk", [1, 7, 24, 25, 26])
def test_chunks_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("nearsight.formats.cp2k_csr._CHUNK", chunk)
    monkeypatch.setattr("nearsight.formats.cp2k_csr._RECORDS", chunk)
    expected = np.array(ENTRIES)
    seen: list[Event] = []
    for write in (write_text, write_binary):
        path = write(tmp_path / "m.csr", ENTRIES)
        found, _ = read_csr(path, seen.append)
        np.testing.assert_array_equal(found.values, expected[:, 2])
        np.testing.assert_array_equal(found.rows + 1, expected[:, 0])
        assert seen[-1] == Event(done=path.stat().st_size, total=path.stat().st_size)
    assert [event.message for event in seen if event.message] == ["reading m.csr"] * 2


def test_more_columns_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "m.csr"
    path.write_text("\n 1 1 0.5\n\n 1 2 -1.5e-3\n 2 2 1E+0")
    found, _ = read_csr(path)
    np.testing.assert_array_equal(found.values, [0.5, -1.5e-3, 1.0])


def test_a_truncated_record(tmp_path: Path) -> None:
    path = write_binary(tmp_path / "m.csr", ENTRIES)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(
        FormatError, match="expected records of 24 bytes, got 24 whole ones and a truncated record 25 of 17"
    ):
        read_csr(path)


def test_a_damaged_record(tmp_path: Path) -> None:
    path = write_binary(tmp_path / "m.csr", ENTRIES)
    raw = bytearray(path.read_bytes())
    raw[24 * 9] = 7
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"expected the record marks 16 … 16 in record 10, got 7 … 16"):
        read_csr(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_in_binary(tmp_path: Path, value: float) -> None:
    path = write_binary(tmp_path / "m.csr", [*ENTRIES[:4], (3, 1, value), *ENTRIES[4:]])
    with pytest.raises(FormatError, match=rf"expected finite numbers, got {value} in record 5 \(row 3, column 1\)"):
        read_csr(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("       3       1                  NaN", "expected finite numbers, got NaN in line 3"),
        ("       3       1             Infinity", r"expected finite numbers, got inf in line 3 \(row 3, column 1\)"),
        (
            "       3       1  *******************",
            "expected `row column value` in line 3, got '       3       1  [*]+'",
        ),
        ("       3       1", "expected `row column value` in line 3, got '       3       1'"),
        ("       3     one  0.1", "expected `row column value` in line 3"),
        ("     3.5       1  0.1", "expected `row column value` in line 3"),
        ("       3 99999999999 0.1", "expected `row column value` in line 3"),
        ("       0       1  0.1", "expected indices from 1, got row 0, column 1 in line 3"),
        ("       3       1  0.1D+00", "expected `row column value` in line 3"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "m.csr"
    path.write_text(f"       1       1  0.5\n       1       2  0.5\n{line}\n       2       2  0.5\n")
    with pytest.raises(FormatError, match=message):
        read_csr(path)


def test_a_last_line_cut_inside_its_number(tmp_path: Path) -> None:
    path = write_text(tmp_path / "m.csr", ENTRIES)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FormatError, match=r"expected a complete last line, got ' +5 +5 .*the file is cut off"):
        read_csr(path)


def hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html>\n<html><body>404</body></html>", "got an HTML page; was a web page saved"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "got a git-lfs pointer: .*run `git lfs pull`",
        ),
        (gzip.compress(b"1 1 0.5", mtime=0), "got a gzip archive; unpack it first"),
        (b"PK\x03\x04rest", "got a zip archive or .npz"),
        (b"", "got an empty file"),
        (b"&GLOBAL\n&END\n", "got a file that begins with b'&GLOBAL"),
        (b"12\ncomment\nHf 0 0 0\n", "expected `row column value` in line 1, got '12'"),
    ],
)
def test_files_that_are_not_what_their_name_says(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "H.csr"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=rf"H\.csr: .*{message}"):
        read_csr(path)


def test_an_hdf5_file_a_folder_and_nothing(tmp_path: Path) -> None:
    hdf5(tmp_path / "H.csr")
    with pytest.raises(FormatError, match=r"expected a CP2K matrix .*got an HDF5 file"):
        read_csr(tmp_path / "H.csr")
    with pytest.raises(FormatError, match="got a folder"):
        read_csr(tmp_path)
    with pytest.raises(FormatError, match="got no such file"):
        read_csr(tmp_path / "none.csr")
