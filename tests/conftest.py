"""Settings and fixtures for all tests; `tests/random_cases.py` holds the functions behind them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Small matrices: threads that wait for each other cost more than they do, on a busy machine many times more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NEARSIGHT_CACHE"] = ""  # every test computes for itself

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from nearsight.operators.blocks import BlockOperator
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import Graph, build_graph
from nearsight.structures.structure import Structure
from tests.random_cases import HFO2_SZV, random_hfo2, random_operator

if TYPE_CHECKING:
    import torch

# The default run is the same every time; HYPOTHESIS_PROFILE=search looks for new counterexamples.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
settings.register_profile("repeatable", max_examples=30, derandomize=True, **_COMMON)
settings.register_profile("search", max_examples=500, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

NETWORKS = ("nn", "learning", "inference", "self_consistency", "reproduction", "cli", "api")
"""Folders whose tests run networks, for minutes of compilation where nothing is kept yet."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with networks: where two processes halve the list, one compiles them, and the other finds them compiled."""
    order = {folder: place for place, folder in enumerate(NETWORKS)}
    root = Path(__file__).parent
    items.sort(key=lambda item: order.get(item.path.relative_to(root).parts[0], len(order)))


@pytest.fixture(autouse=True)
def own_printing() -> Iterator[None]:
    """Let no test change how arrays are printed in the next one, as PySCF does."""
    with np.printoptions():
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20251122)


@pytest.fixture
def basis() -> BasisSet:
    """Hf and O in SZV: 10 and 4 orbitals."""
    return HFO2_SZV


@pytest.fixture
def hfo2(rng: np.random.Generator) -> Structure:
    """24 atoms of disordered HfO₂ in a skewed periodic cell of about 6.6 Å."""
    return random_hfo2(8, rng)


@pytest.fixture
def hfo2_graph(hfo2: Structure) -> Graph:
    """Its graph within 4 Å: some pairs have more than one image."""
    return build_graph(hfo2, 4.0)


@pytest.fixture
def hamiltonian(hfo2: Structure, hfo2_graph: Graph, basis: BasisSet, rng: np.random.Generator) -> BlockOperator:
    """A random Hermitian operator on it, resolved in R."""
    return random_operator(hfo2, hfo2_graph, basis, rng)


@pytest.fixture
def gpu() -> torch.device:
    """The GPU, for tests marked `gpu`."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU")
    return torch.device("cuda", 0)
