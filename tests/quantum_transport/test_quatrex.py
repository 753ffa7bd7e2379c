"""quatrex's input holds the same matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nearsight.errors import InputError
from nearsight.operators.bloch import bloch, fold
from nearsight.quantum_transport.quatrex_files import read_quatrex, write_quatrex
from tests.quantum_transport.tight_binding import chain


def test_matrices_come_back(tmp_path: Path) -> None:
    given = chain(4, overlap=0.1, on_site=np.arange(4.0))
    files = write_quatrex(given, tmp_path / "inputs", np.linspace(-1, 1, 5))
    assert sorted(path.name for path in files) == sorted(path.name for path in (tmp_path / "inputs").iterdir())
    assert given.hamiltonian is not None
    k = np.array([0.0, 0.0, 0.2])
    summed = sum(np.exp(2j * np.pi * np.dot(k, cell)) * m.toarray() for cell, m in read_quatrex(files[0]).items())
    np.testing.assert_allclose(summed, bloch(given.hamiltonian, k).toarray(), atol=1e-14)
    with pytest.raises(InputError, match="real space for quatrex"):
        write_quatrex(replace(given, hamiltonian=fold(given.hamiltonian)), tmp_path)
