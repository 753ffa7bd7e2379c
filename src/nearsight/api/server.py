"""A page in the browser of this machine: a structure goes in, the report of its prediction comes out.

It listens on 127.0.0.1 alone and answers under one address, which holds a word that nobody else knows; everything else
is `404 Not Found`, so that no other user, page or machine gets an answer, and no path leads to a file. What is sent is
an xyz or a store (`.h5`), bounded in size, read by the readers of this package in a folder that is removed.
"""

from __future__ import annotations

import html
import json
import secrets
import sys
import tempfile
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from nearsight.api.models import Model, load_model
from nearsight.api.reports import write_report
from nearsight.errors import InputError, NearsightError
from nearsight.formats.structure_files import parse_cell, read_structure
from nearsight.operators.store import is_store, read_calculation

HERE = "127.0.0.1"
KINDS = (".xyz", ".extxyz", ".h5")
"""What may be sent: formats whose readers open no other file."""
LARGEST = 64_000_000
"""Bytes that are taken."""
MOST_ATOMS = 1000
_PATIENCE = 30.0
"""Seconds that a request may take to arrive."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data: blob:; form-action 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Server:
    """A server for one model, and for files that hold H already.

    Parameters
    ----------
    model : Model, str or pathlib.Path, optional
        Predicts H of structures; without one, only stores with H and S are taken.
    port : int, default 0
        Where it listens; 0 for any that is free.
    most_atoms : int, optional
        Larger structures are refused.
    largest : int, optional
        Bytes of a file that are taken.
    **keys
        Passed on to `Model.predict`, such as ``self_consistent=False``.

    Attributes
    ----------
    url : str
        The address to open.

    Raises
    ------
    FormatError
        If the model cannot be read.
    InputError
        If the port is taken.

    Examples
    --------
    >>> from nearsight.api.server import Server
    >>> with Server() as server:  # `server.serve()` answers until Ctrl-C
    ...     server.url.startswith("http://127.0.0.1:")
    True
    """

    def __init__(
        self,
        model: Model | str | Path | None = None,
        *,
        port: int = 0,
        most_atoms: int = MOST_ATOMS,
        largest: int = LARGEST,
        **keys: Any,
    ) -> None:
        self.model = load_model(model) if isinstance(model, str | Path) else model
        self.most_atoms, self.largest, self.keys = most_atoms, largest, keys
        self._token, self._one_at_a_time = secrets.token_urlsafe(24), threading.Lock()
        self._serving = threading.Event()
        try:
            self._http = _Connections((HERE, port), _handler_for(self))
        except (OSError, OverflowError) as error:
            raise InputError(f"expected a port that is free, got {port}: {error}") from error
        self.port = int(self._http.server_address[1])
        self.url = f"http://{HERE}:{self.port}/{self._token}/"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def serve(self) -> None:
        """Answer until `close` is called in another thread, or the process is interrupted."""
        self._serving.set()
        try:
            self._http.serve_forever(poll_interval=0.1)
        finally:
            self._serving.clear()

    def close(self) -> None:
        """Stop, and give the port back."""
        if self._serving.is_set():
            self._http.shutdown()
        self._http.server_close()

    def knows(self, path: str) -> str | None:
        """Return what follows the secret word in a path of a request; None for any other path."""
        word, slash, rest = path.removeprefix("/").partition("/")
        own = secrets.compare_digest(word.encode(), self._token.encode())
        return rest if own and slash else None

    def report(self, name: str, content: bytes, cell: str = "") -> str:
        """Return the page of what was sent.

        Parameters
        ----------
        name : str
            The name of the file, of which only the ending counts.
        content : bytes
            Its content.
        cell : str, optional
            Å, where the file has none: 1, 3 or 9 numbers, or `none` for a molecule.

        Raises
        ------
        NearsightError
            If it is of another kind, damaged or too large, or there is neither a model nor H in it.
        """
        ending = Path(name).suffix.lower()
        if ending not in KINDS:
            raise InputError(f"expected a file {', '.join(KINDS)}, got {name!r:.80}")
        with self._one_at_a_time, tempfile.TemporaryDirectory(prefix="nearsight-served-") as folder:
            path = Path(folder) / f"structure{ending}"
            path.write_bytes(content)
            try:
                return self._page(path, cell)
            except NearsightError as error:  # the name of a folder that is no more says nothing
                raise InputError(str(error).replace(f"{path}: ", "").replace(str(path), "the file")) from error

    def _page(self, path: Path, cell: str) -> str:
        given = parse_cell(cell) if cell.strip() else None
        isolated = bool(cell.strip()) and given is None
        known = read_calculation(path) if path.suffix == ".h5" and is_store(path) else None
        structure = known.structure if known is not None else read_structure(path, given, isolated=isolated)
        if len(structure) > self.most_atoms:
            raise InputError(f"expected at most {self.most_atoms} atoms, got {len(structure)}; use nearsight predict")
        if known is not None and known.hamiltonian is not None:
            source: Any = known
        elif self.model is not None:
            source = self.model.predict(structure, known, **self.keys)
        else:
            raise InputError("expected a store with H, for no model was given, got a structure alone")
        return write_report(source, output=path.with_name("page.html")).read_text(encoding="utf-8")

    def form(self) -> str:
        """Return the page on which a file is chosen."""
        text = files("nearsight.report").joinpath("assets", "serve.html").read_text(encoding="utf-8")
        what = "none, so that only files (.h5) with H and S are shown"
        if self.model is not None:
            what = f"of {self.model.basis.describe()}"
        return text.replace("{{ model }}", html.escape(what)).replace("{{ most }}", f"{self.most_atoms:,}")


class _Connections(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where the other side went away; anything else is a fault."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _handler_for(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version, timeout = "nearsight", "", _PATIENCE

        def do_GET(self) -> None:
            if self._place() == "":
                self._answer(HTTPStatus.OK, server.form())

        def do_POST(self) -> None:
            if self._place() != "report":
                return
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or len(length) > 20 or int(length) > server.largest:
                self.close_connection = True
                self._problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {server.largest:,} bytes, got {length:.20}"
                )
                return
            said = parse_qs(urlsplit(self.path).query)
            content = self.rfile.read(int(length))
            if len(content) < int(length):  # it was broken off
                self.close_connection = True
                return
            try:
                page = server.report(said.get("name", [""])[-1], content, said.get("cell", [""])[-1])
            except NearsightError as error:
                self._problem(HTTPStatus.BAD_REQUEST, str(error))
            else:
                self._answer(HTTPStatus.OK, page)

        def _place(self) -> str | None:
            """What is asked for; None where the answer is that there is nothing."""
            host = self.headers.get("Host", "")
            try:
                rest = server.knows(urlsplit(self.path).path)
            except ValueError:  # no address
                rest = None
            origin = self.headers.get("Origin")
            own = (f"{HERE}:{server.port}", f"localhost:{server.port}")
            foreign = origin is not None and origin not in [f"http://{name}" for name in own]
            fits = (rest == "report") == (self.command == "POST")
            if host in own and not foreign and fits and rest in ("", "report"):
                return rest
            self.close_connection = True
            self._problem(HTTPStatus.NOT_FOUND, "expected the address that nearsight serve prints, got another one")
            return None

        def _problem(self, status: HTTPStatus, text: str) -> None:
            self._answer(status, json.dumps({"error": text}, ensure_ascii=False), "application/json")

        def _answer(self, status: HTTPStatus, text: str, kind: str = "text/html") -> None:
            body = text.encode()
            self.send_response(status)
            for key, value in {**_HEADERS, "Content-Type": f"{kind}; charset=utf-8"}.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: Any) -> None:
            """Say nothing: the address, which is secret, would stand in the log."""

    return Handler
