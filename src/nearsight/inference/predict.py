"""The Hamiltonian of a structure from a trained model of any architecture: in memory, or written while it is computed.

A prediction that is written while it is computed never lies in memory as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.nn.model import CHUNK, HamiltonianModel
from nearsight.nn.prediction import Prediction
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import annotate_out_of_distribution, copy_operator
from nearsight.operators.store_head import ERROR_ESTIMATE, ESTIMATE_MEANING
from nearsight.operators.store_writer import Compression, Precision, StoreWriter
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
    """Return the Hamiltonian of a structure.

    Parameters
    ----------
    model : HamiltonianModel
        A trained model.
    structure : Structure
        A structure of elements that the model knows.
    parts, known, hermitian, chunk, progress
        Arguments of `HamiltonianModel.predict`.

    Returns
    -------
    BlockOperator
        Blocks in eV, on site and of all pairs within the model's cutoff, in real space.

    Raises
    ------
    InputError
        The model was not trained on an element, `parts` has another length than the structure, or a matrix is missing
        that the model starts from.
    """
    prediction = model.predict(structure, known, parts=parts, hermitian=hermitian, chunk=chunk, progress=progress)
    return prediction.operator()


@dataclass(frozen=True)
class Written:
    """What `write_prediction` wrote.

    Attributes
    ----------
    n_pairs : int
        Number of blocks of H, transposes included.
    mean_on_site : float
        Mean |H| over the elements of the on-site blocks, eV.
    """

    n_pairs: int
    mean_on_site: float


def write_prediction(
    path: str | Path,
    head: Calculation,
    prediction: Prediction,
    *,
    overlap: BlockOperator | Path | None = None,
    precision: Precision = "float64",
    compression: Compression = "none",
) -> Written:
    """Compute a prediction and write it as a store.

    Parameters
    ----------
    path : str or Path
        The file; it appears when it is complete.
    head : Calculation
        What the file says besides the matrices.
    prediction : Prediction
        The Hamiltonian, whose blocks are computed here.
    overlap : BlockOperator or Path, optional
        S of the same atoms, which is written, too; or a store whose S is copied without being held in memory.
    precision : {"float64", "float32"}
        Number type of H; the overlap stays as it is.
    compression : {"none", "gzip"}
        Compression of H. A network's numbers do not shrink (gzip saves 10 % and takes a second per 30 MB).

    Returns
    -------
    Written
        Number of blocks, and mean |H| on site.

    Raises
    ------
    InputError
        The file cannot be written, or a number is not finite.
    """
    pairs, half = prediction.pairs, prediction.half
    sizes = prediction.basis.sizes(prediction.numbers)
    total, count = 0.0, 0
    with StoreWriter(path, head, precision=precision, compression=compression) as writer:
        if isinstance(overlap, Path):
            copy_operator(overlap, "overlap", writer)
        elif overlap is not None:
            writer.write("overlap", overlap)
        stream = writer.begin("hamiltonian", prediction.basis, pairs.source, pairs.target, pairs.shift, half=half)
        for batch, values in prediction.blocks():
            stream.append(values)
            lengths = sizes[pairs.source[batch]] * sizes[pairs.target[batch]]
            on_site = values[np.repeat(pairs.edge[batch] < 0, lengths)]
            total, count = total + float(np.abs(on_site).sum()), count + len(on_site)
        _annotate(writer, prediction)
    n_pairs = 2 * len(pairs) - len(prediction.numbers) if half else len(pairs)
    return Written(n_pairs, total / count)


def _annotate(writer: StoreWriter, prediction: Prediction) -> None:
    """Write what the model expects its errors to be, where it is calibrated."""
    known = prediction.expected_errors
    if known is None:
        return
    writer.annotate(ERROR_ESTIMATE, known.of_blocks.astype(np.float32), "eV", ESTIMATE_MEANING)
    annotate_out_of_distribution(writer, known.out_of_distribution)
