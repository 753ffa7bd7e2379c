"""Energies that are added where T varies, runs that are interrupted and go on, and parallel ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Timer

import numpy as np
import pytest

import nearsight as ns
from nearsight.errors import FormatError, InputError
from nearsight.launch import Launch, LostProcessError
from nearsight.operators.symmetry import permute
from nearsight.quantum_transport.adaptive import refined
from nearsight.quantum_transport.points_file import PointsFile
from nearsight.quantum_transport.resonances import find_resonances
from nearsight.quantum_transport.shared_points import SharedPoints
from nearsight.quantum_transport.sweep import InterruptedSweepError, Sweep, SweepSettings
from tests.quantum_transport.tight_binding import chain, strip


def resonant(weak: float, level: float = 0.4137) -> ns.Calculation:
    """A site between two weak bonds: one level of width 4 t'² in a chain."""
    n = 9
    on_site = np.zeros(n)
    on_site[4] = level
    return chain(n, on_site=on_site, change=lambda i, j, r: np.where((i == 4) | (j == 4), weak, 1.0))


def test_refinement_converges_an_integral() -> None:
    calls = []

    def peak(energies: np.ndarray) -> np.ndarray:
        calls.append(len(energies))
        return 1e-4 / ((energies - 0.1234) ** 2 + 1e-4)

    grid = refined(peak, np.linspace(-1, 1, 11), 1e-4, 1e-9, lambda e: np.ones(len(e)))
    exact = 1e-2 * (np.arctan((1 - 0.1234) / 1e-2) + np.arctan((1 + 0.1234) / 1e-2))
    assert np.trapezoid(peak(grid), grid) == pytest.approx(exact, rel=1e-4)
    assert len(grid) < 800
    assert np.all(np.diff(grid) > 0)


@pytest.mark.parametrize("weak", [0.1, 1e-2, 1e-3])
def test_narrow_resonances_are_not_stepped_over(weak: float) -> None:
    found = ns.transport(resonant(weak), (-0.5, 1.0), step=0.1, adaptive=1e-3, layer=1.0)
    width = 2 * weak**2 * np.sqrt(1 - 0.4137**2 / 4)  # half width at half maximum of T
    low, high = (np.arctan((e - 0.4137) / width) for e in (-0.5, 1.0))
    tails = np.trapezoid(found.transmission, found.energies)
    assert tails == pytest.approx(width * (high - low), rel=3e-2 if weak == 0.1 else 3e-3)
    assert found.transmission.max() == pytest.approx(1, abs=1e-2)
    assert len(found.energies) < 600


def test_levels_are_found_within_their_widths() -> None:
    at_k = ns.junction(resonant(1e-2), layer=1.0).at()
    (level,) = (x for x in find_resonances(at_k, 0.3, 0.5, 1e-9) if x.width < 0.01)
    exact = 4e-4 * np.sqrt(1 - 0.4137**2 / 4)
    assert exact / 3 < level.width < 3 * exact
    assert level.energy == pytest.approx(0.4137 * (1 + 1e-4), abs=2 * exact)


def test_an_interrupted_sweep_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    device, file = resonant(0.1), tmp_path / "points.h5"
    options = {"step": 0.1, "adaptive": 1e-2, "layer": 1.0, "local": True}
    whole = ns.transport(device, (-0.5, 1.0), **options)  # type: ignore[arg-type]
    stop, seen = ns.StopToken(), []

    def after_ten(event: ns.Event) -> None:
        seen.append(event.done)
        if event.done == 10:
            stop.stop("enough")

    with pytest.raises(InterruptedSweepError, match="enough"):
        ns.transport(device, (-0.5, 1.0), file=file, stop=stop, progress=after_ten, **options)  # type: ignore[arg-type]
    assert file.is_file()
    again: list[float | None] = []
    resumed = ns.transport(
        device,
        (-0.5, 1.0),
        file=file,
        progress=lambda e: again.append(e.done),
        **options,  # type: ignore[arg-type]
    )
    for name in ("energies", "transmission", "reflection", "density_left", "eigenchannels"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    assert len([x for x in again if x]) == len(whole.energies) - 10
    with pytest.raises(FormatError, match="those of another one"):
        ns.transport(resonant(0.2), (-0.5, 1.0), file=file, **options)  # type: ignore[arg-type]
    file.write_bytes(b"not HDF5")
    with pytest.raises(FormatError, match="damaged"):
        ns.transport(device, (-0.5, 1.0), file=file, **options)  # type: ignore[arg-type]


def test_processes_give_the_same_bits() -> None:
    device = resonant(0.1)
    alone = ns.transport(device, (0.0, 0.4), step=0.1, layer=1.0)
    many = ns.transport(device, (0.0, 0.4), step=0.1, layer=1.0, processes=2)
    np.testing.assert_array_equal(many.transmission, alone.transmission)


def test_bond_currents_and_eigenchannels_of_a_result_are_numbered_as_its_structure() -> None:
    rng = np.random.default_rng(5)
    device = strip(3, 9, on_site=np.concatenate([np.zeros(9), rng.normal(size=9), np.zeros(9)]))
    order = rng.permutation(27)
    mixed = replace(
        device,
        structure=device.structure.permuted(order),
        hamiltonian=permute(device.require_hamiltonian(), order),
        overlap=permute(device.require_overlap(), order),
    )
    found = ns.transport(mixed, [-0.3, 0.4], layer=1.0, local=True)
    along = mixed.structure.positions[:, 2]
    flow = found.bond_currents(0.4)
    for cut in (1.5, 3.5, 6.5):
        before = along < cut
        passes = before[flow.source].astype(int) - before[flow.target]
        assert (passes * flow.current).sum() == pytest.approx(found.transmission[1], abs=1e-8)
    channels = found.eigenchannels_at(0.4)
    assert channels.transmissions.sum() == pytest.approx(found.transmission[1], abs=1e-9)
    assert found.density_left is not None
    np.testing.assert_allclose(channels.densities.sum(axis=1), found.density_left[1], atol=1e-9)
    with pytest.raises(InputError, match="local=True"):
        ns.transport(mixed, [0.4], layer=1.0).bond_currents()


RANKS = """
import sys
import nearsight as ns
from pathlib import Path
from tests.quantum_transport.test_sweep import resonant
ns.transport(resonant(0.1), (-0.5, 1.0), step=0.25, adaptive=1e-2, layer=1.0, local=True, file=Path(sys.argv[1]))
"""


def test_processes_of_one_launch_share_the_energies_and_end_with_the_same_bits(tmp_path: Path) -> None:
    device = resonant(0.1)
    alone = ns.transport(device, (-0.5, 1.0), step=0.25, adaptive=1e-2, layer=1.0, local=True)
    file = tmp_path / "points.h5"

    def started(rank: int, count: int) -> subprocess.Popen[str]:
        own = {"RANK": str(rank), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", RANKS, str(file)]
        return subprocess.Popen(command, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True)

    # The second process is killed while it waits for the first; both are started again, with a share left over.
    early = started(1, 2)
    time.sleep(1.0)
    early.kill()
    early.communicate()
    both = [started(rank, 2) for rank in (0, 1)]
    try:
        for process in both:
            said = process.communicate(timeout=120)[1]
            assert process.returncode == 0, said
    finally:
        for process in both:
            process.kill()
            process.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["points.h5"]
    solved: list[float | None] = []
    again = ns.transport(
        device,
        (-0.5, 1.0),
        step=0.25,
        adaptive=1e-2,
        layer=1.0,
        local=True,
        file=file,
        progress=lambda event: solved.append(event.done),
    )
    assert [x for x in solved if x] == []
    for name in ("energies", "transmission", "reflection", "density_left"):
        np.testing.assert_array_equal(getattr(again, name), getattr(alone, name))


def test_each_process_solves_its_share_and_takes_the_others(tmp_path: Path) -> None:
    settings = SweepSettings(np.linspace(-0.5, 0.5, 7), 0.0, np.zeros((1, 3)), np.ones(1))
    junction, file = ns.junction(resonant(0.1), layer=1.0), PointsFile(tmp_path / "points.h5", "key")
    shares = [SharedPoints(file, Launch(rank, 3)) for rank in range(3)]
    assert [[s.is_mine(n) for s in shares].index(True) for n in range(5)] == [0, 1, 2, 0, 1]
    with ThreadPoolExecutor(3) as pool:
        sweeps = [Sweep(junction, settings, file, launch=Launch(rank, 3)) for rank in range(3)]
        found = list(pool.map(lambda sweep: sweep.run(), sweeps))
    _, alone = Sweep(junction, settings).run()
    for _, rows in found:
        assert [p.transmission for p in rows[0]] == [p.transmission for p in alone[0]]
    with pytest.raises(InputError, match="by which they share them"):
        Sweep(junction, settings, launch=Launch(1, 2)).run()


def test_a_process_that_waits_can_be_stopped_and_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SweepSettings(np.linspace(-0.5, 0.5, 4), 0.0, np.zeros((1, 3)), np.ones(1))
    junction, file = ns.junction(resonant(0.1), layer=1.0), PointsFile(tmp_path / "points.h5", "key")
    stop = ns.StopToken()
    timer = Timer(0.5, stop.stop, ["enough"])
    timer.start()
    with pytest.raises(InterruptedSweepError, match="enough"):
        Sweep(junction, settings, file, launch=Launch(1, 2)).run(stop=stop)
    monkeypatch.setattr("nearsight.quantum_transport.shared_points.PATIENCE", 0.3)
    with pytest.raises(LostProcessError, match="got nothing from them"):
        Sweep(junction, settings, file, launch=Launch(1, 2)).run()
    # What it solved is kept: the first process has only its own share left, and alone all is done.
    done: list[float | None] = []
    Sweep(junction, settings, file).run(progress=lambda event: done.append(event.done))
    assert len(done) == 2
