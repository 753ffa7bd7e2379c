"""Processes of this program that carry out its own functions, and look for modules only where this one does.

Python looks for modules in the present folder first when it begins with a command (`-c`, `-m`), as the processes of
`multiprocessing` do: a file `json.py` of somebody else's data would be run. Here a process begins isolated (`-I`), on
any version of Python, and is given the search path of its parent before it imports anything.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from nearsight.errors import NearsightError

_START = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path[:] = sys.argv[2:]
from nearsight.child_process import main
main(int(sys.argv[1]))
"""
_PATIENCE = 10.0
"""Seconds that a process has to end before it is ended by force."""


class ChildProcess:
    """A fresh interpreter that calls one function.

    Parameters
    ----------
    function : callable
        A function of a module, called with the child's end of the connection and `arguments`.
    *arguments : object
        Anything that can be pickled.
    environment : mapping of str to str, optional
        Variables that the process has besides those of this one, such as the threads of BLAS.

    Attributes
    ----------
    connection : multiprocessing.connection.Connection
        This process's end.

    Notes
    -----
    An interrupt from the keyboard goes to the parent alone, which decides what becomes of its children.
    """

    def __init__(
        self, function: Callable[..., None], *arguments: object, environment: Mapping[str, str] | None = None
    ) -> None:
        self.connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, str(theirs.fileno()), *_search_path()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                pass_fds=[theirs.fileno()],
            )
        with contextlib.suppress(OSError):  # one that has ended already says so by its exit code
            self.connection.send((function, arguments))

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._process.poll()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.exit_code is None


def end(processes: Sequence[ChildProcess]) -> None:
    """End processes, by force those that do not end within ten seconds.

    Parameters
    ----------
    processes : sequence of ChildProcess
        All of them are asked before the first is waited for.
    """
    for child in processes:
        child._process.terminate()
    last = time.monotonic() + _PATIENCE
    for child in processes:
        try:
            child._process.wait(max(0.0, last - time.monotonic()))
        except subprocess.TimeoutExpired:
            child._process.kill()
            child._process.wait()
        child.connection.close()


class Workers:
    """Processes that answer one task after another, used in a `with` block.

    Parameters
    ----------
    count : int
        Their number.
    make : callable
        A function of a module; called once in each process, it returns the function that answers a task.
    *arguments : object
        Its arguments.
    environment : mapping of str to str, optional
        As of `ChildProcess`.
    """

    def __init__(
        self,
        count: int,
        make: Callable[..., Callable[[Any], Any]],
        *arguments: object,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._start = lambda: ChildProcess(_serve, make, arguments, environment=environment)
        self._count = count
        self._processes: list[ChildProcess] = []

    def __enter__(self) -> Workers:
        try:
            for _ in range(self._count):
                self._processes.append(self._start())
        except BaseException:
            end(self._processes)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end(self._processes)

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield the answers in the order of the tasks, each as soon as it and those before are there.

        Parameters
        ----------
        tasks : iterable of object
            What is answered; one is given to each process at a time.

        Raises
        ------
        NearsightError
            If a process ends before its answer; an error met in one of them is raised here.
        """
        waiting, done, told = iter(enumerate(tasks)), {}, 0
        busy: dict[Connection, tuple[int, ChildProcess]] = {}
        for child in self._processes:
            _give(child, waiting, busy)
        while busy:
            for connection in wait(list(busy)):
                number, child = busy.pop(connection)  # type: ignore[call-overload]
                done[number] = _answer(child)
                _give(child, waiting, busy)
            while told in done:
                yield done.pop(told)
                told += 1


def main(handle: int) -> None:
    """Carry out what the parent sends: the function that a new process begins with.

    Parameters
    ----------
    handle : int
        Number of the open file that is the connection to the parent.
    """
    with Connection(handle) as connection:
        function, arguments = connection.recv()
        function(connection, *arguments)


def _serve(connection: Connection, make: Callable[..., Callable[[Any], Any]], arguments: Sequence[object]) -> None:
    """Answer tasks until the parent closes the connection."""
    answer = make(*arguments)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent may have been killed
        while True:
            task = connection.recv()
            try:
                said = True, answer(task)
            except Exception as error:
                said = False, _picklable(error)
            connection.send(said)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return NearsightError(f"{type(error).__name__}: {error}")
    return error


def _give(
    child: ChildProcess, waiting: Iterator[tuple[int, Any]], busy: dict[Connection, tuple[int, ChildProcess]]
) -> None:
    """Give a process the next task, if there is one."""
    for number, task in waiting:
        with contextlib.suppress(OSError):  # found where its answer is read
            child.connection.send(task)
        busy[child.connection] = number, child
        return


def _answer(child: ChildProcess) -> Any:
    try:
        good, said = child.connection.recv()
    except (EOFError, OSError) as error:
        code = child._process.wait()
        raise NearsightError(
            f"expected an answer of a process that computes, got its end with exit code {code}; was it killed "
            "(memory)? Use fewer processes, or give it more memory"
        ) from error
    if not good:
        raise said
    return said


def _search_path() -> list[str]:
    """Where this process looks for modules; the present folder, if it is among them, comes last."""
    return [os.path.abspath(p) for p in sys.path if p] + [os.getcwd() for p in sys.path if not p]
