"""Foreign programs: found or missed in words, watched, and ended with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nearsight.errors import RecipeError
from nearsight.recipes.program import find_program, run_program


def test_the_output_is_watched_as_it_comes(tmp_path):
    seen: list[str] = []
    code = "import time\nfor k in range(3):\n    print(k, flush=True)\n    time.sleep(0.3)"
    run_program([sys.executable, "-c", code], tmp_path, "out.txt", "Python", watch=seen.append)
    assert "".join(seen) == "0\n1\n2\n" == (tmp_path / "out.txt").read_text()
    assert len(seen) > 1


def test_a_failure_has_the_last_words(tmp_path):
    code = "print('no such potential'); raise SystemExit(3)"
    with pytest.raises(RecipeError, match=r"exit code 3 .*out.txt:\nno such potential"):
        run_program([sys.executable, "-c", code], tmp_path, "out.txt", "it")
    assert run_program([sys.executable, "-c", "raise SystemExit(1)"], tmp_path, "o", "it", allowed=(0, 1)) == 1


def test_a_missing_program_and_the_way_out():
    assert Path(find_program(("nothing-here", "python3"), "Python", "")).name == "python3"
    with pytest.raises(RecipeError, match=r"expected CP2K .* got none; apt-get install cp2k"):
        find_program(("nothing-here",), "CP2K", "apt-get install cp2k")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's help is Linux'")
def test_a_program_ends_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from nearsight.recipes.program import run_program\n"
        "run_program([sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'],"
        " Path(sys.argv[1]), 'out.txt', 'a sleeper')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    output = tmp_path / "out.txt"
    _wait(lambda: output.is_file() and output.read_text().endswith("\n"))
    child = int(output.read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _wait(lambda: not _alive(child))


def _wait(condition) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def _alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{number}/stat").read_text() if Path(f"/proc/{number}/stat").exists() else ") Z"
    return stat.rpartition(")")[2].split()[0] != "Z"
