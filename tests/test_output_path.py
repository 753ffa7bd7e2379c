"""Where a result may be written: not over what is read, not over another kind of file, not over a device."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nearsight.errors import InputError
from nearsight.output_path import ARRAY, JSON, PAGE, STORE, TABLE, WAVEFUNCTION, check_output

HDF5 = b"\x89HDF\r\n\x1a\n and so on"
HEADS = {
    STORE: HDF5,
    PAGE: b"<!DOCTYPE html>\n<html>",
    JSON: b'{\n "files": []}',
    TABLE: b"energy_eV,total_per_eV\n0,1\n",
    ARRAY: b"\x93NUMPY\x01\x00",
    WAVEFUNCTION: b"\x14\0\0\0" + bytes(20),
    ".png figure": b"\x89PNG\r\n",
    ".pdf figure": b"%PDF-1.4",
    ".svg figure": b"<?xml version='1.0'?>",
}
CP2K_INPUT = b"&GLOBAL\n  PROJECT a, b\n&END\n"


def test_a_new_name_is_free(tmp_path: Path) -> None:
    check_output(tmp_path / "new.h5", [tmp_path / "old.h5", None, 3], STORE)
    assert not (tmp_path / "new.h5").exists()


@pytest.mark.parametrize("way", ["itself", "hard link", "symbolic link", "another path"])
def test_an_input_is_not_written(tmp_path: Path, way: str) -> None:
    source, output = tmp_path / "dft.h5", tmp_path / "out.h5"
    source.write_bytes(HDF5)
    if way == "hard link":
        os.link(source, output)
    elif way == "symbolic link":
        output.symlink_to(source)
    else:
        output = source if way == "itself" else tmp_path / ".." / tmp_path.name / "dft.h5"
    with pytest.raises(InputError, match=r"expected another file to write than those that are read, got .*dft\.h5"):
        check_output(output, [tmp_path / "other.h5", source], STORE)


@pytest.mark.parametrize("kind", HEADS)
def test_an_older_result_is_replaced_and_nothing_else(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out"
    for other, head in HEADS.items():
        path.write_bytes(head)
        if other == kind:
            check_output(path, kind=kind)
        else:
            with pytest.raises(InputError, match=r"expected nothing or an older .*got a file of another kind"):
                check_output(path, kind=kind)
    path.write_bytes(CP2K_INPUT)
    with pytest.raises(InputError, match="another kind"):
        check_output(path, kind=kind)
    path.write_bytes(b"")
    check_output(path, kind=kind)


def test_only_regular_files_are_written(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for name, expected in (
            ("pipe", "a pipe"),
            ("link", "a device"),
            ("s", "a socket"),
            ("loop", "can be written"),
            (".", "the folder"),
            ("/dev/full", "a device"),
        ):
            with pytest.raises(InputError, match=expected):
                check_output(tmp_path / name)


def test_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an existing folder for .*make it first"):
        check_output(tmp_path / "nowhere" / "a.h5")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "a.h5")
    with pytest.raises(InputError, match="expected an existing folder"):
        check_output(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() == 0, reason="everything can be written by this user")
def test_a_folder_must_be_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="expected a folder that can be written"):
        check_output(tmp_path / "a.h5")
