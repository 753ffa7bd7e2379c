"""One process at a time in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nearsight.errors import ConfigError, InputError
from nearsight.folder_lock import check_free, locked_folder

HOLD = """
import os, sys
from nearsight.folder_lock import locked_folder
with locked_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_folder_says_who_has_it_and_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for attempt in (locked_folder(folder, "give another run_dir").__enter__, lambda: check_free(folder)):
            with pytest.raises(ConfigError, match=rf"got another nearsight \(process {other.pid} on .* since 2"):
                attempt()
        other.kill()
        other.wait()
    check_free(folder)
    with locked_folder(folder):
        pass


def test_a_folder_is_locked_within_a_process_too(tmp_path: Path) -> None:
    with locked_folder(tmp_path), pytest.raises(ConfigError, match=f"process {os.getpid()} on"):
        check_free(tmp_path)
    check_free(tmp_path)


def test_a_damaged_lock_file_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"\xff" * 100)
    with locked_folder(tmp_path):
        pass


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("text")
    with pytest.raises(InputError, match=r"expected to write .*run, got: File exists"), locked_folder(tmp_path / "run"):
        pass
    check_free(tmp_path / "run")
    check_free(tmp_path / "nowhere")


def test_the_lock_leaves_no_file_and_many_can_wait_for_it(tmp_path: Path) -> None:
    held, most, refused = 0, 0, 0
    guard = threading.Lock()

    def work(_: int) -> None:
        nonlocal held, most, refused
        try:
            with locked_folder(tmp_path):
                with guard:
                    held += 1
                    most = max(most, held)
                with guard:
                    held -= 1
        except ConfigError:
            with guard:
                refused += 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(400)))
    assert most == 1
    assert refused < 400
    assert list(tmp_path.iterdir()) == []
