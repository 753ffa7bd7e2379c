"""Time and memory of the levels around the gap of 3,000 atoms, and of all levels, which is extrapolated.

    .venv/bin/python benchmarks/window.py --threads 2
    .venv/bin/python benchmarks/window.py --tiles 2 2 1 --method dense --no-exact

Frozen protocol: 2 × 2 × 2 boxes of aHfO2_372_C with H and S within 8 Å of each pair: 2,976 atoms, 17,856 orbitals, gap
2.1 eV, the sparsity of an amorphous structure of that size; 50 levels around the gap by `solve_window`, without a guess
of where the gap is. Its levels are those of H(k) of one box at eight k, which are compared (a minute). All levels:
LAPACK of 1,116 (half of the box), 2,232 and 4,464 orbitals, extrapolated with n³ in time and n² in memory. Each case
runs in a fresh process. Memory is the process's largest; "above start" is without Python and its modules, and with H
and S.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import linalg, sparse

from nearsight.electronic.window import solve_window
from nearsight.operators.bloch import bloch, fold, to_csr
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.store import read_calculation
from nearsight.progress import Event
from nearsight.structures.graph import Graph, build_graph, pair_order

DATA = Path(__file__).parents[1] / "data" / "aHfO2_372_C.h5"
CUTOFF = 8.0
"""Å; less than half of the box, so that a pair within it is one image."""
FILLED = 1488
"""Levels below the gap, of one box."""
NUMBER = 50
DENSE = (1116, 2232, 4464)
LARGE = 18_000


def in_real_space(operator: BlockOperator, graph: Graph) -> BlockOperator:
    """A folded operator in real space, where every pair of the graph is the nearest image."""
    atoms = np.arange(operator.n_atoms)
    source, target = np.concatenate([atoms, graph.source]), np.concatenate([atoms, graph.target])
    shift = np.concatenate([np.zeros((len(atoms), 3), dtype=np.int64), graph.shift])
    order = pair_order(source, target, shift)
    source, target, shift = source[order], target[order], shift[order]
    values = fold(operator).on_pairs(source, target, np.zeros_like(shift)).values
    result = zeros(operator.numbers, operator.basis, source, target, shift, False, np.float64)
    result.values[:] = values
    return result


def tiled(operator: BlockOperator, tiles: tuple[int, int, int]) -> sparse.csr_matrix:
    """The matrix at Γ of so many boxes side by side."""
    boxes = list(itertools.product(*map(range, tiles)))
    apart = {b: to_csr(operator.select(np.all(operator.shift % tiles == b, axis=1))) for b in boxes}
    return sparse.csr_matrix(
        sparse.bmat([[apart[tuple(np.subtract(to, box) % tiles)] for to in boxes] for box in boxes])
    )


def matrices() -> tuple[BlockOperator, BlockOperator]:
    """H and S of one box in real space."""
    calculation = read_calculation(DATA)
    graph = build_graph(calculation.structure, CUTOFF)
    return in_real_space(calculation.require_hamiltonian(), graph), in_real_space(calculation.require_overlap(), graph)


def exact_levels(h: BlockOperator, s: BlockOperator, tiles: tuple[int, int, int]) -> np.ndarray:
    """All levels of the tiled matrices, from the k that fold to Γ."""
    levels = []
    for box in itertools.product(*map(range, tiles)):
        k = np.array(box) / tiles
        levels.append(linalg.eigh(bloch(h, k).toarray(), bloch(s, k).toarray(), eigvals_only=True, driver="gv"))
    return np.sort(np.concatenate(levels))


def peak_mb() -> float:
    """Largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


START = peak_mb()


def seconds_in(lines: list[str], start: str) -> float:
    """Sum of the times in the lines that start so."""
    return sum(
        float(match.group(1))
        for line in lines
        if line.startswith(start) and (match := re.search(r"([\d.]+) s\)$", line))
    )


def window(tiles: tuple[int, int, int], method: str, exact: bool) -> dict[str, object]:
    """One window."""
    blocks = matrices()
    h, s = (tiled(operator, tiles) for operator in blocks)
    lines: list[str] = []

    def tell(event: Event) -> None:
        lines.append(event.message)
        print(event.message, file=sys.stderr, flush=True)

    start, cpu = time.perf_counter(), time.process_time()
    result = solve_window(h, s, filled=FILLED * int(np.prod(tiles)), number=NUMBER, method=method, progress=tell)
    wall, cpu, peak = time.perf_counter() - start, time.process_time() - cpu, peak_mb()
    levels, middle = result.eigenvalues, FILLED * int(np.prod(tiles)) - result.first
    row: dict[str, object] = {
        "orbitals": h.shape[0],
        "density": h.nnz / h.shape[0] ** 2,
        "levels": len(levels),
        "seconds": wall,
        "cpu_seconds": cpu,
        "factorisations": sum(line.startswith("factorised") for line in lines),
        "factorisation_seconds": seconds_in(lines, "factorised"),
        "lanczos_seconds": seconds_in(lines, "levels"),
        "peak_mb": peak,
        "above_start_mb": peak - START,
        "gap_eV": levels[middle] - levels[middle - 1],
        "residual_eV": result.residual,
    }
    if exact:
        reference = exact_levels(*blocks, tiles)[result.first : result.first + len(levels)]
        row["largest_error_eV"] = float(np.abs(levels - reference).max())
    return row


def dense(orbitals: int, states: bool) -> dict[str, object]:
    """All levels, or all states."""
    boxes = (max(1, orbitals // 2232), 1, 1)
    h, s = (tiled(operator, boxes)[:orbitals, :orbitals].toarray(order="F") for operator in matrices())
    start = time.perf_counter()
    linalg.eigh(h, s, eigvals_only=not states, driver="gvd" if states else "gv", check_finite=False)
    return {
        "orbitals": orbitals,
        "states": states,
        "seconds": time.perf_counter() - start,
        "peak_mb": peak_mb(),
        "above_start_mb": peak_mb() - START,
    }


def extrapolated(row: dict[str, float]) -> dict[str, float]:
    """A dense solution of `LARGE` orbitals, H and S included."""
    ratio = LARGE / row["orbitals"]
    return {
        "orbitals": LARGE,
        "states": row["states"],
        "seconds": row["seconds"] * ratio**3,
        "above_start_mb": row["above_start_mb"] * ratio**2,
    }


def in_new_process(arguments: list[str], threads: int) -> dict[str, float]:
    """A case by itself, with so many threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **dict.fromkeys(names, str(threads))},
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiles", type=int, nargs=3, default=(2, 2, 2))
    parser.add_argument("--method", default="auto", choices=("auto", "sparse", "superlu", "dense"))
    parser.add_argument("--no-exact", action="store_true", help="do not compare with H(k) of one box")
    parser.add_argument("--no-dense", action="store_true", help="the window only")
    parser.add_argument("--one", choices=("window", "levels", "states"), help=argparse.SUPPRESS)
    parser.add_argument("--orbitals", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    tiles = (a.tiles[0], a.tiles[1], a.tiles[2])
    if a.one == "window":
        print(json.dumps(window(tiles, a.method, not a.no_exact)))
        return
    if a.one:
        print(json.dumps(dense(a.orbitals, a.one == "states")))
        return
    arguments = ["--one", "window", "--method", a.method, "--tiles", *map(str, tiles)]
    result: dict[str, object] = {"threads": a.threads, "load_before": os.getloadavg()[0]}
    result["window"] = in_new_process(arguments + ["--no-exact"] * a.no_exact, a.threads)
    if not a.no_dense:
        rows = [
            in_new_process(["--one", kind, "--orbitals", str(n)], a.threads)
            for kind in ("levels", "states")
            for n in DENSE
        ]
        result |= {"dense": rows, "extrapolated": [extrapolated(rows[len(DENSE) - 1]), extrapolated(rows[-1])]}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
