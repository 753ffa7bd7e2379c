"""`nearsight serve`: what is answered, to whom, and what is not."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from nearsight.api.server import Server
from nearsight.errors import InputError

ROOT = Path(__file__).parents[2]
SILICON = (ROOT / "data" / "silicon_2.h5").read_bytes()
MODEL = ROOT / "tests" / "data" / "version_0_1_0" / "nearsight"
HFO2 = b"""3
Lattice="5.1 0 0 0 5.2 0 0 0 5.3"
Hf 0 0 0
O 2.0 0.3 0.2
O 0.4 2.1 0.3
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(MODEL, most_atoms=20, largest=2_000_000, self_consistent=False) as made:
        thread = threading.Thread(target=made.serve)
        thread.start()
        yield made
    thread.join(10)
    assert not thread.is_alive()


def ask(server: Server, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str, str]:
    """Status, kind and text of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        assert answer.getheader("Content-Security-Policy", "").startswith("default-src 'self'")
        return answer.status, str(answer.getheader("Content-Type")), answer.read().decode()
    finally:
        connection.close()


def send(server: Server, name: str, body: bytes, cell: str = "") -> tuple[int, str]:
    """Status and text of the answer to a file."""
    path = f"{urlsplit(server.url).path}report?{urlencode({'name': name, 'cell': cell})}"
    status, _, text = ask(server, "POST", path, body)
    return status, text if status == 200 else json.loads(text)["error"]


def test_the_form(server: Server) -> None:
    status, kind, text = ask(server, "GET", urlsplit(server.url).path)
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert "Hf 2s1p1d" in text
    assert "{{" not in text
    assert "http" not in text.lower().replace("doctype html", "")


def test_a_structure_goes_in_and_its_report_comes_out(server: Server) -> None:
    status, text = send(server, "a.xyz", HFO2)
    assert status == 200
    assert "Predicted Hamiltonian of HfO2" in text
    status, text = send(server, "b.H5", SILICON)
    assert status == 200
    assert ">Hamiltonian of Si2" in text
    assert "3Dmol" in text


WRONG = {
    "another kind": ("a.cif", HFO2, "", "expected a file .xyz"),
    "an input that could name other files": ("a.inp", b"@INCLUDE '/etc/passwd'", "", "expected a file .xyz"),
    "no structure": ("a.xyz", b"hello", "", "expected"),
    "a name that is a path": ("../../a.xyz", b"", "", "expected"),
    "no cell": ("a.xyz", b"1\n\nHf 0 0 0\n", "", "give the cell"),
    "a cell that is none": ("a.xyz", b"1\n\nHf 0 0 0\n", "x y", "expected"),
    "no HDF5": ("a.h5", HFO2, "", "expected"),
    "another element": ("a.xyz", b"1\n\nAu 0 0 0\n", "9", "Au"),
    "too many atoms": ("a.xyz", b"21\n\n" + b"".join(b"O %d 0 0\n" % (2 * k) for k in range(21)), "90", "at most 20"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_said(case: str, server: Server) -> None:
    name, body, cell, message = WRONG[case]
    status, text = send(server, name, body, cell)
    assert status == 400
    assert message in text
    assert "nearsight-served-" not in text


def test_nothing_else_is_answered(server: Server) -> None:
    """No path of the file system, no other word, method, host or page."""
    own = urlsplit(server.url).path
    others = ["/", "/etc/passwd", own + "../../etc/passwd", own + "%2e%2e/etc/passwd", own + "/etc/passwd", own[:-1]]
    others += [own[:-2] + ("y/" if own[-2] == "x" else "x/"), own + "report", own + "file", "/x" + own, own.upper()]
    for path in others:
        assert ask(server, "GET", path)[0] == 404
    assert ask(server, "POST", own, b"")[0] == 404
    assert ask(server, "POST", "/x/report?name=a.xyz", HFO2)[0] == 404
    for headers in ({"Host": f"evil.example:{server.port}"}, {"Origin": "http://evil.example"}):
        assert ask(server, "GET", own, **headers)[0] == 404
        assert ask(server, "POST", own + "report?name=a.xyz", HFO2, **headers)[0] == 404
    for method in ("PUT", "DELETE", "HEAD", "OPTIONS"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request(method, own)
        assert connection.getresponse().status == 501
        connection.close()


def test_the_size_is_bounded_before_anything_is_read(server: Server) -> None:
    path = urlsplit(server.url).path + "report?name=a.xyz"
    for length in ("2000001", "-1", "x", ""):
        status, _, text = ask(server, "POST", path, None, **{"Content-Length": length})
        assert (status, "at most 2,000,000 bytes" in text) == (413, True)


def test_a_client_that_goes_away_leaves_no_word(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    path = urlsplit(server.url).path + "report?name=a.xyz"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 1000\r\n\r\n".encode()
    for body in (b"", HFO2):  # the second is a whole structure, but not all that was announced
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head + body)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets it
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + HFO2)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert ask(server, "GET", urlsplit(server.url).path)[0] == 200
    assert capfd.readouterr() == ("", "")


def test_without_a_model_only_files_with_h_are_shown() -> None:
    with Server() as alone:
        assert ">Hamiltonian of Si2" in alone.report("a.h5", SILICON)
        with pytest.raises(InputError, match="no model was given, got a structure alone"):
            alone.report("a.xyz", HFO2)
        with pytest.raises(InputError, match="expected a port that is free"):
            Server(port=alone.port)
        assert alone.url.startswith("http://127.0.0.1:")
