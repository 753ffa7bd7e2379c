"""Time and memory of one energy of a junction: over its length and cross-section, and against dense inversion and sisl.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/transport.py
    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/transport.py --layers 160 --across 1 --json

Frozen protocol: aluminium of `data/Al32_lead.h5` (128 functions in a layer of 8.1 Å), 10 to 160 layers of it with
random on-site energies (0.3 eV, seed 1) in all but the end layers, at 0.1 eV above the Fermi level; 1, 2 and 4 cells
across at 20 layers. One energy is the self-energies, and the elimination for T alone; building the matrices is counted
apart. Each case runs in a fresh process; memory is its largest. Seconds are of the processor (one thread). `--compare`
does the same 10 layers by dense inversion (T = Tr Γ G Γ G†), and, where sisl is installed, by its block-tridiagonal
inversion, all with the same self-energies given.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import nearsight as ns
from nearsight.quantum_transport.junction import Junction, JunctionAtK
from nearsight.quantum_transport.scattering import scatter, scatter_between
from nearsight.quantum_transport.self_energy import self_energy
from nearsight.quantum_transport.tiling import repeated

DATA = Path(__file__).parents[1] / "data" / "Al32_lead.h5"
ENERGY = 0.1
DISORDER = 0.3
ETA = 1e-9


def wire(layers: int, across: int) -> Junction:
    """Disordered aluminium between perfect ends."""
    bulk = ns.read(DATA)
    device = repeated(bulk, {1: (1, 1, layers), 2: (2, 1, layers), 4: (2, 2, layers)}[across])
    h, n = device.require_hamiltonian(), len(device.structure)
    end = 32 * across
    level = np.random.default_rng(1).normal(scale=DISORDER, size=n)
    level[:end] = level[-end:] = 0
    values = h.values.copy()
    for pair in np.flatnonzero(h.on_site):
        size = round(np.sqrt(h.lengths[pair]))
        block = values[h.offsets[pair] : h.offsets[pair + 1]].reshape(size, size)
        block[np.diag_indices(size)] += level[h.source[pair]]
    return ns.junction(replace(device, hamiltonian=h.with_values(values)), bulk=bulk)


def measure(layers: int, across: int) -> dict[str, Any]:
    """Build a wire and solve it at one energy."""
    began = time.process_time()
    junction = wire(layers, across)
    at_k = junction.at()
    built = time.process_time()
    energy = (junction.fermi or 0.0) + ENERGY
    found = scatter(at_k.device, at_k.left, at_k.right, energy, eta=ETA)
    done = time.process_time()
    return {
        "layers": layers,
        "across": across,
        "functions": at_k.device.n_orbitals,
        "largest layer": int(at_k.device.sizes.max()),
        "seconds": done - built,
        "seconds to build": built - began,
        "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "T": found.transmission,
        "channels": found.n_left,
    }


def compare(layers: int) -> dict[str, Any]:
    """The same energy by three ways, alternating, best of three."""
    junction = wire(layers, 1)
    at_k = junction.at()
    energy = (junction.fermi or 0.0) + ENERGY
    given = self_energy(at_k.left, "left", energy, ETA), self_energy(at_k.right, "right", energy, ETA)
    sigmas = [x.sigma for x in given]
    ways = {
        "nearsight": lambda: scatter_between(at_k.device, *given, energy).transmission,
        "dense": lambda: dense(at_k, sigmas, energy),
    }
    with suppress(ImportError):
        ways["sisl"] = sisl_way(at_k, sigmas, energy)
    best: dict[str, float] = {}
    values: dict[str, float] = {}
    for _ in range(3):
        for name, way in ways.items():
            began = time.process_time()
            values[name] = float(way())
            best[name] = min(best.get(name, np.inf), time.process_time() - began)
    return {"layers": layers, "functions": at_k.device.n_orbitals, "seconds": best, "T": values}


def dense(at_k: JunctionAtK, sigmas: list[np.ndarray], energy: float) -> float:
    """T = Tr Γ_L G Γ_R G† with G by inversion."""
    n, m = len(sigmas[0]), len(sigmas[1])
    a = energy * at_k.s.toarray() - at_k.h.toarray() + 0j
    a[:n, :n] -= sigmas[0]
    a[-m:, -m:] -= sigmas[1]
    g = np.linalg.inv(a)[:n, -m:]
    left, right = (1j * (s - s.conj().T) for s in sigmas)
    return float(np.real(np.trace(left @ g @ right @ g.conj().T)))


def sisl_way(at_k: JunctionAtK, sigmas: list[np.ndarray], energy: float) -> Any:
    """sisl's block-tridiagonal Green's function, given the same self-energies."""
    import sisl
    from sisl_toolbox.btd import DeviceGreen, Electrode

    class Given(Electrode):  # type: ignore[misc]
        """An electrode whose self-energy is known."""

        def __init__(self, sigma: np.ndarray, name: str) -> None:
            super().__init__(name=name)
            self.sigma = sigma

        def __len__(self) -> int:
            return len(self.sigma)

        def se2broadening(self, sigma: np.ndarray) -> np.ndarray:
            return 1j * (sigma - sigma.conj().T)

        def self_energy(self, *args: Any, **kwargs: Any) -> np.ndarray:
            return self.sigma.copy()

    n = at_k.h.shape[0]
    geometry = sisl.Geometry(
        np.column_stack([np.zeros(n), np.zeros(n), np.arange(n)]), sisl.Atom(1, R=1.0), lattice=[10, 10, n + 10]
    )
    geometry = sisl.Geometry(geometry.xyz, geometry.atoms, lattice=sisl.Lattice([10, 10, n + 10], nsc=[1, 1, 1]))
    h = sisl.Hamiltonian.fromsp(geometry, at_k.h, S=at_k.s)
    size = len(sigmas[0])
    elecs = [(Given(sigmas[0], "L"), np.arange(size)), (Given(sigmas[1], "R"), np.arange(n - size, n))]
    green = DeviceGreen(h, elecs, eta=0.0)

    def way() -> float:
        green.clear()
        return float(np.real(green.transmission(energy, "L", "R")))

    way()
    return way


def in_a_process(arguments: list[str]) -> dict[str, Any]:
    """Run this script for one case."""
    command = [sys.executable, __file__, *arguments, "--json"]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def main() -> None:
    """Run one case, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--across", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.compare:
        print(json.dumps(compare(options.layers or 10), indent=1))
    elif options.layers:
        print(json.dumps(measure(options.layers, options.across), indent=1))
    else:
        cases = [(10, 1), (20, 1), (40, 1), (80, 1), (160, 1), (20, 2), (20, 4)]
        rows = [in_a_process(["--layers", str(a), "--across", str(b)]) for a, b in cases]
        for row in rows:
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
