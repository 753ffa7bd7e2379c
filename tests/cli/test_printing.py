"""Text of others is printed as it is: no markup, no emoji, nothing that steers the terminal."""

from __future__ import annotations

import ast
import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from typer.testing import CliRunner

from nearsight.cli import main as cli
from nearsight.cli.printing import Terminal, Words, say, show, visible

SOURCES = Path(cli.__file__).parent
ROOT = Path(__file__).parents[2]
FOREIGN = "[/red] [bold]x[/] [link=a] :warning: \\[ [[ ]"
MODEL = ROOT / "tests" / "data" / "version_0_1_0" / "nearsight"


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def terminal() -> Terminal:
    terminal = Terminal()
    terminal.file, terminal._width = io.StringIO(), 200
    return terminal


def test_lines_and_tables_and_rules(terminal: Terminal) -> None:
    say(terminal, FOREIGN)
    say(terminal, Path(FOREIGN), "red")
    terminal.print(FOREIGN)
    table = Table(title=FOREIGN, caption=FOREIGN)
    table.add_column(FOREIGN)
    table.add_row(FOREIGN)
    show(terminal, table)
    terminal.rule(FOREIGN)
    assert printed(terminal).count(FOREIGN) == 8


def test_words_beside_a_bar(terminal: Terminal) -> None:
    with Progress(Words("{task.description}"), console=terminal) as bars:
        task = bars.add_task(FOREIGN)
        assert str(bars.columns[0](bars.tasks[task])) == FOREIGN


def test_what_steers_a_terminal_is_shown() -> None:
    assert visible("a\x1b[31mb\x07\r\u202ec\ud800\x9b\nÅ\t₀ é") == "a\\x1b[31mb\\x07\\r\\u202ec\\ud800\\x9b\nÅ\t₀ é"


WORDS = (
    "spectrum A",
    "spectrum A --states 4",
    "spectrum A --method kpm",
    "dos A --csv B.csv",
    "bands A --points 12 --csv B.csv",
    "charges A",
    "check A --quick",
    "check B --quick",
    "evaluate A A",
    "evaluate A A --states",
    "view A --no-states",
    "report A",
    "figure decay A -o B.png",
    "predict MODEL A -o B",
    "import A -o B",
    "start A --pyscf B.npy",
    "overlap A -o B",
    "spectrum B",
    "train B",
    "generate B",
    "report B",
    "import B -o C",
)


@pytest.mark.parametrize("words", WORDS)
def test_every_command_with_brackets_in_its_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("[red] :smile: [", "red] [bold]", "x[")
    folder.mkdir(parents=True)
    names = {"A": folder / "a[/red].h5", "B": folder / "b[/].h5", "C": folder / "c[/b]", "MODEL": MODEL}
    names |= {f"B.{end}": folder / f"b[/].{end}" for end in ("csv", "png", "npy")}
    for name in ("A", "B", "C"):
        names[name].parent.mkdir(exist_ok=True)
    data = MODEL.parent / "calculation.h5" if words.startswith("predict") else ROOT / "data" / "silicon_2.h5"
    shutil.copy(data, names["A"])
    result = CliRunner().invoke(cli.app, [str(names.get(word, word)) for word in words.split()], env={"COLUMNS": "250"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    if result.exit_code:
        assert "[" in result.output


def test_commands_print_through_one_module() -> None:
    for path in sorted(SOURCES.glob("*.py")):
        if path.name == "printing.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                allowed = path.name == "main.py" and called == "print"  # the version
                assert called not in ("Console", "TextColumn", "print", "typer.echo", "click.echo") or allowed, (
                    f"{path.name}:{node.lineno} calls {called}"
                )
                assert not called.endswith("console.print"), f"{path.name}:{node.lineno} calls {called}"
