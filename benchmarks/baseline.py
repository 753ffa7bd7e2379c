"""How much of a Hamiltonian its linear baseline explains, before any network.

    .venv/bin/python benchmarks/baseline.py
    .venv/bin/python benchmarks/baseline.py --train C.h5 F.npz G.npz --test D.h5 --json
    .venv/bin/python benchmarks/baseline.py --long-range
    .venv/bin/python benchmarks/baseline.py --h0 C_H0.npz D_H0.npz

Frozen protocol: fitted on whole structures, tested on others with the cutoff of the paper. Stages: nothing; the mean
on-site block of each element with two-centre terms; the same with the on-site regression. With several training
structures the last stage is repeated with the first 1, 2, … of them. With long range one more: charges from H and S of
the training structures (10 s for 372 atoms), and what predicted charges tell. With H₀ (not shipped: 14 MB a structure;
any file that `nearsight import --h0` reads) two more: H₀ as it is, and the baseline that starts from it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nearsight.baselines.baseline import Baseline
from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.h0.matrices import H0Matrices
from nearsight.baselines.settings import BaselineSettings
from nearsight.electronic.matrix_errors import matrix_errors
from nearsight.electronic.populations import atomic_charges
from nearsight.formats.h0 import read_h0
from nearsight.formats.registry import read_any
from nearsight.operators.bloch import fold
from nearsight.operators.blocks import BlockOperator, zeros
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.coupled_layout import CoupledLayout
from nearsight.structures.graph import build_graph, pair_order
from nearsight.structures.structure import Structure
from nearsight.units import HARTREE_IN_EV

DATA = Path(__file__).parents[1] / "data"
CUTOFF = 8.0
"""Å."""
MOST = 6
"""Training structures of the learning curve."""

Row = dict[str, float | str]


UNTRAINED, STARTED = "H₀ as it is", "H₀ + all that is linear in it"
LONG_RANGE = "on-site regression, long range"


def settings_of(stage: str, strictly_local: bool) -> BaselineSettings:
    """Means are what a regression is with an overwhelming penalty."""
    settings = BaselineSettings(strictly_local=strictly_local, h0=stage == STARTED)
    if stage == STARTED:
        return settings
    if stage == LONG_RANGE:
        return replace(settings, long_range="charges")
    return settings if "regression" in stage else replace(settings, scalar_ridge=1e12, tensor_ridge=1e12)


def operator_of(
    baseline: Baseline, structure: Structure, factor: float = 1.0, h0: H0Matrices | None = None
) -> BlockOperator:
    """The baseline as a real-space H, eV."""
    graph = build_graph(structure, baseline.cutoff)
    atoms = np.arange(len(structure))
    source, target = np.concatenate([atoms, graph.source]), np.concatenate([atoms, graph.target])
    shift = np.concatenate([np.zeros((len(atoms), 3), dtype=np.int64), graph.shift])
    nodes = baseline.nodes(structure, graph, h0)
    coupled = np.concatenate([nodes, baseline.edges(structure, graph, h0=h0, nodes=nodes)])
    order = pair_order(source, target, shift)
    basis = baseline.layout.basis.restricted(structure.numbers)
    operator = zeros(structure.numbers, basis, source[order], target[order], shift[order], False)
    for (zi, zj), pairs in operator.element_pairs.items():
        operator.put(pairs, factor * HARTREE_IN_EV * baseline.layout.uncouple(coupled[order[pairs]], zi, zj))
    return operator


def predict(stage: str, baseline: Baseline, calculation: Calculation) -> BlockOperator:
    """H of one stage, eV; H₀ as it is on the pairs of a baseline, folded."""
    h0 = H0Matrices.of(calculation) if stage == STARTED else None
    prediction = operator_of(baseline, calculation.structure, float(stage != "zero"), h0)
    if stage != UNTRAINED:
        return prediction
    pairs = fold(prediction)
    return calculation.require_h0().on_pairs(pairs.source, pairs.target, pairs.shift)


def measure(
    stage: str,
    train: Sequence[Calculation],
    tests: Sequence[Calculation],
    strictly_local: bool,
    charges: Sequence[np.ndarray],
) -> Row:
    """Errors of one stage, mean over the test structures, and seconds (without those for charges)."""
    layout = CoupledLayout(train[0].basis.restricted(np.concatenate([c.structure.numbers for c in train])))
    started = time.perf_counter()
    baseline = fit_baseline(train, layout, CUTOFF, settings_of(stage, strictly_local), charges or None)
    fitted = time.perf_counter()
    predictions = [predict(stage, baseline, c) for c in tests]
    evaluated = time.perf_counter()
    errors = [matrix_errors(p, c.require_hamiltonian(), c.structure) for p, c in zip(predictions, tests)]
    means = {f"eps_{kind}": float(np.mean([getattr(e, f"eps_{kind}") for e in errors])) for kind in ("n", "e", "tot")}
    return {
        "stage": stage,
        "structures": len(train),
        "eps_n_mEh": means["eps_n"] / HARTREE_IN_EV * 1e3,
        "eps_e_mEh": means["eps_e"] / HARTREE_IN_EV * 1e3,
        "eps_tot_meV": means["eps_tot"] * 1e3,
        "fit_seconds": fitted - started,
        "evaluation_seconds": (evaluated - fitted) / len(tests),
    }


def table(rows: list[Row]) -> str:
    """For people."""
    lines = [
        f"{'':34s}{'trained on':>10}{'ε_n mE_h':>10}{'ε_e mE_h':>10}{'ε_tot meV':>11}{'fit s':>7}{'evaluation s':>14}"
    ]
    for r in rows:
        lines.append(
            f"{r['stage']:34s}{r['structures']:10d}{r['eps_n_mEh']:10.3f}{r['eps_e_mEh']:10.4f}"
            f"{r['eps_tot_meV']:11.3f}{r['fit_seconds']:7.2f}{r['evaluation_seconds']:14.2f}"
        )
    return "\n".join(lines)


def with_h0(calculations: Sequence[Calculation], paths: Sequence[str]) -> list[Calculation]:
    """The calculations with H₀ from one file each."""
    if len(paths) != len(calculations):
        raise SystemExit(f"expected {len(calculations)} files for --h0, one per structure, got {len(paths)}")
    return [replace(c, h0=read_h0(path, c)) for c, path in zip(calculations, paths)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs="+", default=[str(DATA / "aHfO2_372_C.h5")])
    parser.add_argument("--test", nargs="+", default=[str(DATA / "aHfO2_372_D.h5")])
    parser.add_argument("--h0", nargs="+", help="H₀ of the training structures, then of the test structures")
    parser.add_argument("--strictly-local", action="store_true", help="without the second hop")
    parser.add_argument("--long-range", action="store_true", help="charges of all atoms too; needs S")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    train, tests = ([read_any(path) for path in paths] for paths in (arguments.train, arguments.test))
    if arguments.h0:
        attached = with_h0([*train, *tests], arguments.h0)
        train, tests = attached[: len(train)], attached[len(train) :]
    plan = [("zero", 1), ("means + two-centre", len(train)), ("two-centre + on-site regression", len(train))]
    plan[2:] = [(plan[2][0], n) for n in range(1, min(MOST, len(train)) + 1)]
    charges = [atomic_charges(c) for c in train] if arguments.long_range else []
    if arguments.long_range:
        plan += [(LONG_RANGE, n) for n in range(1, min(MOST, len(train)) + 1)]
    if arguments.h0:
        plan += [(UNTRAINED, 1), (STARTED, len(train))]
    rows = []
    for stage, n in plan:
        print(f"{stage}, {n} structures …", file=sys.stderr)
        rows.append(measure(stage, train[:n], tests, arguments.strictly_local, charges[:n]))
    print(json.dumps(rows, indent=1) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
