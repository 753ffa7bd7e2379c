"""Files that are there completely or not at all, and what killed processes leave behind."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nearsight.atomic_files import append_line, remove_leftovers, write_text_atomically, written_atomically
from nearsight.errors import InputError


def test_the_file_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with written_atomically(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a.txt", "text")
    (tmp_path / "b.txt").write_text("text")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError, InputError])
def test_an_interruption_changes_nothing(tmp_path: Path, interruption: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with written_atomically(path) as temporary:
            temporary.write_text("half")
            raise interruption("stopped")

    with pytest.raises(interruption, match="stopped"):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        InputError, match=r"expected to write .*a\.txt, got: No space left on device; nothing was changed"
    ):
        write_text_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected an existing folder for .*nowhere/a\.txt.*make it first"):
        write_text_atomically(tmp_path / "nowhere" / "a.txt", "text")


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/a.txt")
    write_text_atomically(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "a.txt").read_text() == "text"


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 120, "a b [red]\n", "ẞ" * 85])
def test_every_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    write_text_atomically(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]


KILLED = """
import os, sys
from nearsight.atomic_files import written_atomically
with written_atomically(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
    sys.stdin.read()
"""


def test_leftovers_of_killed_processes_are_removed_and_files_of_others_stay(tmp_path: Path) -> None:
    alive = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "a.txt"), "alive"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert alive.stdout is not None
    own = Path(alive.stdout.readline().strip())
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "b.txt"), "killed"], capture_output=True, text=True, check=False
    )
    left = Path(killed.stdout.strip())
    assert left.read_text() == "half"
    foreign = [tmp_path / name for name in (".b.txt.tmp", ".b.txt.other-00000000-abcdefgh.tmp", "b.txt.tmp")]
    for path in foreign:
        path.write_text("not ours")
    write_text_atomically(tmp_path / "c.txt", "text")
    assert not left.exists()
    assert own.read_text() == "half"
    alive.communicate("")
    assert (tmp_path / "a.txt").read_text() == "half"
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a.txt", tmp_path / "c.txt", *foreign])


def test_leftovers_of_other_machines_are_removed_when_they_are_old(tmp_path: Path) -> None:
    new, old = (tmp_path / f".a.txt.nearsight-{host}-abcdefgh.tmp" for host in ("0" * 8, "1" * 8))
    for path in (new, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [new]


def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    texts = [f"{k}" * 10_000 for k in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text_atomically(tmp_path / "a.txt", text), texts))
    assert (tmp_path / "a.txt").read_text() in texts
    assert list(tmp_path.iterdir()) == [tmp_path / "a.txt"]


def test_a_line_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append_line(path, "one")
    before, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, resource.RLIM_INFINITY))
    try:
        with pytest.raises(InputError, match=r"expected to write .*log, got: File too large"):
            append_line(path, "two")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, resource.RLIM_INFINITY))
    assert path.read_text() == "one\n"
