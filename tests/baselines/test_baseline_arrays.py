"""A baseline in a file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from nearsight.baselines.fit import fit_baseline
from nearsight.baselines.serialisation import from_arrays, to_arrays
from nearsight.errors import InputError
from nearsight.structures.graph import build_graph
from tests.baselines.random_baseline import CUTOFF, LAYOUT, SMALL, random_baseline, random_calculation


def test_a_file_gives_back_the_same_baseline(tmp_path: Path) -> None:
    baseline = random_baseline()
    arrays, metadata = to_arrays(baseline)
    save_file(arrays, tmp_path / "b.safetensors", metadata={"baseline": json.dumps(metadata)})
    with safe_open(tmp_path / "b.safetensors", "numpy") as file:
        read = from_arrays(
            {name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118
            json.loads(file.metadata()["baseline"]),
        )
    structure = random_calculation(3).structure
    graph = build_graph(structure, CUTOFF)
    assert np.array_equal(read.nodes(structure, graph), baseline.nodes(structure, graph))
    assert np.array_equal(read.edges(structure, graph), baseline.edges(structure, graph))
    assert np.array_equal(read.node_scale(structure), baseline.node_scale(structure))
    assert read.layout == baseline.layout
    assert read.cutoff == baseline.cutoff


def test_a_file_of_version_1_is_read() -> None:
    """It has densities and a second hop of scalars, and settings without what came later."""
    before = replace(SMALL, tensor_hops=False, product_functions=0)
    baseline = fit_baseline([random_calculation(1)], LAYOUT, CUTOFF, before)
    arrays, metadata = to_arrays(baseline)
    later = (
        "tensor_hops",
        "product_functions",
        "product_cutoff",
        "long_range",
        "reach",
        "product_penalty",
        "long_range_penalty",
    )
    settings = {name: value for name, value in metadata["settings"].items() if name not in later}
    read = from_arrays(arrays, {**metadata, "settings": settings, "version": 1})
    assert arrays["on_site.Hf.L1.weights"].shape[0] == 2 * SMALL.density_functions
    structure = random_calculation(3).structure
    graph = build_graph(structure, CUTOFF)
    assert np.array_equal(read.nodes(structure, graph), baseline.nodes(structure, graph))


def test_names_say_what_the_arrays_are() -> None:
    arrays, metadata = to_arrays(random_baseline())
    assert {"two_centre.O-Hf", "two_centre.O-O", "two_centre.Hf-Hf", "on_site.Hf.L2.weights"} <= set(arrays)
    assert "two_centre.Hf-O" not in arrays
    assert metadata["element_pairs"] == [[8, 8, "O-O"], [8, 72, "O-Hf"], [72, 72, "Hf-Hf"]]
    assert metadata["on_site_irreps"]["on_site.O.L1"] == ["s0 p0 L1"]
    assert arrays["two_centre.O-Hf"].shape[1] == len(metadata["irreps"])


def test_what_does_not_fit_is_refused() -> None:
    arrays, metadata = to_arrays(random_baseline())
    with pytest.raises(InputError, match=r"without 'two_centre.O-O'"):
        from_arrays({name: array for name, array in arrays.items() if name != "two_centre.O-O"}, metadata)
    with pytest.raises(InputError, match=r"expected an array node_scale.Hf of shape"):
        from_arrays({**arrays, "node_scale.Hf": np.zeros(3)}, metadata)
    name = "on_site.O.L0.constant"
    with pytest.raises(InputError, match=f"expected finite numbers in {name}"):
        from_arrays({**arrays, name: np.full_like(arrays[name], np.nan)}, metadata)
    with pytest.raises(InputError, match="without 'cutoff'"):
        from_arrays(arrays, {key: value for key, value in metadata.items() if key != "cutoff"})
    with pytest.raises(InputError, match="of version 3 or older, got version 4"):
        from_arrays(arrays, {**metadata, "version": 4})
    with pytest.raises(InputError, match="expected the irreps"):
        from_arrays(arrays, {**metadata, "shells": {"8": [0], "72": [0, 1]}})
