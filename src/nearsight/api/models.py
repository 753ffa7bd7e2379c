"""Models as users hold them: trained, loaded, used."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nearsight.api.in_parts import overlap_of_distance, plan_of, predicted_parts, write_planned
from nearsight.api.matrices import Hamiltonian, Overlap
from nearsight.api.overlaps import computed_overlap, unfolded_overlap
from nearsight.api.structures import as_structure
from nearsight.electronic.k_points import mesh_of_length, monkhorst_pack
from nearsight.errors import CheckpointError, InputError
from nearsight.inference.predict import write_prediction
from nearsight.launch import launched
from nearsight.learning.config import load_config
from nearsight.learning.training import SAMPLED, TrainingResult
from nearsight.nn.dense_eigenproblem import eigensolver_on
from nearsight.nn.devices import device_named
from nearsight.nn.loading import load_model as load_hamiltonian_model
from nearsight.nn.model import HamiltonianModel
from nearsight.nn.model_file import find_model_file, has_checksums
from nearsight.nn.prediction import Prediction
from nearsight.operators.blocks import BlockOperator
from nearsight.operators.calculation import Calculation
from nearsight.operators.invariants import check_charge
from nearsight.operators.position_check import misfit
from nearsight.operators.shards import folder_of, remove_shards
from nearsight.operators.store import Part, is_store, operator_basis, read_calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.output_path import STORE, check_output
from nearsight.partition.slabs import Slabs
from nearsight.progress import Event, Progress, StopToken, silent
from nearsight.self_consistency.density_solver import DENSITY_SOLVERS, DensitySolver, chosen
from nearsight.self_consistency.solver import NotConvergedError, solve_self_consistent
from nearsight.structures.structure import Structure

MOST_ORBITALS = 20_000
"""Orbitals up to which a prediction is made self-consistent without being asked: minutes on a few cores."""
LEFT_OUT = "left out"
MOST_OVERLAP = 200_000
"""Orbitals up to which a prediction brings S along without being given it: it is held in memory."""


@dataclass(frozen=True)
class WrittenPrediction:
    """What `Model.predict_to` wrote.

    Attributes
    ----------
    path : Path
        The file.
    structure : Structure
        The atoms.
    n_pairs : int
        Blocks of H, transposes included.
    mean_on_site : float
        Mean |H| over the on-site blocks, eV.
    seconds : float
        Time taken.
    overlap : str
        Where the S in the file comes from (``given``, ``exact, …``), or why it holds none.
    expected_errors : tuple of float or None
        Expected mean absolute errors (eV), on site and between atoms; None where the model is not calibrated.
    out_of_distribution : ndarray or None
        (N,) bool, atoms in environments unlike those of the training data; None likewise.
    self_consistent : str or None
        How the prediction was made self-consistent, or why not; None for a model that has not learnt to, and where it
        was not wanted.
    parts : int
        Files that the blocks are in, beside the index; 0 where they are in the file itself.
    """

    path: Path
    structure: Structure
    n_pairs: int
    mean_on_site: float
    seconds: float
    overlap: str
    expected_errors: tuple[float, float] | None
    out_of_distribution: np.ndarray | None
    self_consistent: str | None = None
    parts: int = 0

    @property
    def has_overlap(self) -> bool:
        """Whether the file holds S, too."""
        return self.overlap.startswith(("given", "exact", "fitted"))


@dataclass(frozen=True, eq=False)
class _AtHand:
    """A structure, what was given of it, and S, or why there is none."""

    atoms: Structure
    given: Calculation | None
    overlap: BlockOperator | None
    said: str
    charge: float = 0.0
    k_points: np.ndarray | None = None
    solver: DensitySolver = "auto"


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model of the Hamiltonian.

    Attributes
    ----------
    inner : HamiltonianModel
        The model as the library sees it, of any architecture.
    source : Path or None
        The file it came from.
    training : TrainingResult or None
        The run that made it, where `train` returned it.
    """

    inner: HamiltonianModel
    source: Path | None = None
    training: TrainingResult | None = None

    @property
    def basis(self) -> BasisSet:
        """Orbitals of the elements that it knows."""
        return self.inner.basis

    @property
    def cutoff(self) -> float:
        """Distance (Å) within which it predicts blocks."""
        return self.inner.config.cutoff

    @property
    def architecture(self) -> str:
        """Name of its architecture."""
        return self.inner.architecture

    def predict(
        self,
        structure: Any,
        known: Calculation | Hamiltonian | Overlap | None = None,
        *,
        self_consistent: bool | None = None,
        charge: float | None = None,
        k_points: tuple[int, int, int] | None = None,
        density_solver: DensitySolver = "auto",
        progress: Progress = silent,
    ) -> Hamiltonian:
        """Predict the Hamiltonian of a structure, in memory.

        Parameters
        ----------
        structure : Structure, ase.Atoms or path
            Atoms in Å, of elements that the model knows. A file can be an xyz, a CP2K input, an .h5 of this project, or
            anything that ASE reads; only its structure is used, and the overlap of an .h5 is passed on.
        known : Calculation or Hamiltonian, optional
            Holds the overlap (such as `nearsight.overlap` returns), and H₀ for a model that starts from it; an .h5 as
            `structure` is read for them too.
        self_consistent : bool, optional
            Solve for H and its density until they agree. By default where the model has learnt to (its training data
            had S, `model.self_consistent` was true, and that helped), S is at hand, and there are at most 20,000
            orbitals; what was done is in the provenance of the result.
        charge : float, optional
            Of the cell, e; by default that of the calculation that is given, else 0. A local H does not depend on it.
        k_points : (int, int, int), optional
            Mesh through Γ that the density is summed over. By default that of the calculation that is given; else,
            where the training data had several k-points, as fine a mesh as theirs; else Γ.
        density_solver : {"auto", "dense", "purification"}
            How the density of H is found: dense matrices, diagonalised where the model is (on a GPU, too), whose time
            grows with the cube of the number of orbitals; or, for insulators, purification in sparse blocks on the CPU,
            whose time grows linearly. `auto` takes dense up to 8,000 orbitals.
        progress : Progress
            Told how many edges are done.

        Returns
        -------
        Hamiltonian
            H in eV, in real space, exactly Hermitian, with the errors that the model expects.

        Raises
        ------
        InputError
            An element that the model was not trained on, or a matrix missing that it starts from.
        CheckpointError
            The overlap of the file is in another basis.
        NotConvergedError
            `self_consistent` was asked for, and charges and Hamiltonian do not come to agree.

        Examples
        --------
        >>> import nearsight as ns
        >>> model = ns.load_model("tests/data/version_0_1_0/nearsight")
        >>> h = model.predict("tests/data/version_0_1_0/calculation.h5")
        >>> h.to_csr().shape
        (192, 192)
        """
        at_hand = self._known(structure, known, charge, k_points, progress)
        return self._predicted(replace(at_hand, solver=_checked(density_solver)), self_consistent, progress)

    def overlap(self, structure: Any) -> Overlap:
        """Compute S of a structure in the basis of the model, without a DFT run.

        Parameters
        ----------
        structure : Structure, ase.Atoms or path
            As of `predict`.

        Raises
        ------
        InputError
            The radial functions are not known: the model's training data did not hold them, and PySCF does not have a
            basis of this name.

        Examples
        --------
        >>> import nearsight as ns
        >>> model = ns.load_model("tests/data/version_0_1_0/nearsight")
        >>> model.overlap("tests/data/version_0_1_0/calculation.h5").operator.n_orbitals
        192
        """
        atoms = as_structure(structure)
        self.inner.check(atoms, Calculation(atoms, self.basis.restricted(atoms.numbers)))
        s, said = computed_overlap(atoms, self.basis)
        head = self._head(atoms)
        return Overlap(replace(head, overlap=s, provenance={**head.provenance, "overlap": said}))

    def _predicted(self, at_hand: _AtHand, self_consistent: bool | None, progress: Progress) -> Hamiltonian:
        self.inner.check(at_hand.atoms, at_hand.given)
        head = self._head(at_hand.atoms, at_hand)
        prediction = self.inner.predict(at_hand.atoms, at_hand.given, progress=progress)
        operator, expected = prediction.operator(), prediction.expected_errors
        estimate = None if expected is None else _of_whole(prediction, operator)
        calculation = replace(head, hamiltonian=operator, overlap=at_hand.overlap, error_estimate=estimate)
        if self._solves(calculation, self_consistent, at_hand):
            return self._solved(calculation, at_hand, prediction, self_consistent is True, progress)
        return _plain(calculation, prediction)

    def predict_to(
        self,
        path: str | PathLike[str],
        structure: Any,
        *,
        parts: int = 1,
        self_consistent: bool | None = None,
        charge: float | None = None,
        k_points: tuple[int, int, int] | None = None,
        memory_gb: float | None = None,
        in_parts: bool | None = None,
        overlap: bool = True,
        density_solver: DensitySolver = "auto",
        progress: Progress = silent,
    ) -> WrittenPrediction:
        """Predict into an .h5 file, block by block where the prediction is not self-consistent.

        Memory never holds the Hamiltonian, then; and where it would not suffice for what is known of the atoms and
        their neighbours, the structure is predicted in parts: the file is an index, the blocks are in files of a folder
        beside it, and the same call goes on where it was stopped. Processes that torchrun started share the parts.

        Parameters
        ----------
        path : path
            The file; it takes an older one's place when it is complete.
        structure : Structure, ase.Atoms or path
            As of `predict`; the overlap of an .h5 is copied.
        parts : int
            Slabs whose atoms are computed one after another; the result does not depend on it.
        self_consistent : bool, optional
            As of `predict`; the file holds `charges` and `potential`, then.
        charge, k_points, density_solver
            As of `predict`.
        memory_gb : float, optional
            Memory that may be planned, 10⁹ bytes; by default half of what is free.
        in_parts : bool, optional
            Whether to predict in parts; by default where the memory would not suffice otherwise.
        overlap : bool
            Whether the file shall hold S, too, where it is known.
        progress : Progress
            Told what was decided and why, and how many edges or atoms are done.

        Raises
        ------
        InputError, CheckpointError
            As of `predict`, or the file cannot be written; what was at `path` stays, then.
        """
        started, target, solver = time.monotonic(), Path(path), _checked(density_solver)
        if not target.parent.is_dir():
            raise InputError(f"{target}: expected a folder to write into, got none at {target.parent}")
        check_output(target, [structure, self.source], STORE)
        structure = structure if _store(structure) is not None else as_structure(structure)
        small, copied = self._orbitals(structure) <= MOST_ORBITALS, self._may_copy(structure) if overlap else None
        learnt = self.inner.density_functional is not None and self_consistent is not False
        alone = not in_parts and launched().count == 1
        learnt = learnt and overlap
        if not self_consistent and not (learnt and small and alone):
            divided = self._in_parts(target, structure, charge, memory_gb, in_parts, overlap, started, progress)
            if divided is not None:
                return divided
        elif not alone:
            raise InputError(
                "expected a prediction in one process and at once where it shall be self-consistent, got "
                f"{launched().count} processes, in_parts={in_parts}; give --no-self-consistent"
            )
        if self_consistent or (learnt and small) or copied is None:
            copied, at_hand = None, self._known(structure, None, charge, k_points, progress, overlap)
            at_hand = replace(at_hand, solver=solver)
        else:
            head = read_calculation(copied, hamiltonian=False, overlap=small, h0=False)
            if head.overlap is not None:
                self._check_overlap(head.overlap, head.structure)
            at_hand = _AtHand(head.structure, None, None, "given", head.charge if charge is None else charge)
        if self_consistent or (learnt and small and at_hand.overlap is not None):
            return self._write_self_consistent(target, at_hand, self_consistent, started, progress)
        atoms, given = at_hand.atoms, at_hand.given
        labels = Slabs(count=parts).assign(atoms) if parts > 1 else None
        prediction = self.inner.predict(atoms, given, parts=labels, progress=progress)
        before = folder_of(target)
        s = copied or at_hand.overlap
        written = write_prediction(target, self._head(atoms, at_hand), prediction, overlap=s)
        if before is not None:
            remove_shards(target, before)
        expected = prediction.expected_errors
        return WrittenPrediction(
            target,
            atoms,
            written.n_pairs,
            written.mean_on_site,
            time.monotonic() - started,
            at_hand.said,
            prediction.mean_expected_errors(),
            None if expected is None else expected.out_of_distribution,
            _why_plain(self.inner, at_hand, self_consistent, small),
        )

    def predict_parts(
        self, structure: Any, *, memory_gb: float | None = None, overlap: bool = True, progress: Progress = silent
    ) -> Iterator[Part]:
        """Predict H, and S, and hand over the rows of some atoms after those of others, without a file of the result.

        Memory holds one part. What is known of atoms and needed by later parts, some kB for each, is in a temporary
        folder (of `TMPDIR`) where there are many parts. H is not made self-consistent.

        Parameters
        ----------
        structure : Structure, ase.Atoms or path
            As of `predict`, but of a file only the structure is used.
        memory_gb : float, optional
            Memory that may be planned, 10⁹ bytes; by default half of what is free.
        overlap : bool
            Whether S comes along, where it is known.
        progress : Progress
            Told the plan, and how many atoms are done.

        Yields
        ------
        Part
            `atoms`, and their rows of H (eV) and S in real space, in the numbering of the whole structure. Of two
            transposes one is there, in whatever part: pairs (i, j, R) with i < j, or i = j and R ≥ 0.

        Raises
        ------
        InputError
            An element that the model was not trained on, or a model that sees the whole structure.

        Examples
        --------
        >>> import nearsight as ns
        >>> model = ns.load_model("tests/data/version_0_1_0/nearsight")
        >>> parts = model.predict_parts("tests/data/version_0_1_0/calculation.h5", overlap=False)
        >>> [(part.number, part.count, len(part.atoms)) for part in parts]
        [(0, 1, 24)]
        """
        atoms = as_structure(structure)
        self.inner.check(atoms)
        known = overlap_of_distance(atoms, self.basis)[0] if overlap else None
        plan = plan_of(self.inner, atoms, known, memory_gb, True, progress)
        assert plan is not None
        return predicted_parts(self.inner, atoms, plan, known, progress)

    def _in_parts(
        self,
        target: Path,
        structure: Any,
        charge: float | None,
        memory_gb: float | None,
        in_parts: bool | None,
        overlap: bool,
        started: float,
        progress: Progress,
    ) -> WrittenPrediction | None:
        """Predict in parts where that was asked for or the memory would not suffice otherwise; else None."""
        atoms = as_structure(structure)
        if not set(atoms.numbers.tolist()) <= set(self.basis.shells):
            return None  # refused where it predicts
        known, said = overlap_of_distance(atoms, self.basis) if overlap else (None, LEFT_OUT)
        plan = plan_of(self.inner, atoms, known, memory_gb, in_parts, progress, target)
        if plan is None:
            return None
        store = _store(structure)
        stored = 0.0 if store is None else read_calculation(store, hamiltonian=False, overlap=False, h0=False).charge
        at_hand = _AtHand(atoms, None, None, said, stored if charge is None else charge)
        head = self._head(atoms, at_hand)
        if known is not None:
            head = replace(head, basis=known.basis, provenance={**head.provenance, "overlap": said})
        found = write_planned(target, self.inner, head, plan, known, progress)
        why = None if self.inner.density_functional is None else "no: it was predicted in parts"
        return WrittenPrediction(
            target,
            atoms,
            found.n_pairs,
            found.mean_on_site,
            time.monotonic() - started,
            said,
            found.expected_errors,
            found.out_of_distribution,
            why,
            found.count,
        )

    def describe(self) -> str:
        """Say how the model is computed here, and whether its file is an old one in which no change would be seen."""
        old = self.source is not None and not has_checksums(self.source)
        return self.inner.describe() + ("; written without checksums by an earlier version" if old else "")

    def _write_self_consistent(
        self, target: Path, at_hand: _AtHand, wanted: bool | None, started: float, progress: Progress
    ) -> WrittenPrediction:
        """Predict in memory and write what came out, with charges and potential."""
        h = self._predicted(at_hand, wanted, progress)
        operator = h.operator
        h.write(target)
        on_site = np.flatnonzero(operator.on_site)
        mean = float(np.mean([np.abs(operator.stack(on_site[k : k + 1])).mean() for k in range(len(on_site))]))
        seconds = time.monotonic() - started
        return WrittenPrediction(
            target,
            h.structure,
            operator.n_pairs,
            mean,
            seconds,
            at_hand.said,
            h.expected_errors,
            h.out_of_distribution,
            h.calculation.provenance.get("self_consistent"),
        )

    def _solves(self, calculation: Calculation, wanted: bool | None, at_hand: _AtHand) -> bool:
        """Whether a prediction is to be made self-consistent."""
        if wanted is False or (wanted is None and self.inner.density_functional is None):
            return False
        if self.inner.density_functional is None:
            said = self.inner.provenance.get("self_consistency", "it was trained with model.self_consistent=false")
            raise InputError(
                f"expected a model that has learnt H as a functional of the density, got one without: {said}"
            )
        if wanted and calculation.overlap is None:
            raise InputError(f"expected S for a self-consistent prediction, got none: {at_hand.said}")
        small = calculation.require_hamiltonian().n_orbitals <= MOST_ORBITALS
        return wanted is True or (calculation.overlap is not None and small)

    def _solved(
        self, plain: Calculation, at_hand: _AtHand, prediction: Prediction, wanted: bool, progress: Progress
    ) -> Hamiltonian:
        """The prediction made self-consistent; where that was not asked for and fails, the plain one, which says so."""
        functional = self.inner.density_functional
        assert functional is not None
        try:
            sampled = replace(plain, k_points=at_hand.k_points, overlap=unfolded_overlap(plain, self.basis))
            solver = chosen(at_hand.solver, sampled.require_overlap().n_orbitals)
            eigensolver = eigensolver_on(next(self.inner.network.parameters()).device)
            found = solve_self_consistent(
                functional, sampled, solver=solver, diagonalise=eigensolver, progress=progress
            )
        except (NotConvergedError, InputError) as error:
            if wanted:
                raise
            progress(Event(f"the prediction is not self-consistent: {error}"))
            failed = {**plain.provenance, "self_consistent": f"no: {error}"}
            return _plain(replace(plain, provenance=failed), prediction)
        whole = f"diagonalisation{'s' if found.diagonalisations > 1 else ''}" if solver == "dense" else "purifications"
        said = f"{found.steps} steps, {found.diagonalisations} {whole}, charges agree to {found.error:.1e} e"
        provenance = {**plain.provenance, "self_consistent": said}
        progress(Event(f"self-consistent after {said}"))
        errors = found.expected_errors
        estimate = None if errors is None else errors.of_blocks
        calculation = replace(plain, hamiltonian=found.hamiltonian, error_estimate=estimate, provenance=provenance)
        strange = None if prediction.expected_errors is None else prediction.expected_errors.out_of_distribution
        means = None if errors is None else errors.means(found.hamiltonian)
        return Hamiltonian(calculation, means, strange, charges=found.density.charges, potential=found.potential)

    def _known(
        self,
        structure: Any,
        known: Calculation | Hamiltonian | Overlap | None,
        charge: float | None,
        k_points: tuple[int, int, int] | None,
        progress: Progress,
        overlap: bool = True,
    ) -> _AtHand:
        """The structure, what is known of it, and S: what was given, else of the radial functions of the basis."""
        atoms, given = _input(structure, known)
        found = self._with_overlap(atoms, given, progress) if overlap else _AtHand(atoms, given, None, LEFT_OUT)
        said = 0.0 if given is None else given.charge
        return replace(found, charge=said if charge is None else charge, k_points=self._mesh(atoms, given, k_points))

    def _mesh(
        self, atoms: Structure, given: Calculation | None, k_points: tuple[int, int, int] | None
    ) -> np.ndarray | None:
        """The k-points of the density; None is Γ."""
        if k_points is not None:
            return monkhorst_pack(k_points, through_gamma=True)[0]
        if given is not None and given.k_points is not None:
            return given.k_points
        length = self.inner.provenance.get(SAMPLED)
        if length is None:
            return None
        try:
            number = float(length)
        except ValueError as error:
            raise CheckpointError(f"expected a length in Å as {SAMPLED} of the model, got {length!r:.80}") from error
        return mesh_of_length(atoms, number)

    def _with_overlap(self, atoms: Structure, given: Calculation | None, progress: Progress) -> _AtHand:
        if given is not None and given.overlap is not None:
            check_basis(self.inner, given.overlap.basis)
            self._check_overlap(given.overlap, atoms)
            return _AtHand(atoms, given, given.overlap, "given")
        if not set(atoms.numbers.tolist()) <= set(self.basis.shells):
            return _AtHand(atoms, given, None, "unknown")  # where it predicts, such an element is refused
        size = int(self.basis.sizes(atoms.numbers).sum())
        if size > MOST_OVERLAP:
            return _AtHand(atoms, given, None, f"not computed for more than {MOST_OVERLAP:,} orbitals")
        progress(Event("overlap matrix"))
        try:
            return _AtHand(atoms, given, *computed_overlap(atoms, self.basis))
        except InputError as error:
            return _AtHand(atoms, given, None, f"unknown: {error}")

    def _check_overlap(self, overlap: BlockOperator, atoms: Structure) -> None:
        """Refuse an S that is not that of the model's functions on these atoms, where those are known."""
        functions = self.basis.functions  # an element that it does not know is refused where it predicts
        if any(z not in functions for z in atoms.elements):
            return
        found = misfit(overlap, atoms, functions)
        if found is not None:
            raise InputError(
                f"expected S of these atoms in the model's basis ({self.basis.name}), got another for {found.n_wrong} "
                f"of {found.n_pairs} pairs: between atoms {found.worst[0]} and {found.worst[1]}, {found.distance:.3f} "
                f"Å apart, {found.expected:.4f} is expected and {found.found:.4f} is there; give the structure alone, "
                "and S is computed"
            )

    def _may_copy(self, structure: Any) -> Path | None:
        """A store that holds S, which nothing but the new file needs."""
        store = _store(structure)
        basis = None if store is None or self.inner.needs else operator_basis(store, "overlap")
        check_basis(self.inner, basis)
        return store if basis is not None else None

    def _orbitals(self, structure: Any) -> int:
        """Orbitals of a structure; 0 where it has an unknown element, which is refused where it predicts."""
        numbers = as_structure(structure).numbers
        return int(self.basis.sizes(numbers).sum()) if set(numbers.tolist()) <= set(self.basis.shells) else 0

    def _head(self, structure: Structure, at_hand: _AtHand | None = None) -> Calculation:
        """What a file says besides the matrices."""
        source = {"model": str(self.source)} if self.source is not None else {}
        provenance = {**source, "predicted": "yes", **self.inner.provenance}
        if at_hand is not None and at_hand.overlap is not None and at_hand.said != "given":
            provenance["overlap"] = at_hand.said
        basis = self.basis.restricted(structure.numbers)
        charge = 0.0 if at_hand is None else at_hand.charge
        head = Calculation(structure, basis, cutoff=self.cutoff, provenance=provenance, charge=charge)
        check_charge(head)
        return head


def train(
    data: Sequence[Any],
    validation: Sequence[Any] = (),
    *,
    preset: str = "nearsight",
    minutes: float | None = None,
    run_dir: str | PathLike[str] | None = None,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    progress: Progress = silent,
    stop: StopToken | None = None,
) -> Model:
    """Train a model, or continue the run in `run_dir`, and return the best one.

    Parameters
    ----------
    data : sequence of path, Calculation or Hamiltonian
        Structures with their Hamiltonians: .h5 files of this project, or anything that `import_calculation` reads.
    validation : sequence of path, Calculation or Hamiltonian
        Structures that choose the best model; by default a slab of every training structure is kept for that.
    preset : str
        A shipped configuration, or a YAML file.
    minutes : float, optional
        Time that training may take; without it the preset's number of epochs.
    run_dir : path, optional
        Folder of the run: configuration, log and models. A run that is there is continued. `runs/<architecture>` by
        default.
    overrides : mapping or sequence of str
        Changes of the configuration, such as ``{"optimizer.learning_rate": 1e-3}`` or ``["seed=1"]``.
    progress : Progress
        Told what is done; the record of every epoch comes as the values of an event.
    stop : StopToken, optional
        Ends the run at the next step; the same call continues it.

    Returns
    -------
    Model
        The best model; its attribute `training` says how the run ended.

    Raises
    ------
    ConfigError
        An unknown key or value, or a folder with another run.
    InputError
        Files that cannot be read, or faults in the data.
    """
    # What reads and checks data takes a sixth of the time that this module takes to be imported.
    from nearsight.api.sources import calculation_of
    from nearsight.api.training import run_training

    changes: dict[str, Any] = {
        "data.train": [_name(item) for item in data],
        "data.validation": [_name(item) for item in validation],
    }
    changes |= {"budget_minutes": minutes} if minutes is not None else {}
    changes |= {"run_dir": str(run_dir)} if run_dir is not None else {}
    config = load_config(preset, changes, overrides)
    known = [[calculation_of(item) for item in items] for items in (data, validation)]
    result = run_training(config, *known, progress=progress, stop=stop)
    if not any((result.folder / name).exists() for name in ("best.safetensors", "last.safetensors")):
        raise InputError(f"{result.folder}: expected a trained model, got none: {result.reason}")
    model = load_model(result.folder)
    return Model(model.inner, model.source, result)


def load_model(path: str | PathLike[str], device: str = "cpu") -> Model:
    """Load a model from its file, or the best one of a run's folder.

    Parameters
    ----------
    path : path
        A model file, or the folder of a run.
    device : str
        Where its network computes: `cpu`, `cuda` (an NVIDIA GPU), `cuda:N`; `auto` is a GPU where there is one.

    Raises
    ------
    CheckpointError
        No such file, not a model, or a damaged one.
    ConfigError
        There is no such device.

    Examples
    --------
    >>> import nearsight as ns
    >>> ns.load_model("tests/data/version_0_1_0/nearsight").cutoff
    4.0
    """
    where, file = device_named(device), find_model_file(Path(path))
    model = load_hamiltonian_model(file)
    model.network.to(where)
    return Model(model, file)


def check_basis(model: HamiltonianModel, basis: BasisSet | None) -> None:
    """Refuse an overlap in another basis than that of the model.

    Raises
    ------
    CheckpointError
        The shells differ.
    """
    if basis is None or any(z not in model.basis.shells for z in basis.shells):
        return  # an element that the model does not know is refused where it predicts
    own = model.basis.restricted(basis.shells)
    if basis != own:
        raise CheckpointError(
            f"expected the basis of the model ({own.describe()}), got an overlap in {basis.describe()}; train "
            "a model on this basis"
        )


def _checked(solver: str) -> DensitySolver:
    for known in DENSITY_SOLVERS:
        if solver == known:
            return known
    raise InputError(f"expected {', '.join(DENSITY_SOLVERS)} as density_solver, got {solver!r:.80}")


def _store(structure: Any) -> Path | None:
    """The path of an .h5 of this project."""
    if isinstance(structure, (str, PathLike)) and is_store(Path(structure)):
        return Path(structure)
    return None


def _why_plain(model: HamiltonianModel, at_hand: _AtHand, wanted: bool | None, small: bool) -> str | None:
    """Why a prediction is not self-consistent, of a model that could."""
    if model.density_functional is None:
        said = model.provenance.get("self_consistency")
        return None if said is None else f"no: {said}"
    if wanted is False:
        return None
    return (
        f"no: no S ({at_hand.said})" if small else f"no: more than {MOST_ORBITALS:,} orbitals (--self-consistent does)"
    )


def _input(structure: Any, known: Calculation | Hamiltonian | Overlap | None) -> tuple[Structure, Calculation | None]:
    """The structure, and what is known of it besides."""
    store = _store(structure)
    if store is not None:
        found = read_calculation(store, hamiltonian=False)
        return found.structure, found
    for source in (structure, known):
        own = getattr(source, "calculation", source)
        if isinstance(own, Calculation):
            return (own.structure if source is structure else as_structure(structure)), own
    return as_structure(structure), None


def _name(item: Any) -> str:
    own = getattr(item, "calculation", item)
    return own.structure.formula if isinstance(own, Calculation) else str(item)


def _plain(calculation: Calculation, prediction: Prediction) -> Hamiltonian:
    """A prediction that is not self-consistent, with the errors that the model expects."""
    expected = prediction.expected_errors
    strange = None if expected is None else expected.out_of_distribution
    return Hamiltonian(calculation, prediction.mean_expected_errors(), strange)


def _of_whole(prediction: Prediction, operator: BlockOperator) -> np.ndarray:
    """(P,) expected errors of all blocks, those of transposes included."""
    pairs, errors = prediction.pairs, prediction.expected_errors
    assert errors is not None
    result = np.empty(operator.n_pairs)
    result[operator.find(pairs.source, pairs.target, pairs.shift)] = errors.of_blocks
    result[operator.find(pairs.target, pairs.source, -pairs.shift)] = errors.of_blocks
    return result
