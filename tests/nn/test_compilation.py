"""Machine code of older sources is not used, that of the present ones is; nothing is removed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nearsight.compiled_code import digest_of
from nearsight.nn.kernels.compilation import compiled

OUTER = """
from nearsight.nn.kernels.compilation import compiled
from inner import increment

@compiled
def twice(x):
    return increment(increment(x))

result = twice(1.0)
print(result, sum(twice.stats.cache_hits.values()))
"""
INNER = """
from nearsight.nn.kernels.compilation import compiled

@compiled
def increment(x):
    return x + {step}
"""


def run(folder: Path, step: float) -> tuple[float, int]:
    """What a function gives that inlines another file's, and how much of it came from the disk."""
    (folder / "outer.py").write_text(OUTER) if not (folder / "outer.py").exists() else None
    (folder / "inner.py").write_text(INNER.format(step=step))
    out = subprocess.run([sys.executable, "outer.py"], cwd=folder, check=True, capture_output=True, text=True).stdout
    value, hits = out.split()
    return float(value), int(hits)


def test_code_of_changed_sources_is_not_used(tmp_path: Path) -> None:
    assert run(tmp_path, 1.0) == (3.0, 0)
    assert run(tmp_path, 1.0) == (3.0, 1)
    assert run(tmp_path, 2.0) == (5.0, 0)


TYPES = """
import sys
import numpy as np
from nearsight.nn.kernels.compilation import compiled

@compiled
def double(x):
    return x + x

if "stop" in sys.argv:  # as if killed, or on a full disk, after the first of the two files
    from numba.core.caching import IndexDataCacheFile as Kept

    def _open(*a):
        raise OSError("full")

    written = []
    original = Kept._open_for_write

    def once(self, path):
        written.append(path)
        return original(self, path) if len(written) == 1 else _open()

    Kept._open_for_write = once
kind = np.float32 if "single" in sys.argv else np.float64
out = double(np.ones(2, kind))
print(out.dtype, out.sum())
"""


def test_a_process_that_stops_while_code_is_kept_does_not_leave_that_of_other_types(tmp_path: Path) -> None:
    (tmp_path / "types_of.py").write_text(TYPES)

    def run_as(*words: str) -> str:
        command = [sys.executable, "types_of.py", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    assert run_as("double") == "float64 4.0"
    (tmp_path / "types_of.py").write_text(TYPES + "\n# newer")  # what is kept is stale now
    assert run_as("single", "stop") == "float32 4.0"
    assert run_as("single") == "float32 4.0"
    assert run_as("double") == "float64 4.0"


def test_the_digest_is_that_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "loops.py").write_text("x = 1")
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    (tmp_path / "b" / "more.py").write_text("")
    digest_of.cache_clear()
    assert digest_of(tmp_path / "a") != digest_of(tmp_path / "b")


def test_without_a_folder_for_the_cache_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    njit = numba.njit

    def refusing(*arguments: object, cache: bool = False, **options: object) -> object:
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*arguments, **options)

    monkeypatch.setattr(numba, "njit", refusing)
    assert compiled(lambda x: x + 1)(1.0) == 2.0
