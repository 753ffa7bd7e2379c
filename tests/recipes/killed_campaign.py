"""A campaign that is killed again and again, and one that is left in peace; used by tests and by hand."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np


def generate(campaign: Path, output: Path) -> subprocess.Popen[bytes]:
    """`nearsight generate`, in its own process."""
    return subprocess.Popen(
        [sys.executable, "-m", "nearsight.cli.main", "generate", str(campaign), "-o", str(output)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def killed_again_and_again(campaign: Path, output: Path, times: int, longest: float, seed: int) -> list[float]:
    """Kill (SIGKILL) a campaign at random moments, then let it end; returns after how many seconds it was killed."""
    rng, moments = random.Random(seed), []
    while len(moments) < times:
        process = generate(campaign, output)
        moment = rng.uniform(0.2, longest)
        time.sleep(moment)
        if process.poll() is None:
            moments.append(round(moment, 1))
        process.kill()
        process.wait()
        if process.returncode == 0:
            break
    assert generate(campaign, output).wait() == 0
    return moments


def contents(path: Path) -> dict[str, object]:
    """Every array and attribute of a store, by name."""
    found: dict[str, object] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        found.update({f"{name}@{key}": value for key, value in item.attrs.items()})
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
        visit("/", file["/"])
    return found


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two folders of stores: files, arrays, attributes."""
    names = sorted({p.name for folder in (first, second) for p in folder.glob("*.h5")})
    result = []
    for name in names:
        if not (first / name).is_file() or not (second / name).is_file():
            result.append(name)
            continue
        a, b = contents(first / name), contents(second / name)
        result += [f"{name}: {key}" for key in sorted({*a, *b}) if not _same(a.get(key), b.get(key))]
    return result


def _same(a: object, b: object) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


if __name__ == "__main__":
    file, folder, count, longest_s = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    assert generate(file, folder / "undisturbed").wait() == 0
    print("killed after", killed_again_and_again(file, folder / "killed", count, longest_s, seed=0), "s")
    print("differences:", differences(folder / "undisturbed", folder / "killed") or "none")
