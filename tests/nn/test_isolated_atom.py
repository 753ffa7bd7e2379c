"""An atom that has no neighbours and no images within the cutoff is a structure like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nearsight as ns

KNOWN = Path(__file__).parents[1] / "data" / "version_0_1_0"


@pytest.mark.parametrize("name", ["nearsight", "xia2025"])
def test_one_atom_is_what_it_is_beside_another_one_far_away(name: str) -> None:
    model = ns.load_model(KNOWN / name)
    alone, far = (
        model.predict(
            ns.Structure(np.full(n, 72), np.array([[0.0, 0, 0], [0, 0, 90.0]])[:n], np.zeros((3, 3)), np.zeros(3, bool))
        )
        for n in (1, 2)
    )
    assert alone.operator.n_pairs == 1
    for atom in (0, 1):
        block = far.operator.select(far.operator.source == atom)
        np.testing.assert_allclose(block.values, alone.operator.values, rtol=0, atol=1e-5)
    assert np.isfinite(alone.operator.values).all()
    assert np.abs(alone.operator.values).max() > 1
