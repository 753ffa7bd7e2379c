"""The command as a user starts it: help, errors, exit codes, and what is imported for them."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from nearsight import __version__
from nearsight.cli import main as cli
from nearsight.errors import InputError

SOURCES = Path(cli.__file__).parent


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments), env={"COLUMNS": "150"})


MAIN = "from nearsight.cli.main import main; main()"


def start(*arguments: str, code: str = MAIN) -> subprocess.CompletedProcess[str]:
    """A process of its own, as the console script starts it."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parents[1]), "COLUMNS": "150"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A command `probe` whose function is set by the test."""
    module = types.ModuleType("nearsight.cli.probe")
    monkeypatch.setitem(sys.modules, "nearsight.cli.probe", module)
    monkeypatch.setitem(cli.COMMANDS, "probe", ("probe:probe_command", "For this test."))
    return module


def raising(error: BaseException) -> object:
    def probe_command() -> None:
        raise error

    return probe_command


def test_help_lists_every_command_with_its_line() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, (_, line) in cli.COMMANDS.items():
        assert f" {name} " in result.stdout
        assert line in result.stdout


def test_commands_are_listed_in_the_order_of_use() -> None:
    lines = run("--help").stdout.split("Commands")[1].splitlines()
    names = [words[1] for line in lines if len(words := line.split()) > 2 and words[1] in cli.COMMANDS]
    assert names == [
        "import",
        "check",
        "generate",
        "train",
        "predict",
        "overlap",
        "export",
        "start",
        "evaluate",
        "spectrum",
        "dos",
        "bands",
        "charges",
        "transport",
        "figure",
        "energy",
        "view",
        "report",
        "serve",
        "reproduce",
        "demo",
    ]


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert f"nearsight {name}" in result.stdout.split("Usage:")[1].split("\n", 1)[1]


def test_brackets_in_an_example_are_shown(command: types.ModuleType) -> None:
    command.probe_command = lambda: None
    command.EXAMPLE = "Probe.\n\nExample: nearsight probe 'data.train=[bold]'"
    assert "nearsight probe 'data.train=[bold]'" in run("probe", "--help").stdout


def test_version() -> None:
    result = run("--version")
    assert (result.exit_code, result.stdout.strip()) == (0, f"nearsight {__version__}")


def test_no_command_shows_the_help() -> None:
    result = run()
    assert result.exit_code == 2
    assert "spectrum" in result.output


def test_a_misspelt_command_gets_a_suggestion() -> None:
    result = run("pedict")
    assert result.exit_code == 2
    assert "predict" in result.stderr


def test_an_unknown_file_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = start("import", str(tmp_path / "nothing"), "-o", str(tmp_path / "a.h5"))
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {tmp_path / 'nothing'}: expected ")
    assert "no such file" in lines[0]


def test_verbose_shows_the_traceback(tmp_path: Path) -> None:
    done = start("--verbose", "import", str(tmp_path / "nothing"), "-o", str(tmp_path / "a.h5"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "FormatError" in done.stderr


def test_an_error_of_the_input_is_code_2(command: types.ModuleType) -> None:
    command.probe_command = raising(InputError("expected [bold] 3, got 4"))
    result = run("probe")
    assert result.exit_code == 2
    assert result.stderr == "error: expected [bold] 3, got 4\n"


def test_a_file_that_cannot_be_opened_is_code_2(command: types.ModuleType, tmp_path: Path) -> None:
    command.probe_command = lambda: (tmp_path / "none").read_text() and None
    result = run("probe")
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path / 'none'}: No such file or directory\n"


def test_a_bug_is_not_dressed_up(command: types.ModuleType) -> None:
    command.probe_command = raising(ZeroDivisionError("bug"))
    result = run("probe")
    assert isinstance(result.exception, ZeroDivisionError)


def test_interrupted_is_code_130(command: types.ModuleType) -> None:
    command.probe_command = raising(KeyboardInterrupt())
    result = run("probe")
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_an_exit_code_of_a_command_passes_through(command: types.ModuleType) -> None:
    command.probe_command = raising(typer.Exit(7))
    assert run("probe").exit_code == 7


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no pipes that break")
def test_a_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parents[1])}
    with os.fdopen(writer, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "--version"],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            timeout=300,
            check=False,
        )
    assert done.stderr == ""


LIST_MODULES = """
import json, sys
from nearsight.cli.main import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_imports_next_to_nothing(arguments: tuple[str, ...]) -> None:
    loaded = set(json.loads(start(*arguments, code=LIST_MODULES).stderr))
    assert not loaded & {"torch", "numpy", "scipy", "ase", "h5py", "matplotlib", "pandas", "nearsight.cli.train"}


@pytest.mark.parametrize("name", ["import", "evaluate", "spectrum"])
def test_commands_that_need_no_network_do_not_import_torch(name: str) -> None:
    done = start(name, "--help", code=LIST_MODULES)
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert f"nearsight.cli.{cli.COMMANDS[name][0].split(':')[0]}" in loaded
    assert not loaded & {"torch", "e3nn"}


def test_every_command_file_is_registered() -> None:
    """A file in cli/ with a function NAME_command is in the table, and under its own name."""
    found = {
        f"{path.stem}:{node.name}"
        for path in SOURCES.glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_command") and node.name != "load_command"
    }
    assert found == {target for target, _ in cli.COMMANDS.values()}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_no_temporary_file(tmp_path: Path, name: str) -> None:
    code = f"""
import os, signal, typer
from nearsight.cli import main as cli
from nearsight.atomic_files import written_atomically
@cli.app.command()
def probe():
    with written_atomically({str(tmp_path / "a.txt")!r}) as temporary:
        temporary.write_text("half")
        os.kill(os.getpid(), signal.{name})
        signal.pause()
signal.signal(signal.{name}, signal.SIG_DFL)  # nohup leaves SIGHUP ignored
cli.main()
"""
    done = start("probe", code=code)
    assert done.stderr == f"stopped by {name}\n"
    assert done.returncode == 128 + getattr(signal, name)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_no_text_is_an_error_like_others(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "spectrum", os.fsencode(tmp_path) + b"/\xff.h5"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES.parents[1])},
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ")
    assert b"\\udcff.h5" in done.stderr


def test_ctrl_c_while_libraries_are_imported(monkeypatch):
    """They would say that they are not there."""

    def load(name):
        signal.raise_signal(signal.SIGINT)
        loaded.append(name)

    loaded: list[str] = []
    monkeypatch.setattr(cli, "load_command", load)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # behind `&` a shell lets it be ignored
    try:
        assert CliRunner().invoke(cli.app, ["spectrum", "a.h5"]).exit_code == 130
        assert loaded == ["spectrum"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_package_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "nearsight", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"nearsight {__version__}\n"


def test_commands_for_one_process_refuse_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    result = CliRunner().invoke(cli.app, ["spectrum", "a.h5"])
    assert result.exit_code == cli.EXIT_INPUT
    assert result.stderr.startswith("process 1 of 2: error: expected one process for `nearsight spectrum`, got 2")
    assert "Traceback" not in result.stderr
