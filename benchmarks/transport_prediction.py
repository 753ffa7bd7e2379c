"""Currents from predicted Hamiltonians beside those from DFT, through a-HfO2 between leads without features.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/transport_prediction.py data/aHfO2_372_D.h5 plain.h5 consistent.h5

Frozen protocol: the 372 atoms of the reference (16.5 Å), cut open along each lattice vector; atoms within 2.5 Å of the
ends touch wide-band leads of Γ = 1 eV. H of each prediction, H of DFT on the same pairs, and S of DFT for all; blocks
below 0.02 eV count as no coupling. Energies are relative to the middle of each matrix's own gap. Currents at 0.2 V and
100 K with the Fermi level 1.6 eV below the middle of the gap, there, and 1.6 eV above; ln T is interpolated over 35
energies.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

import numpy as np

import nearsight as ns
from nearsight.electronic.eigen import solve
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator
from nearsight.quantum_transport.landauer import current

ENDS = (2.5, 1.0)
TOLERANCE = 2e-2
LEVELS = {"valence": -1.6, "gap": 0.0, "conduction": 1.6}
BIAS, TEMPERATURE = 0.2, 100.0
ENERGIES = np.concatenate([np.linspace(-2.2, -0.8, 15), np.linspace(-0.6, 0.6, 5), np.linspace(0.8, 2.2, 15)])


def current_at(transmission: np.ndarray, level: float) -> float:
    """Current in A with the Fermi level at an energy (eV) from the middle of the gap."""
    grid = np.linspace(-0.35, 0.35, 701)
    logarithm = np.interp(grid + level, ENERGIES, np.log(np.maximum(transmission, 1e-30)))
    return current(grid, np.exp(logarithm), BIAS, TEMPERATURE)


def main() -> None:
    """Print T and currents of each axis and matrix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference")
    parser.add_argument("predictions", nargs="+")
    parser.add_argument("--axes", default="abc")
    options = parser.parse_args()
    reference = ns.read(options.reference)
    folded = {name: fold(ns.read(name).require_hamiltonian()) for name in options.predictions}
    pairs = next(iter(folded.values()))

    def on_same(operator: BlockOperator) -> BlockOperator:
        return operator.on_pairs(pairs.source, pairs.target, pairs.shift)

    s = on_same(reference.require_overlap())
    matrices = {"DFT": on_same(reference.require_hamiltonian()), **{n: on_same(h) for n, h in folded.items()}}
    middle = {}
    for name, h in matrices.items():
        filling = solve(h, s, reference.n_electrons).filling()
        middle[name] = (filling.homo + filling.lumo) / 2
        print(f"{name}: gap {filling.gap:.3f} eV about {middle[name]:.3f} eV", flush=True)
    for axis in options.axes:
        currents = {}
        for name, h in matrices.items():
            given = replace(reference, hamiltonian=h, overlap=s, fermi=middle[name])
            began = time.process_time()
            junction = ns.junction(given, wide_band=ENDS, axis="abc".index(axis), tolerance=TOLERANCE)
            found = ns.transport(junction, ENERGIES)
            currents[name] = {key: current_at(found.transmission, level) for key, level in LEVELS.items()}
            seconds = time.process_time() - began
            print(json.dumps({"axis": axis, "matrix": name, "seconds": seconds, "T": found.transmission.tolist()}))
        for key, exact in currents["DFT"].items():
            row = [f"{currents[n][key]:.3e} A ({np.log10(currents[n][key] / exact):+.3f})" for n in folded]
            print(f"{axis} {key:10} DFT {exact:.3e} A  " + "  ".join(row), flush=True)


if __name__ == "__main__":
    main()
