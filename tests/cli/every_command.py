"""Imports what all commands need, for a process that forks one child for each command and does nothing else."""

import tempfile
from importlib import import_module

import matplotlib.figure
import torch

import nearsight
from nearsight.cli.main import COMMANDS, load_command

for name in COMMANDS:
    load_command(name)
for name in nearsight.__all__:
    getattr(nearsight, name)
for name in ("nearsight.nn.architectures.nearsight.model", "nearsight.nn.architectures.xia2025.model"):
    import_module(name)

tempfile.gettempdir()  # on a disk that is not full: PySCF asks for it when it is imported

__all__ = ["matplotlib", "torch"]
