"""Threads: results in order, few at a time, errors where they belong."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from nearsight.nn.kernels.threads import in_order, one_core, product_on_one_core


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_few_at_a_time(threads):
    lock, started, fetched, most = threading.Lock(), 0, 0, 0

    def work(batch: int) -> int:
        nonlocal started, most
        with lock:
            started += 1
            most = max(most, started - fetched)
        time.sleep(0.001 * (batch % 3))
        return batch * batch

    results = []
    for result in in_order(work, range(30), threads):
        results.append(result)
        fetched += 1
    assert results == [k * k for k in range(30)]
    assert most <= threads + 1


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_arrives_in_its_turn_and_stops_the_rest(threads):
    done = []

    def work(batch: int) -> int:
        if batch == 3:
            raise ValueError("piece 3")
        done.append(batch)
        return batch

    results = in_order(work, range(100), threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="piece 3"):
        next(results)
    assert len(done) <= 3 + threads


def test_a_product_on_one_core_is_the_product():
    a = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    b = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(product_on_one_core(a, b), a @ b, rtol=1e-14, atol=1e-14)
    assert torch.autograd.gradcheck(product_on_one_core, (a, b))


def test_one_core_is_left_again():
    before = torch.get_num_threads()
    with one_core():
        inside = torch.get_num_threads()
    assert inside == 1
    assert torch.get_num_threads() == before
