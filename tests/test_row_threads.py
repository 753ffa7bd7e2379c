"""Compiled loops in threads: every row once, and PySCF beside them stays right."""

from __future__ import annotations

import ast
from pathlib import Path

import numba
import numpy as np
import pytest

import nearsight
from nearsight.electronic.matrices import SparseProduct
from nearsight.row_threads import over_rows

pyscf = pytest.importorskip("pyscf")


@numba.njit(nogil=True)
def _count(first, last, seen, by):  # type: ignore[no-untyped-def]
    for row in range(first, last):
        seen[row] += by


@pytest.mark.parametrize("n_rows", [0, 1, 255, 256, 257, 2_049, 100_003])
def test_every_row_is_visited_once(n_rows: int) -> None:
    seen = np.zeros(n_rows, dtype=np.int64)
    over_rows(_count, n_rows, seen, 3)
    assert (seen == 3).all()


def test_an_error_in_a_share_is_raised() -> None:
    def fails(first: int, last: int) -> None:
        raise ZeroDivisionError(first)

    with pytest.raises(ZeroDivisionError):
        over_rows(fails, 10_000)


def test_nothing_is_compiled_with_numbas_openmp() -> None:
    # It loads another OpenMP into the process, after which PySCF's exchange and correlation are silently wrong.
    for path in Path(nearsight.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "parallel":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


def test_pyscfs_exchange_and_correlation_do_not_change_after_loops_in_threads() -> None:
    from pyscf.pbc import dft, gto
    from scipy import sparse

    cell = gto.M(a=np.diag([2.5, 4, 4]), atom="H 0 0 0; H .8 0 0", basis="gth-szv", pseudo="gth-pbe", ke_cutoff=40)
    cell.verbose = 0
    field = dft.RKS(cell, xc="pbe")
    density = field.get_init_guess()
    before = np.asarray(field.get_veff(cell, density))
    matrix = sparse.random(5_000, 5_000, density=0.002, format="csr", random_state=np.random.default_rng(1))
    SparseProduct.of(matrix, np.dtype(float)) @ np.ones((5_000, 4))
    for _ in range(5):
        fresh = dft.RKS(cell, xc="pbe")
        np.testing.assert_allclose(np.asarray(fresh.get_veff(cell, density)), before, atol=1e-12)
