"""Settings, files and matrices that no honest user would give: refused in one line, before anything is allocated."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import linalg, sparse
from typer.testing import CliRunner

import nearsight as ns
from nearsight.cli.main import app
from nearsight.errors import FormatError, InputError
from nearsight.folder_lock import locked_folder
from nearsight.quantum_transport.block_tridiagonal import block_tridiagonal, require_positive_overlap
from nearsight.quantum_transport.landauer import conductance, current
from tests.quantum_transport.tight_binding import chain

FILE = """
device: device.h5
layer: 1.0
energies: {start: -0.2, end: 0.2, step: 0.1, adaptive: null}
biases: [0.02]
temperature: 10
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    on_site = np.zeros(9)
    on_site[4] = 1.0
    ns.write(tmp_path / "device.h5", chain(9, on_site=on_site))
    (tmp_path / "j.yaml").write_text(FILE)
    return tmp_path


def run(*options: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["transport", "j.yaml", "-o", "out", *options], env={"COLUMNS": "400"})
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("energies.step=1e-12", "at most 1,000,000 energies, got 4e[+]11"),
        ("energies.start=-1e300", "at most 1,000,000 energies"),
        ("energies.end=.inf", "finite number"),
        ("energies.adaptive=1e-300", "greater than or equal to"),
        ("biases=[.nan]", "finite number"),
        ("biases=[1e300]", "from -5e[+]299 to 5e[+]299 eV"),
        ("k_points=[1000000, 1000000]", "at most 1,000,000 k-points"),
        ("k_points=[99999999999999999999, 1]", "at most 1,000,000 k-points"),
        ("eta=1e300", "less than or equal to 1"),
        ("fermi=1e300", "within 100000 eV"),
        ("fermi=.nan", "finite number"),
        ("layer=1e-300", "a layer of at least 0.2 Å"),
        ("layer=.inf", "finite number"),
        ("tolerance=1e300", "below all on-site blocks"),
        ("cut=1e17", "below 1e[+]06 Å"),
        ("device=/dev/zero", "a pipe, a socket or a device"),
    ],
)
def test_settings_out_of_range(folder: Path, change: str, words: str) -> None:
    code, said = run("--set", change)
    assert code == 2
    assert re.search(words, said), said
    assert said.strip().splitlines()[-1].startswith("error: ")
    assert not (folder / "out" / "transmission.csv").exists()


@pytest.mark.parametrize("temperature", [1e-300, 1e-7, 1e-5, 1e-3])
def test_the_cold_is_no_other_physics(temperature: float) -> None:
    energies = np.linspace(-0.2, 0.2, 401)
    transmission = 0.3 + energies
    step = current(energies, transmission, 0.1, 0.0)
    assert current(energies, transmission, 0.1, temperature) == pytest.approx(step, rel=1e-6)
    assert conductance(energies, transmission, temperature) == pytest.approx(0.3, rel=1e-6)


def test_biases_that_are_nearly_the_same_have_files_of_their_own(folder: Path) -> None:
    code, said = run("--set", "potential=linear", "--set", "biases=[0.02, 0.0200000001]")
    assert code == 0, said
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"transmission-0.02V.csv", "transmission-0.0200000001V.csv", "points-0.02V.h5"} <= names


def test_outputs_are_looked_at_before_the_work(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "report.html").write_text("notes of somebody")
    code, said = run()
    assert (code, "got a file of another kind" in said) == (2, True)
    assert (folder / "out" / "report.html").read_text() == "notes of somebody"
    (folder / "out" / "report.html").unlink()
    shutil.move(folder / "device.h5", folder / "out" / "transport.json")
    code, said = run("--set", "device=out/transport.json")
    assert (code, "another file to write than those that are read" in said) == (2, True)
    assert h5py.is_hdf5(folder / "out" / "transport.json")


def test_two_at_once(folder: Path) -> None:
    with locked_folder(folder / "out"):
        code, said = run()
    assert (code, "at work in it; wait for it, or give another --output" in said) == (2, True)
    assert run()[0] == 0


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("points") / "points.h5"
    ns.transport(chain(9), (-0.2, 0.2), step=0.1, layer=1.0, local=True, file=file)
    return file


def _exchange(name: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return change


def _bomb(file: h5py.File) -> None:
    del file["transmission"]
    file.create_dataset("transmission", (10**11,), "f8", chunks=(10**6,), compression="gzip")


@pytest.mark.parametrize(
    "change",
    [
        _exchange("transmission", np.full(5, 0.123)),
        _exchange("transmission", np.full(5, np.nan)),
        _exchange("transmission", np.zeros(4)),
        _exchange("energy", "text"),
        _exchange("k", h5py.ExternalLink("/etc/passwd", "/k")),
        _bomb,
        lambda file: file.attrs.update(key="another"),
        lambda file: file.attrs.update(version=1),
        lambda file: file.attrs.pop("sha256"),
    ],
)
def test_points_that_are_not_what_was_written(
    points: Path, tmp_path: Path, change: Callable[[h5py.File], None]
) -> None:
    file = tmp_path / "points.h5"
    shutil.copy(points, file)
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(FormatError, match=r"points\.h5: expected points of a transport calculation"):
        ns.transport(chain(9), (-0.2, 0.2), step=0.1, layer=1.0, local=True, file=file)


def test_a_flipped_bit_of_the_points_is_found_or_is_none(points: Path, tmp_path: Path) -> None:
    whole = ns.transport(chain(9), (-0.2, 0.2), step=0.1, layer=1.0, local=True, file=points)
    data, file, refused = bytearray(points.read_bytes()), tmp_path / "points.h5", 0
    for bit in range(0, 8 * len(data), 8 * len(data) // 60 | 1):
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        data[bit // 8] ^= 1 << bit % 8
        try:
            found = ns.transport(chain(9), (-0.2, 0.2), step=0.1, layer=1.0, local=True, file=file)
        except FormatError:
            refused += 1
            continue
        np.testing.assert_array_equal(found.transmission, whole.transmission)
        np.testing.assert_array_equal(found.density_left, whole.density_left)
    assert refused > 0


def test_points_are_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "points.h5")
    with pytest.raises(FormatError, match="a pipe, a socket or a device"):
        ns.transport(chain(9), [0.0], layer=1.0, file=tmp_path / "points.h5")


def test_an_overlap_that_is_not_positive_definite() -> None:
    with pytest.raises(InputError, match="expected a positive definite overlap S, got one that is not up to functions"):
        ns.transport(chain(9, overlap=0.9), [0.0], layer=1.0)


@pytest.mark.parametrize("seed", range(6))
def test_positive_definite_is_what_eigenvalues_say(seed: int) -> None:
    rng, sizes = np.random.default_rng(seed), [3, 2, 4, 3]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    layer = np.repeat(np.arange(4), sizes)
    dense = rng.normal(size=(12, 12)) + (1j * rng.normal(size=(12, 12)) if seed % 2 else 0)
    dense = np.where(np.abs(layer[:, None] - layer) < 2, dense + dense.conj().T, 0)
    lowest = linalg.eigvalsh(dense)[0]
    for margin, good in ((1e-6, True), (-1e-6, False)):
        s = sparse.csr_matrix(dense + (margin - lowest) * np.eye(12))
        device = block_tridiagonal(s, s, starts)
        if good:
            require_positive_overlap(device)
        else:
            with pytest.raises(InputError, match="positive definite"):
                require_positive_overlap(device)
