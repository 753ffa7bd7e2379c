"""The limit on what torch allocates while a model is read: it holds, and costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nearsight.errors import CheckpointError
from nearsight.nn.allocation import AllocationLimit

MODEL = Path(__file__).parents[1] / "data" / "version_0_1_0" / "nearsight"
CODE = "import sys; from nearsight.nn.loading import load_model; load_model(sys.argv[1]); print(*sys.modules)"


def test_tensors_are_made_up_to_a_total() -> None:
    with AllocationLimit(100):
        assert torch.zeros(9, 10).sum() == 0
        with pytest.raises(CheckpointError, match="expected a network of the size of its weights"):
            torch.empty(11)


def test_reading_a_model_does_not_import_the_compiler_of_torch() -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(MODEL)], capture_output=True, text=True, check=True)
    assert "torch" in done.stdout.split()
    assert "torch._dynamo" not in done.stdout.split()
