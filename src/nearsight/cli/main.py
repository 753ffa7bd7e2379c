"""The `nearsight` command: which commands there are, and how errors reach the user.

A command's module is imported when the command runs, so that `nearsight --help` is fast and importing a file needs no
torch. A new command is one file with one function, and one line in COMMANDS.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from types import FrameType
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from nearsight.errors import ConfigError, NearsightError
from nearsight.launch import launched
from nearsight.version import __version__

COMMANDS = {
    "import": ("import_:import_command", "Put H, S and structure from a DFT code into one file (.h5)."),
    "check": ("check:check_command", "Look for wrong units, orders and signs, damage and leaks in data."),
    "generate": ("generate:generate_command", "Make structures and compute them: melt-quench, CP2K, PySCF."),
    "train": ("train:train_command", "Train a network on structures with Hamiltonians."),
    "predict": ("predict:predict_command", "Predict the Hamiltonian of a structure that has none."),
    "overlap": ("overlap:overlap_command", "The overlap matrix S of a structure, without a DFT run."),
    "export": ("export:export_command", "Write H and S as DeepH, SIESTA, ABACUS … read them."),
    "start": ("start:start_command", "Start CP2K or PySCF from a predicted Hamiltonian."),
    "evaluate": ("evaluate:evaluate_command", "Compare a predicted Hamiltonian with a reference."),
    "spectrum": ("spectrum:spectrum_command", "Eigenvalues, gap and Fermi level from H and S."),
    "dos": ("dos:dos_command", "The density of states, whole or by element, shell or atom."),
    "bands": ("bands:bands_command", "The band structure along special points of the lattice."),
    "charges": ("charges:charges_command", "Charges of the atoms from H and S."),
    "transport": ("transport:transport_command", "Transmission and current from lead to lead through a device."),
    "figure": ("figure:figure_command", "The analysis figures of the paper."),
    "energy": ("energy:energy_command", "The total energy of the density of H, by PySCF without a cycle."),
    "view": ("view:view_command", "The structure in 3D, coloured by charge, local states or error."),
    "report": ("report:report_command", "One HTML page with figures and numbers."),
    "serve": ("serve:serve_command", "A page in the browser: a structure in, spectrum and 3D view out."),
    "reproduce": ("reproduce:reproduce_command", "The paper's tables and figures: train, test, compare."),
    "demo": ("demo:demo_command", "All of these on two shipped structures of HfO2."),
}
"""Name → (module in nearsight.cli : function, what `nearsight --help` says about it)."""

IN_SEVERAL_PROCESSES = {"train", "predict", "transport"}
"""Commands that torchrun can start in several processes."""

EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_SIGNAL = 128
"""To which the number of a signal is added, as shells do."""


class Terminated(KeyboardInterrupt):
    """A signal asked the process to end; raised so that it cleans up on its way out.

    Attributes
    ----------
    signal : signal.Signals
        Which.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)


def load_command(name: str) -> typer.core.TyperCommand:
    """Import the module of a command and return the command.

    Its help is the module's EXAMPLE, or else the function's docstring.

    Parameters
    ----------
    name : str
        One of `COMMANDS`.
    """
    module_name, function_name = COMMANDS[name][0].split(":")
    module = import_module(f"nearsight.cli.{module_name}")
    function = getattr(module, function_name)
    text = getattr(module, "EXAMPLE", None) or inspect.getdoc(function) or COMMANDS[name][1]
    alone = typer.Typer(add_completion=False)
    alone.command(name=name, help=_help_text(text), context_settings={"help_option_names": ["-h", "--help"]})(function)
    command = typer.main.get_command(alone)
    command.name = name
    return command  # type: ignore[return-value]


def _help_text(text: str) -> str:
    """Return a help text in which brackets, as in `data.train=[file.h5]`, are no markup."""
    from rich.markup import escape

    return escape(inspect.cleandoc(text))


class LazyCommands(typer.core.TyperGroup):
    """A group of commands that lists all of them, and imports the one that runs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, line) in COMMANDS.items():
            self.commands[name] = typer.core.TyperCommand(name, help=line)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands in the order of use."""
        return list(COMMANDS)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that `args` begin with, loaded, and the arguments for it."""
        with reported_errors(bool(ctx.params.get("verbose"))):
            name, command, rest = super().resolve_command(ctx, args)
            _check_launch(name)
            with _interrupted_afterwards():
                found = load_command(name) if name in COMMANDS else command
            return name, found, rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what goes wrong on purpose becomes a message and an exit code."""
        with reported_errors(bool(ctx.params.get("verbose"))):
            return super().invoke(ctx)


def _check_launch(name: str | None) -> None:
    """Refuse a command that several processes would do several times over."""
    launch = launched()
    if launch.count > 1 and name not in IN_SEVERAL_PROCESSES:
        raise ConfigError(
            f"expected one process for `nearsight {name}`, got {launch.count}; start it without torchrun "
            f"(in several processes: {', '.join(sorted(IN_SEVERAL_PROCESSES))})"
        )


@contextlib.contextmanager
def _interrupted_afterwards() -> Iterator[None]:
    """Hold Ctrl-C back: libraries that are interrupted while they are imported say that they are not there."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


@contextlib.contextmanager
def reported_errors(verbose: bool) -> Iterator[None]:
    """Turn errors of the user's input into one red line on stderr and exit code 2, and Ctrl-C into 130.

    Parameters
    ----------
    verbose : bool
        Whether errors pass through with their traceback.
    """
    try:
        yield
    except Terminated as stop:
        _say(f"stopped by {stop.signal.name}", "yellow")
        raise typer.Exit(EXIT_SIGNAL + stop.signal) from None
    except KeyboardInterrupt:
        _say("interrupted", "yellow")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except NearsightError as error:
        if verbose:
            raise
        _say(f"{_speaker()}error: {error}", "red")
        raise typer.Exit(EXIT_INPUT) from error
    except OSError as error:
        if verbose or error.errno is None:
            raise
        if error.filename is None:
            _flush()  # what could not be written may be the output itself
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        _say(f"error: {place}{error.strerror}", "red")
        raise typer.Exit(EXIT_INPUT) from error


def _speaker() -> str:
    """Return which of several processes speaks."""
    with contextlib.suppress(NearsightError):
        launch = launched()
        return f"process {launch.rank} of {launch.count}: " if launch.count > 1 else ""
    return ""


def _say(text: str, style: str) -> None:
    """Print a line to stderr as it is: brackets in foreign text are no markup."""
    from nearsight.cli.printing import Terminal, say  # rich takes a quarter of the time that --version takes

    say(Terminal(stderr=True), text, style)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nearsight {__version__}")
        raise typer.Exit


def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")] = False,
) -> None:
    """Learn the Kohn-Sham Hamiltonian of large disordered structures, and use it.

    The way through: import → train → predict → evaluate, spectrum, report. `nearsight COMMAND --help` has an example.
    """


app = typer.Typer(
    cls=LazyCommands,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(start)


def main() -> None:
    """Entry point of the console script."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A signal that the parent ignores, as nohup does, stays ignored.
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files need not be text
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    finally:
        _flush()


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


def _flush() -> None:
    """Write out what is buffered; where the reader of a pipe is gone, silently nowhere."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _say(f"error: standard output: {error.strerror}", "red")
            raise SystemExit(EXIT_INPUT) from None


if __name__ == "__main__":
    main()
