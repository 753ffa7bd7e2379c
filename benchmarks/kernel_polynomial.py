"""Time and memory of the density of states of 100,000 orbitals by kernel polynomials.

    .venv/bin/python benchmarks/kernel_polynomial.py

Frozen protocol: boxes of aHfO2_372_C side by side with H and S within 8 Å (as benchmarks/window.py): 3 × 4 × 4 of them
have 17,856 atoms and 107,136 orbitals, 2 × 3 × 2 a quarter of that. Resolution 0.2 eV, four random vectors, seed 0.
The exact density is that of the boxes' levels at the k-points that fold to Γ (of 2 × 1 × 1 boxes, with the same
kernel). Each case in a fresh process; memory is the process's largest above that with H and S alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.chebyshev import Interval
from nearsight.electronic.kernel_polynomial import StochasticDensity, kernel_polynomial
from nearsight.operators.bloch import bloch, to_csr
from nearsight.operators.blocks import BlockOperator
from nearsight.progress import Event

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from benchmarks.window import matrices

CASES = ((2, 3, 2), (3, 4, 4))
CHECKED = (2, 1, 1)
ELECTRONS = 2 * 1488
RESOLUTION = 0.2


def tiled(operator: BlockOperator, tiles: tuple[int, int, int]) -> sparse.csr_matrix:
    """The matrix at Γ of so many boxes, assembled row of boxes by row of boxes."""
    boxes = list(itertools.product(*map(range, tiles)))
    apart = {b: to_csr(operator.select(np.all(operator.shift % tiles == b, axis=1))).astype(np.float32) for b in boxes}
    rows = [sparse.hstack([apart[tuple(np.subtract(to, box) % tiles)] for to in boxes], format="csr") for box in boxes]
    return sparse.csr_matrix(sparse.vstack(rows, format="csr"))


def peak_mb() -> float:
    """Largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def one(tiles: tuple[int, int, int]) -> dict[str, float]:
    """A case."""
    h, s = (tiled(operator, tiles) for operator in matrices())
    start, before = time.perf_counter(), peak_mb()

    def tell(event: Event) -> None:
        print(event.message, file=sys.stderr, flush=True)

    density = kernel_polynomial(h, s, resolution=RESOLUTION, progress=tell)
    seconds = time.perf_counter() - start
    energies = np.linspace(*density.bounds, 2000)[1:-1]
    return {
        "orbitals": h.shape[0],
        "elements": h.nnz + s.nnz,
        "seconds": seconds,
        "peak_mb": peak_mb(),
        "above_matrices_mb": peak_mb() - before,
        "moments": density.moments.shape[1],
        "fermi_eV": density.fermi(ELECTRONS * int(np.prod(tiles))),
        "statistical_error": float(density.error(energies).sum() / density.density(energies).sum()),
    }


def checked() -> dict[str, float]:
    """A small case against its levels."""
    blocks = matrices()
    density = kernel_polynomial(*(tiled(operator, CHECKED) for operator in blocks), resolution=RESOLUTION)
    levels = np.concatenate(
        [
            linalg.eigh(*(bloch(operator, np.array(box) / CHECKED).toarray() for operator in blocks), eigvals_only=True)
            for box in itertools.product(*map(range, CHECKED))
        ]
    )
    interval = Interval(*density.bounds)
    x = (levels - interval.centre) / interval.half_width
    moments = np.cos(np.outer(np.arange(density.moments.shape[1]), np.arccos(x))).sum(axis=1)[None]
    exact = StochasticDensity(moments, interval, len(levels))
    energies = np.linspace(*density.bounds, 2000)[1:-1]
    reference = exact.density(energies)
    return {
        "orbitals": len(levels),
        "difference": float(np.abs(density.density(energies) - reference).sum() / reference.sum()),
        "announced": float(density.error(energies).sum() / reference.sum()),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs=3, help="one case only")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    if a.tiles:
        print(json.dumps(one(tuple(a.tiles))))
        return
    result: dict[str, object] = {"threads": a.threads, "load_before": os.getloadavg()[0], "checked": checked()}
    rows = []
    for tiles in CASES:
        done = subprocess.run(
            [sys.executable, __file__, "--tiles", *map(str, tiles)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "NUMBA_NUM_THREADS": str(a.threads)},
            check=True,
        )
        rows.append(json.loads(done.stdout))
    result["cases"] = rows
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
