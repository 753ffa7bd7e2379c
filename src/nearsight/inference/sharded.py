"""A prediction in parts, written into shards with an index; resumed where it was stopped, shared out to processes.

The folder of the shards bears the fingerprint of what is predicted. Every file in it is complete or not there, and a
function of model, structure and division alone: a run that was killed and goes on ends with the same bytes. A shard
says of what it is one; one that is damaged, or of another prediction or division, is computed again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch

from nearsight.atomic_files import explained, remove_leftovers, write_text_atomically
from nearsight.folder_lock import locked_folder
from nearsight.inference.in_parts import PredictionInParts, Rows
from nearsight.inference.plan import divided
from nearsight.inference.tables import TablesInFolder
from nearsight.nn.model import HamiltonianModel
from nearsight.nn.processes import Processes
from nearsight.operators.calculation import Calculation
from nearsight.operators.shards import (
    ShardedMatrix,
    Shards,
    file_digest,
    folder_of,
    is_shard,
    remove_shards,
    shard_path,
    shard_writer,
    write_index,
)
from nearsight.operators.store import annotate_out_of_distribution
from nearsight.operators.store_head import ERROR_ESTIMATE, ESTIMATE_MEANING, OUT_OF_DISTRIBUTION
from nearsight.operators.store_writer import Precision
from nearsight.operators.two_centre_overlap import TwoCentreOverlap
from nearsight.partition.regions import Regions
from nearsight.progress import Event, Progress, silent
from nearsight.structures.structure import Structure
from nearsight.version import __version__

BEGUN = "parts.json"
"""The file of the shards' folder that says into how many parts the structure is divided."""
_SUMS = (
    "h_pairs",
    "h_values",
    "s_pairs",
    "s_values",
    "on_site",
    "on_site_count",
    "error_on_site",
    "error_between",
    "weight_on_site",
    "weight_between",
)
"""Attributes of a shard that are added up: numbers of blocks and of elements, Σ |H| on site (eV), of how many
elements, Σ of expected errors (eV) and of how many elements. One that is missing is not known."""


@dataclass(frozen=True, eq=False)
class WrittenInParts:
    """What `write_in_parts` wrote.

    Attributes
    ----------
    n_pairs : int
        Blocks of H, transposes included.
    mean_on_site : float
        Mean |H| over the elements of the on-site blocks, eV.
    expected_errors : tuple of float or None
        Expected mean absolute errors (eV), on site and between atoms.
    out_of_distribution : ndarray or None
        (N,) bool, atoms in environments unlike those of training.
    folder : Path
        Where the shards are.
    count : int
        Number of shards.
    computed : int
        Those that were computed now; the others were there.
    """

    n_pairs: int
    mean_on_site: float
    expected_errors: tuple[float, float] | None
    out_of_distribution: np.ndarray | None
    folder: Path
    count: int
    computed: int


def write_in_parts(
    path: Path,
    model: HamiltonianModel,
    head: Calculation,
    count: int,
    *,
    overlap: TwoCentreOverlap | None = None,
    precision: Precision = "float64",
    processes: Processes | None = None,
    progress: Progress = silent,
) -> WrittenInParts:
    """Predict a structure region by region and write shards with an index, or go on where this was stopped.

    Parameters
    ----------
    path : Path
        The index; it appears when all shards are complete. The shards lie in a folder beside it.
    model : HamiltonianModel
        A model with a `reach`.
    head : Calculation
        What the file says besides the matrices; its structure is predicted.
    count : int
        Number of regions; where this goes on, the number that it began with.
    overlap : TwoCentreOverlap, optional
        S as functions of distance, to be written, too.
    precision : {"float64", "float32"}
        Number type of H and S.
    processes : Processes, optional
        Those that share the regions; all see the same folder. Alone by default.
    progress : Progress
        Told how many atoms are done, each counted once for each of two passes.

    Returns
    -------
    WrittenInParts
        Numbers of all shards together, in every process.

    Raises
    ------
    InputError
        The model cannot predict in parts, or a file cannot be written.
    ConfigError
        Another process is at work in the folder, or was given something else.
    """
    own = processes or Processes(torch.device("cpu"))
    print_of_all = fingerprint(model, head.structure, overlap, precision)
    folder = shards_folder(path, model, head.structure, overlap, precision)
    name = folder.name
    own.check_same(print_of_all, "model and structure")
    with locked_folder(folder, "wait until it has ended") if own.first else nullcontext():
        count = own.said_by_first(_count(folder, head.structure, count) if own.first else 0)
        regions = Regions(head.structure, divided(head.structure, count))
        prediction = PredictionInParts(model, regions, TablesInFolder(regions, folder), overlap)
        of = f"{print_of_all} {division_digest(regions.labels)}"
        own.check_same(of, "division into parts")
        work = _Work(path, name, of, prediction, head, precision, own, progress)
        return work.finish(work.run())


def shards_folder(
    path: Path,
    model: HamiltonianModel,
    structure: Structure,
    overlap: TwoCentreOverlap | None,
    precision: Precision = "float64",
) -> Path:
    """Return the folder, beside the index, of the shards of a prediction; it need not be there.

    Parameters
    ----------
    path, model, overlap, precision
        As of `write_in_parts`.
    structure : Structure
        What is predicted.
    """
    return path.parent / f"{path.name}.parts-{fingerprint(model, structure, overlap, precision)[:8]}"


def fingerprint(
    model: HamiltonianModel, structure: Structure, overlap: TwoCentreOverlap | None, precision: Precision
) -> str:
    """Return a text that is the same where version, model, structure and what is wanted are."""
    digest = hashlib.blake2b(f"{__version__} {precision} {overlap is not None}\n".encode())
    digest.update(json.dumps(model.metadata(), sort_keys=True).encode())
    for key, tensor in sorted(model.tensors().items()):
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    for array in (structure.numbers, structure.positions, structure.cell, structure.pbc):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def division_digest(labels: np.ndarray) -> str:
    """Return a text that is the same where the region of each atom ((N,) int) is."""
    return hashlib.blake2b(np.ascontiguousarray(labels, dtype=np.int64).tobytes(), digest_size=8).hexdigest()


def _count(folder: Path, structure: Structure, count: int) -> int:
    """The number of regions that a folder was begun with; the given one where it is new.

    What is known of atoms is removed where nobody knows to which division it belongs.
    """
    remove_leftovers(folder)
    begun = begun_parts(folder, structure)
    if begun is not None:
        return begun
    with explained(folder):
        for file in folder.glob("atoms_*.npz"):
            file.unlink()
    said = {"parts": count, "division": division_digest(divided(structure, count))}
    write_text_atomically(folder / BEGUN, json.dumps(said) + "\n")
    return count


def begun_parts(folder: Path, structure: Structure) -> int | None:
    """Return the number of regions that the folder of a structure's shards was begun with; None where it is not known.

    Parameters
    ----------
    folder : Path
        The folder; it need not be there.
    structure : Structure
        The atoms. A number with which they are divided differently today does not count.
    """
    try:
        said = json.loads((folder / BEGUN).read_text(encoding="utf-8"))
        count, division = said["parts"], said["division"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if type(count) is not int or not 0 < count <= len(structure):
        return None
    return count if division_digest(divided(structure, count)) == division else None


@dataclass(frozen=True, eq=False)
class _Work:
    """What one of the processes does."""

    index: Path
    name: str
    of: str
    prediction: PredictionInParts
    head: Calculation
    precision: Precision
    processes: Processes
    progress: Progress

    @property
    def regions(self) -> Regions:
        return self.prediction.regions

    def run(self) -> int:
        """Compute the regions of this process that are missing; return how many shards."""
        own = range(self.processes.rank, len(self.regions), self.processes.count)
        todo = [k for k in own if not is_shard(self._file(k), k, self.of)]
        missing = int(self._sum(np.array([len(todo)]))[0])
        if missing < len(self.regions) and self.processes.first:
            there = len(self.regions) - missing
            self.progress(Event(f"{there} of {len(self.regions)} parts are there; going on with the others"))
        steps = self._steps(own, todo, missing)
        total, done = sum(len(self.regions.atoms(k)) for step, k in steps if step is not None), 0
        for step, k in steps:
            if step is None:
                self._wait()
                continue
            step(k)
            done += len(self.regions.atoms(k))
            self.progress(Event(done=done, total=total))
        return missing

    def _steps(self, own: range, todo: list[int], missing: int) -> list[tuple[Callable[[int], None] | None, int]]:
        """What this process does, in order; None is to wait for the others.

        A process alone takes the rows of a region as soon as the atoms around are known. Of several, each computes the
        atoms of its regions first: the rows of any other one may need them.
        """
        atoms, rows = self.prediction.compute_atoms, self._write
        if self.processes.count > 1:
            before = [k for k in own if missing and not self.prediction.tables.has(k)]
            return [*((atoms, k) for k in before), (None, 0), *((rows, k) for k in todo)]
        known = {k for k in own if self.prediction.tables.has(k)}
        steps: list[tuple[Callable[[int], None] | None, int]] = []
        for k in todo:
            for m in map(int, self.prediction.around(k)):
                if m not in known:
                    steps.append((atoms, m))
                    known.add(m)
            steps.append((rows, k))
        return steps

    def finish(self, computed: int) -> WrittenInParts:
        """Write the index, remove what is no longer needed, and return what all shards say together."""
        count = len(self.regions)
        digests, reached = np.zeros((count, 32), dtype=np.int64), np.zeros((count, count), dtype=np.int64)
        sums, strange = np.zeros(len(_SUMS)), np.zeros(len(self.regions.structure), dtype=np.int64)
        judged = 0
        for k in range(self.processes.rank, count, self.processes.count):
            digests[k] = np.frombuffer(file_digest(self._file(k)), dtype=np.uint8)
            with h5py.File(self._file(k), "r") as file:
                sums += [float(file.attrs.get(name, math.nan)) for name in _SUMS]
                for which in ("hamiltonian", "overlap"):
                    if which in file:
                        reached[k, np.unique(self.regions.labels[file[which]["target"][()]])] = 1
                if OUT_OF_DISTRIBUTION in file:
                    strange[file[OUT_OF_DISTRIBUTION][()]] = 1
                    judged += 1
        digests, sums, reached, strange = (self._sum(part) for part in (digests, sums, reached, strange))
        known = strange.astype(bool) if int(self._sum(np.array([judged]))[0]) == count else None
        found = dict(zip(_SUMS, sums.tolist()))
        if self.processes.first:
            self._write_index(digests.astype(np.uint8), np.argwhere(reached), found, known)
        self._wait()
        return WrittenInParts(
            round(found["h_pairs"]),
            found["on_site"] / found["on_site_count"],
            self._mean_errors(found),
            known,
            self._file(0).parent,
            count,
            computed,
        )

    def _write(self, region: int) -> None:
        """Compute and write one shard."""
        rows = self.prediction.rows(region)
        prediction, sizes = rows.prediction, rows.prediction.basis.sizes(self.head.structure.numbers)
        with shard_writer(self._file(region), self.head, region, self.of, self.precision) as writer:
            stream = writer.begin("hamiltonian", prediction.basis, rows.source, rows.target, rows.shift, half=True)
            sums = dict.fromkeys(_SUMS, 0.0)
            for batch, values in prediction.blocks():
                stream.append(values)
                lengths = sizes[rows.source[batch]] * sizes[rows.target[batch]]
                own = values[np.repeat(prediction.pairs.edge[batch] < 0, lengths)]
                sums["on_site"] += float(np.abs(own).sum())
                sums["on_site_count"] += len(own)
                sums["h_values"] += len(values)
            sums["h_pairs"] = 2 * len(rows.source) - len(rows.atoms)
            if rows.overlap is not None:
                o = rows.overlap
                stream = writer.begin("overlap", o.rows.known.basis, o.source, o.target, o.shift, half=True)
                for values in o.values():
                    stream.append(values)
                    sums["s_values"] += len(values)
                sums["s_pairs"] = 2 * len(o.source) - len(rows.atoms)
            if prediction.expected_errors is not None:
                errors = prediction.expected_errors
                writer.annotate(ERROR_ESTIMATE, errors.of_blocks.astype(np.float32), "eV", ESTIMATE_MEANING)
                # In the cluster all atoms have their tables; a shard tells of its own ones.
                strange = np.zeros(len(self.head.structure), dtype=bool)
                strange[rows.atoms] = errors.out_of_distribution[rows.own]
                annotate_out_of_distribution(writer, strange)
                sums |= _error_sums(rows, sizes)
            writer.say({name: value for name, value in sums.items() if math.isfinite(value)})

    def _write_index(
        self, digests: np.ndarray, reached: np.ndarray, found: dict[str, float], strange: np.ndarray | None
    ) -> None:
        shards = Shards(self.name, self.regions.labels, digests, reached)
        numbers = self.head.structure.numbers
        basis = self.prediction.model.basis.restricted(numbers)
        h = ShardedMatrix("hamiltonian", basis, round(found["h_pairs"]), round(found["h_values"]), self.precision)
        matrices = [h]
        if self.prediction.overlap is not None:
            pairs, values = round(found["s_pairs"]), round(found["s_values"])
            known = self.prediction.overlap.basis
            matrices.append(ShardedMatrix("overlap", known, pairs, values, self.precision))
        before = folder_of(self.index)
        write_index(self.index, self.head, shards, matrices, None if strange is None else np.flatnonzero(strange))
        for region in range(len(self.regions)):
            self.prediction.tables.drop(region)
        if before is not None and before != self.name:
            remove_shards(self.index, before)

    def _mean_errors(self, found: dict[str, float]) -> tuple[float, float] | None:
        """Expected mean absolute errors, on site and between atoms."""
        ratios = self.prediction.model.mean_to_rms
        if ratios is None:
            return None
        on_site, between = (
            ratio * found[f"error_{kind}"] / max(found[f"weight_{kind}"], 1.0)
            for ratio, kind in zip(ratios, ("on_site", "between"))
        )
        return on_site, between

    def _sum(self, numbers: np.ndarray) -> np.ndarray:
        summed = self.processes.sum(torch.as_tensor(numbers, device=self.processes.device))
        return np.asarray(summed.cpu().numpy())

    def _wait(self) -> None:
        """Wait until all processes are here."""
        self._sum(np.zeros(1))

    def _file(self, region: int) -> Path:
        return shard_path(self.index, self.name, region)


def _error_sums(rows: Rows, sizes: np.ndarray) -> dict[str, float]:
    """Sums of expected errors over the elements of on-site and of other blocks, and the numbers of these."""
    prediction = rows.prediction
    assert prediction.expected_errors is not None
    weights, errors = sizes[rows.source] * sizes[rows.target], prediction.expected_errors.of_blocks
    result = {}
    for kind, chosen in (("on_site", prediction.pairs.edge < 0), ("between", prediction.pairs.edge >= 0)):
        result[f"error_{kind}"] = float(weights[chosen] @ errors[chosen])
        result[f"weight_{kind}"] = float(weights[chosen].sum())
    return result
