"""The Hamiltonian of a structure from a trained model of any architecture, in memory."""

from __future__ import annotations

import numpy as np

from nearsight.nn.model import CHUNK, HamiltonianModel
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.progress import Progress, silent
from nearsight.structures.structure import Structure


def predict_hamiltonian(
    model: HamiltonianModel,
    structure: Structure,
    parts: np.ndarray | None = None,
    *,
    known: Calculation | None = None,
    hermitian: bool = True,
    chunk: int = CHUNK,
    progress: Progress = silent,
) -> BlockOperator:
    """Return H of a structure.

    Parameters
    ----------
    model : HamiltonianModel
        A trained model.
    structure : Structure
        Of elements that it knows.
    parts, known, hermitian, chunk, progress
        As of `HamiltonianModel.predict`.

    Returns
    -------
    BlockOperator
        Blocks in eV, on site and of all pairs within the model's cutoff, in real space.

    Raises
    ------
    InputError
        An element that the model was not trained on, `parts` of another length, or a matrix missing that the model
        starts from.
    """
    prediction = model.predict(structure, known, parts=parts, hermitian=hermitian, chunk=chunk, progress=progress)
    return prediction.operator()
