"""How well a model knows its own errors: calibration on an unseen structure, and alarms on a strained one.

    .venv/bin/python benchmarks/uncertainty.py runs/nearsight data/aHfO2_372_D.h5 strained.h5 --figure calibration.png

For every file (a structure with its reference H) the blocks of all pairs of atoms are put into ten groups of equal
size by the error that the model expects; the table holds the mean of what it expects and the r.m.s. of what is found.
A large error is one above ten times the median found in the first file; a block is flagged if one of its atoms is
out-of-distribution, or its expected error above three times the median expected in the first file.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nearsight.cli.process import tune_process

tune_process()

import numpy as np

from nearsight.formats.registry import read_any
from nearsight.nn.loading import load_model
from nearsight.nn.model import HamiltonianModel
from nearsight.units import HARTREE_IN_EV

GROUPS = 10
PER_MEH = 1e3 / HARTREE_IN_EV


def blocks_of(model: HamiltonianModel, path: str) -> dict[str, np.ndarray]:
    """Of every pair of atoms: r.m.s. error expected and found (mE_h), and whether one is out-of-distribution."""
    calculation = read_any(path)
    reference = calculation.require_hamiltonian()
    prediction = model.predict(calculation.structure, replace(calculation, hamiltonian=None))
    pairs, expected = prediction.pairs, prediction.expected_errors
    if expected is None:
        raise SystemExit("expected a model with uncertainty (data.validation_slabs=1), got one without")
    sizes = model.basis.sizes(calculation.structure.numbers)
    found = np.empty(len(pairs))
    for batch, values in prediction.blocks():
        source, target = pairs.source[batch], pairs.target[batch]
        shift = pairs.shift[batch] * (not reference.folded)
        where, ends = reference.find(source, target, shift), np.cumsum(sizes[source] * sizes[target])
        for k, block in enumerate(np.split(values, ends[:-1])):
            truth = reference.stack(where[k : k + 1])[0].ravel() if where[k] >= 0 else 0.0
            found[batch.start + k] = np.sqrt(np.mean((block - truth) ** 2))
    off, atoms = pairs.edge >= 0, expected.out_of_distribution
    return {
        "expected": PER_MEH * expected.of_blocks[off],
        "found": PER_MEH * found[off],
        "out_of_distribution": (atoms[pairs.source] | atoms[pairs.target])[off],
        "out_of_distribution_atoms": np.array([atoms.mean()]),
    }


def calibration(blocks: dict[str, np.ndarray]) -> list[tuple[float, float]]:
    """(expected, found) r.m.s. of every group."""
    order = np.array_split(np.argsort(blocks["expected"]), GROUPS)
    return [tuple(float(np.sqrt(np.mean(blocks[k][rows] ** 2))) for k in ("expected", "found")) for rows in order]


def alarms(blocks: dict[str, np.ndarray], first: dict[str, np.ndarray]) -> dict[str, float]:
    """Shares of large errors, of flagged blocks, and of the large errors that are flagged."""
    large = blocks["found"] > 10 * np.median(first["found"])
    flagged = blocks["out_of_distribution"] | (blocks["expected"] > 3 * np.median(first["expected"]))
    return {
        "out_of_distribution_atoms": float(blocks["out_of_distribution_atoms"][0]),
        "large": float(large.mean()),
        "flagged": float(flagged.mean()),
        "large_flagged": float(flagged[large].mean()) if large.any() else 1.0,
        "rank_correlation": rank_correlation(blocks["expected"], blocks["found"]),
    }


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's."""
    ranks = [np.argsort(np.argsort(x)).astype(float) for x in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def draw(results: dict[str, Any], figure: Path) -> None:
    """Expected against found, a line for every file."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plot, axes = plt.subplots(figsize=(4.5, 4.2))
    for path, result in results.items():
        axes.loglog(*zip(*result["calibration"]), "o-", label=Path(path).stem)
    low, high = axes.get_xlim()
    axes.loglog([low, high], [low, high], "k:", lw=1)
    axes.set_xlabel("expected r.m.s. error / mE$_h$")
    axes.set_ylabel("found r.m.s. error / mE$_h$")
    axes.legend()
    plot.tight_layout()
    plot.savefig(figure, dpi=130)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", action="store_true")
    a = parser.parse_args()
    model = load_model(a.model)
    blocks = {path: blocks_of(model, path) for path in a.files}
    first = blocks[a.files[0]]
    results = {path: {"calibration": calibration(own), **alarms(own, first)} for path, own in blocks.items()}
    if a.figure:
        draw(results, a.figure)
    if a.json:
        print(json.dumps(results, indent=2))
        return
    for path, result in results.items():
        print(Path(path).name)
        print("  expected mE_h " + " ".join(f"{e:8.4f}" for e, _ in result["calibration"]))
        print("  found mE_h    " + " ".join(f"{f:8.4f}" for _, f in result["calibration"]))
        print("  " + ", ".join(f"{k} {v:.3f}" for k, v in result.items() if k != "calibration"))


if __name__ == "__main__":
    main()
