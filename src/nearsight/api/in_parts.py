"""Predictions in parts, for structures that do not fit into memory at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from nearsight.errors import InputError
from nearsight.inference.in_parts import PredictionInParts
from nearsight.inference.plan import PredictionPlan, divided, plan_prediction
from nearsight.inference.sharded import WrittenInParts, begun_parts, shards_folder, write_in_parts
from nearsight.inference.tables import TablesInFolder, TablesInMemory
from nearsight.launch import launched
from nearsight.nn.model import HamiltonianModel
from nearsight.nn.processes import joined
from nearsight.operators.calculation import Calculation
from nearsight.operators.store import Part
from nearsight.operators.two_centre_overlap import TwoCentreOverlap
from nearsight.orbitals.basis import BasisSet
from nearsight.partition.regions import Regions
from nearsight.progress import Event, Progress
from nearsight.recipes.overlap import with_pyscf_functions
from nearsight.structures.structure import Structure

FEW = 8
"""Parts whose tables are kept in memory: of 8,000 atoms with some kilobytes each they take a fifth of a gigabyte."""
SMALL = 1000
"""Atoms up to which nobody asks whether a structure fits."""


def overlap_of_distance(structure: Structure, basis: BasisSet) -> tuple[TwoCentreOverlap | None, str]:
    """Return S of a basis as functions of distance, and from what, or why there is none.

    Parameters
    ----------
    structure : Structure
        Its elements count.
    basis : BasisSet
        The basis of a model.
    """
    known = basis.restricted(structure.numbers)
    try:
        if not known.lacking_functions:
            return TwoCentreOverlap.of(known), "exact, of the radial functions of the basis"
        if known.overlaps is not None:
            error = known.overlaps.error
            said = f"fitted, of the training data's own S, elements within {error:.1e}; its condition was not looked at"
            return TwoCentreOverlap.of(known), said
        return TwoCentreOverlap.of(with_pyscf_functions(known)), f"exact, of PySCF's functions of {known.name}"
    except InputError as error:
        return None, f"unknown: {error}"


def plan_of(
    model: HamiltonianModel,
    structure: Structure,
    overlap: TwoCentreOverlap | None,
    memory_gb: float | None,
    in_parts: bool | None,
    progress: Progress,
    target: Path | None = None,
) -> PredictionPlan | None:
    """Return the plan by which a structure is predicted in parts, None where it is not; say why.

    Parameters
    ----------
    model : HamiltonianModel
        The model.
    structure : Structure
        Of elements that it knows.
    overlap, memory_gb, in_parts
        As of `plan_prediction`; in several processes a prediction is always in parts.
    progress : Progress
        Told the decision, where the structure is not small.
    target : Path, optional
        The index that is written; parts that are there already are gone on with.
    """
    launch = launched()
    several = launch.count > 1
    if several and in_parts is False:
        raise InputError("expected a prediction in parts behind torchrun, got in_parts=False; start one process")
    asked = True if several else in_parts
    if memory_gb is not None and not memory_gb > 0:
        raise InputError(f"expected memory above 0 GB, got {memory_gb:g}")
    begun = None
    if target is not None and in_parts is not False and model.reach is not None:
        begun = begun_parts(shards_folder(target, model, structure, overlap), structure)
    if len(structure) <= SMALL and not asked and begun is None:
        return None
    plan = plan_prediction(
        model, structure, overlap=overlap, memory_gb=memory_gb, in_parts=asked, launch=launch, begun=begun
    )
    progress(Event(plan.reason))
    return plan if plan.count else None


def write_planned(
    path: Path,
    model: HamiltonianModel,
    head: Calculation,
    plan: PredictionPlan,
    overlap: TwoCentreOverlap | None,
    progress: Progress,
) -> WrittenInParts:
    """Write a prediction by its plan; in several processes where torchrun started them.

    Parameters
    ----------
    path : Path
        The index.
    model : HamiltonianModel
        The model.
    head : Calculation
        What the file says besides the matrices.
    plan : PredictionPlan
        With parts.
    overlap : TwoCentreOverlap or None
        S to be written, too.
    progress : Progress
        Told how many atoms are done.
    """
    folder = shards_folder(path, model, head.structure, overlap)
    plan.check_disk(path.parent, sum(file.stat().st_size for file in folder.glob("*.h5")))
    with joined(model.device) as processes:
        count = -processes.least(-plan.count)  # where some machine has less memory, parts are as small as it needs
        return write_in_parts(path, model, head, count, overlap=overlap, processes=processes, progress=progress)


def predicted_parts(
    model: HamiltonianModel,
    structure: Structure,
    plan: PredictionPlan,
    overlap: TwoCentreOverlap | None,
    progress: Progress,
) -> Iterator[Part]:
    """Predict by a plan and hand over one part after another, without a file of the result.

    What is known of atoms and needed by later parts is kept in memory for a few parts, and for more in a temporary
    folder (of `TMPDIR`), which is removed.

    Parameters
    ----------
    model : HamiltonianModel
        The model.
    structure : Structure
        The atoms.
    plan : PredictionPlan
        With parts.
    overlap : TwoCentreOverlap or None
        S that comes along.
    progress : Progress
        Told how many atoms are done, each counted twice.
    """
    regions = Regions(structure, divided(structure, plan.count))
    total, done = 2 * len(structure), 0

    def count(atoms: int) -> None:
        nonlocal done
        done += atoms
        progress(Event(done=done, total=total))

    if plan.count <= FEW:
        yield from PredictionInParts(model, regions, TablesInMemory(regions), overlap).parts(count)
        return
    with TemporaryDirectory(prefix="nearsight-atoms-") as folder:
        tables = TablesInFolder(regions, Path(folder))
        yield from PredictionInParts(model, regions, tables, overlap).parts(count)
