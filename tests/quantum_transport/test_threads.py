"""One thread of BLAS where layers are small; what was set before comes back."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import nearsight as ns
from nearsight.blas_threads import SMALL, suited_to
from nearsight.quantum_transport import sweep
from tests.quantum_transport.tight_binding import chain


def threads() -> list[int]:
    np.eye(2) @ np.eye(2)
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_small_matrices_are_left_to_one_thread() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        assert 2 in before
        with suited_to(SMALL - 1):
            assert set(threads()) == {1}
        assert threads() == before
        with suited_to(SMALL):
            assert threads() == before


def test_a_sweep_over_small_layers_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = sweep.energy_point

    def watched(*arguments: object) -> object:
        seen.append(set(threads()))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep, "energy_point", watched)
    with threadpool_limits(2, user_api="blas"):
        found = ns.transport(chain(9), [0.1], layer=1.0, fermi=0.0)
    assert seen == [{1}]
    assert found.transmission == pytest.approx([1.0])
