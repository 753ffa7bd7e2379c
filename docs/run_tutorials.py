"""Run the code of Markdown pages as a reader would, from top to bottom.

    python docs/run_tutorials.py                        # all of docs/tutorials
    python docs/run_tutorials.py docs/tutorials/ase.md

A page runs in an empty folder of its own, in which `data` and `tests` are those of the repository. Its blocks

- ```python and ```bash are executed, in order; all Python blocks of a page share one interpreter;
- with a title, such as ```yaml title="my.yaml", are written to a file of that name instead;
- of any other language, such as ```text and ```console, are left alone.

A page ends with the first block that fails: the exit status is 1, and the block and its line are named.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "tutorials"
LINKED = ("data", "tests")
_FENCE = re.compile(r'^(?P<indent> *)```(?P<language>\w+)(?: +title="(?P<title>[^"]+)")? *$')
_DONE = "\0done"


@dataclass(frozen=True)
class Block:
    """A block of code of a page.

    Attributes
    ----------
    language
        As the page says.
    title
        The file that it is, or None.
    code
        Its lines, without the indentation of the block.
    line
        Of the page, where the code begins.
    """

    language: str
    title: str | None
    code: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """The blocks of code of a page, in order."""
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        opening = _FENCE.match(lines[position])
        position += 1
        if opening is None:
            continue
        start, indent = position, len(opening["indent"])
        while position < len(lines) and lines[position].strip() != "```":
            position += 1
        code = "\n".join(line[indent:] for line in lines[start:position]) + "\n"
        yield Block(opening["language"], opening["title"], code, start + 1)
        position += 1


class Interpreter:
    """A Python process that runs one block after the other."""

    _LOOP = (
        "import sys, traceback\n"
        "scope = {'__name__': '__main__'}\n"
        "while size := int(sys.stdin.readline() or 0):\n"
        "    code = sys.stdin.read(size)\n"
        "    try:\n"
        "        exec(compile(code, 'block', 'exec'), scope)\n"
        "    except BaseException:\n"
        "        traceback.print_exc(file=sys.stdout)\n"
        "        sys.exit(1)\n"
        f"    print({_DONE!r}, flush=True)\n"
    )

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self._LOOP],
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, code: str) -> bool:
        """Whether the code ended without an exception; what it prints is printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{len(code)}\n{code}")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.rstrip("\n") == _DONE:
                return True
            print("   ", line, end="", flush=True)
        return False

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def run_page(page: Path) -> bool:
    """Whether all blocks of a page run."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "COLUMNS": "100"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for linked in LINKED:
            (folder / linked).symlink_to(ROOT / linked)
        interpreter = Interpreter(folder, environment)
        try:
            for block in blocks(page.read_text()):
                started = time.monotonic()
                if block.title is not None:
                    (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
                    (folder / block.title).write_text(block.code)
                    continue
                if block.language == "python":
                    well = interpreter.run(block.code)
                elif block.language == "bash":
                    command = ["bash", "-euo", "pipefail", "-c", block.code]
                    well = subprocess.run(command, cwd=folder, env=environment).returncode == 0
                else:
                    continue
                seconds = time.monotonic() - started
                where = f"{page.relative_to(ROOT)}:{block.line}"
                print(f"{where}: {block.language} block {'ran' if well else 'FAILED'} ({seconds:.1f} s)", flush=True)
                if not well:
                    return False
        finally:
            interpreter.close()
    return True


def main() -> None:
    """Command line."""
    pages = [Path(name).resolve() for name in sys.argv[1:]] or sorted(PAGES.glob("*.md"))
    failed = [page.name for page in pages if not run_page(page)]
    if failed:
        raise SystemExit(f"expected pages whose code runs, got errors in {', '.join(failed)}")


if __name__ == "__main__":
    main()
