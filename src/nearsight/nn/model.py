"""HamiltonianModel: what every architecture implements, and all that training, prediction and files know of it."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from nearsight.elements import GHOST, symbol_of
from nearsight.errors import InputError
from nearsight.nn.batches import available_bytes
from nearsight.nn.config import LossSection, ModelSection, OptimizerSection, PartitionSection
from nearsight.nn.error_sums import ErrorSums
from nearsight.nn.model_file import FORMAT, WEIGHTS, basis_metadata
from nearsight.nn.prediction import Prediction
from nearsight.nn.processes import Processes
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.progress import Event, Progress, silent
from nearsight.self_consistency.solver import DensityFunctional
from nearsight.structures.graph import build_graph
from nearsight.structures.structure import Structure

Need = Literal["hamiltonian", "overlap", "h0"]
"""Attributes of a `Calculation` that a model may need of a structure besides its atoms."""

CHUNK = 4096
"""Edges that a prediction computes at once: their tensors fit into a few ten MB."""


@dataclass(frozen=True)
class Reach:
    """How far away what a prediction depends on can be, for models that predict large structures region by region.

    Attributes
    ----------
    of_atoms : float
        Å, of what `atom_tables` computes for an atom.
    of_rows : float
        Å, of the blocks of an atom's row, given the tables of all atoms there.
    """

    of_atoms: float
    of_rows: float


class Batches(Protocol):
    """Batches of one set of structures: each is made on demand, and kept where memory allows."""

    def __len__(self) -> int:
        """Return the number of batches."""

    def __getitem__(self, index: int) -> Any:
        """Return one batch, with its tensors where the network is."""

    def n_terms(self, chosen: Sequence[int]) -> int:
        """Return the number of terms of the loss in some batches: the common denominator of a step over them."""


class Objective(ABC):
    """The function that a step minimises: a loss of sums over the terms of its batches, by default their mean.

    Attributes
    ----------
    additive : bool
        Whether the loss is a sum over batches, so that each batch's gradient can be taken by itself.
    """

    additive: bool = True

    @abstractmethod
    def sums(self, network: nn.Module, batch: Any) -> Tensor:
        """Return two differentiable sums over the terms of one batch.

        Parameters
        ----------
        network : torch.nn.Module
            The network, possibly in the wrapper of a device.
        batch : object
            A batch of the architecture.

        Returns
        -------
        Tensor
            (2,) sums, whose meaning is the architecture's.
        """

    def loss(self, sums: Tensor, terms: int) -> Tensor:
        """Return the loss of a step.

        Parameters
        ----------
        sums : Tensor
            (2,) sums over all batches of the step.
        terms : int
            Number of their terms.

        Returns
        -------
        Tensor
            The loss, a scalar.
        """
        return sums[0] / terms

    def add_gradient(self, network: nn.Module, batch: Any, terms: int) -> Tensor:
        """Add the gradient of a batch's part of an additive loss to that of the parameters (`grad`).

        Parameters
        ----------
        network, batch
            Arguments of `sums`.
        terms : int
            Number of terms of all batches of the step.

        Returns
        -------
        Tensor
            (2,) sums of the batch, without gradient.
        """
        sums = self.sums(network, batch)
        self.loss(sums, terms).backward()
        return sums.detach()

    def validate(self, network: nn.Module, batch: Any, errors: ErrorSums | None) -> Tensor:
        """Return the sums of a batch for validation, and count the errors of its matrix elements.

        Parameters
        ----------
        network : torch.nn.Module
            The network in evaluation mode.
        batch : object
            A batch of the architecture.
        errors : ErrorSums or None
            Where errors of matrix elements are counted; None where they are not wanted.

        Returns
        -------
        Tensor
            (2,) float64 on the CPU, as from `sums`.
        """
        return self.sums(network, batch).detach().double().cpu()


class TrainingSections(Protocol):
    """The part of a training configuration that an architecture reads."""

    @property
    def model(self) -> ModelSection:
        """Settings of the model."""

    @property
    def loss(self) -> LossSection:
        """Settings of the loss."""

    @property
    def partition(self) -> PartitionSection:
        """Settings of the division into batches."""

    @property
    def optimizer(self) -> OptimizerSection:
        """Settings of the optimiser."""

    @property
    def seed(self) -> int:
        """Seed of all random numbers."""

    @property
    def memory_gb(self) -> float | None:
        """Memory that the process may use in all, in units of 10⁹ bytes; None for what is available."""

    @property
    def validation_slabs(self) -> int:
        """Number of slabs of every training structure that are kept for validation."""


@dataclass(frozen=True, eq=False)
class TrainingTask:
    """The data, configuration and surroundings of a training run.

    Attributes
    ----------
    config : TrainingSections
        The sections of the configuration that concern the architecture.
    training, validation : sequence of Calculation
        Structures with their Hamiltonians. Without validation structures, slabs of the training structures are kept for
        validation where `config.validation_slabs` says so.
    device : torch.device
        Where the network is.
    dtype : torch.dtype
        Number type of its parameters.
    provenance : mapping of str to str
        What the model's file will say about its origin.
    start : HamiltonianModel or None
        A trained model of this architecture from which training begins.
    start_from : str
        Where that model came from, for messages.
    resumed : bool
        Whether a run is continued, whose model has been begun before.
    progress : Progress
        Told what is done.
    processes : Processes or None
        Those that train together; None for one alone.
    """

    config: TrainingSections
    training: Sequence[Calculation]
    validation: Sequence[Calculation]
    device: torch.device
    dtype: torch.dtype
    provenance: Mapping[str, str] = field(default_factory=dict)
    start: HamiltonianModel | None = None
    start_from: str = ""
    resumed: bool = False
    progress: Progress = silent
    processes: Processes | None = None

    def available_bytes(self) -> int:
        """Return the bytes that each process may use: the fewest that any of them has, so that all plan alike."""
        own = available_bytes(self.device, self.config.memory_gb)
        return self.processes.least(own) if self.processes is not None else own

    def say(self, message: str) -> None:
        """Tell the user what is done, by an event with this message."""
        self.progress(Event(message))


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The batches of a training task.

    Attributes
    ----------
    partition : PartitionSection
        The section of the configuration, in which `kind=auto` has been decided.
    training, validation : Batches
        Batches to train on and to validate on; the latter may be empty.
    """

    partition: PartitionSection
    training: Batches
    validation: Batches


class HamiltonianModel(ABC):
    """A model of the Hamiltonian, of any architecture; a subclass is a frozen dataclass with these fields at least.

    Attributes
    ----------
    config : ModelSection
        Settings that decide its functions, except its basis and what is learnt; they hold the cutoff (Å).
    basis : BasisSet
        Orbitals of the elements that it knows.
    network : torch.nn.Module
        Everything with gradients.
    provenance : mapping of str to str
        Training data, seed, versions; text by key.
    """

    config: ModelSection
    basis: BasisSet
    network: nn.Module
    provenance: Mapping[str, str]

    architecture: ClassVar[str]
    """Name in the registry."""

    @property
    def needs(self) -> frozenset[Need]:
        """Matrices that a calculation must hold, besides the structure, for a prediction."""
        return frozenset()

    @property
    def density_functional(self) -> DensityFunctional | None:
        """H as a functional of the density matrix, for models that have learnt it."""
        return None

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the parameters."""
        return next(self.network.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(self.network.parameters()).device

    # --- training ---------------------------------------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def begin(cls, task: TrainingTask) -> HamiltonianModel:
        """Return the model that a new run begins with.

        Parameters
        ----------
        task : TrainingTask
            The training task.

        Returns
        -------
        HamiltonianModel
            A model of random weights, or one made from `task.start`.

        Raises
        ------
        ConfigError
            The data or `task.start` do not fit the architecture.
        """

    @abstractmethod
    def prepare(self, task: TrainingTask) -> TrainingData:
        """Divide the structures into batches; the network may be standardised here, where the run is new.

        Parameters
        ----------
        task : TrainingTask
            The training task.

        Returns
        -------
        TrainingData
            Batches to train and to validate on.
        """

    @abstractmethod
    def objective(self, loss: LossSection) -> Objective:
        """Return the objective that a step minimises, for settings of this architecture's loss."""

    def finalise(self, data: TrainingData, progress: Progress = silent, *, stopped: bool = False) -> HamiltonianModel:
        """Return the trained model with what is fitted after training, such as its uncertainty.

        Parameters
        ----------
        data : TrainingData
            The batches of the run.
        progress : Progress, optional
            Told how far the work is.
        stopped : bool
            Whether the run was stopped and will be continued: what takes long can wait.

        Returns
        -------
        HamiltonianModel
            A new model, or this one where nothing is fitted.
        """
        return self

    def with_network(self, network: nn.Module) -> HamiltonianModel:
        """Return the model with another network of the same shape."""
        changed: Any = replace(cast(Any, self), network=network)
        return cast(HamiltonianModel, changed)

    # --- prediction -------------------------------------------------------------------------------------------------

    @abstractmethod
    def predict(
        self,
        structure: Structure,
        known: Calculation | None = None,
        *,
        parts: np.ndarray | None = None,
        hermitian: bool = True,
        chunk: int = CHUNK,
        progress: Progress = silent,
    ) -> Prediction:
        """Predict H of a structure, to be read block after block.

        Parameters
        ----------
        structure : Structure
            A structure of elements that the model knows.
        known : Calculation, optional
            A calculation of the structure that holds what the model `needs`.
        parts : ndarray, optional
            (N,) partition label of each atom: atoms of different partitions are not computed at once. Results do not
            depend on it.
        hermitian : bool
            Predict ½(H + H†) as its half; otherwise H as the network gives it, whole.
        chunk : int
            Edges computed at once.
        progress : Progress
            Told how many edges are done.

        Returns
        -------
        Prediction
            Blocks in eV, on site and of all pairs within the cutoff, in real space.

        Raises
        ------
        InputError
            An element is unknown, `parts` has another length than the structure, or a matrix that the model `needs` is
            missing.
        """

    @property
    def reach(self) -> Reach | None:
        """How far the model sees; None where rows depend on the whole structure, or it cannot predict rows alone."""
        return None

    @property
    def mean_to_rms(self) -> tuple[float, float] | None:
        """Ratios of mean absolute to r.m.s. errors, on site and between atoms; None where it is not calibrated."""
        return None

    def atom_tables(self, structure: Structure, atoms: np.ndarray) -> Mapping[str, np.ndarray]:
        """Compute what is known of some atoms and needed again for the rows of their neighbours.

        Parameters
        ----------
        structure : Structure
            A cluster that holds everything within `reach.of_atoms` of the atoms.
        atoms : (n,) array of int
            The atoms, ascending.

        Returns
        -------
        mapping of str to (n, …) array
            Numbers by name.
        """
        return {}

    def predict_rows(
        self,
        structure: Structure,
        rows: np.ndarray,
        tables: Mapping[str, np.ndarray],
        *,
        chunk: int = CHUNK,
        progress: Progress = silent,
    ) -> Prediction:
        """Predict half of the rows of some atoms, for models with a `reach`.

        Parameters
        ----------
        structure : Structure
            A cluster that holds everything within `reach.of_rows` of the atoms.
        rows : (n,) array of int
            The atoms, ascending.
        tables : mapping of str to (N, …) array
            What `atom_tables` computed for all atoms of the cluster.
        chunk, progress
            Arguments of `predict`.

        Returns
        -------
        Prediction
            The pairs of `in_half` whose first atom is one of these.
        """
        raise InputError(f"expected a model that predicts rows of a structure, got {self.architecture}, which does not")

    def describe(self) -> str:
        """Return one line that says how the model is computed here."""
        return f"torch, {where_computed(self.device)}"

    # --- files ------------------------------------------------------------------------------------------------------

    def metadata(self) -> dict[str, str]:
        """Return what the model's file needs besides the numbers, as text by key."""
        return {
            "format": FORMAT,
            "model": self.config.model_dump_json(),
            "basis": basis_metadata(self.basis),
            "provenance": json.dumps(dict(self.provenance)),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return all numbers of the model's file by name; the names of the network's weights begin with `model.`."""
        return {WEIGHTS + k: v.detach().cpu().contiguous() for k, v in self.network.state_dict().items()}

    @classmethod
    @abstractmethod
    def from_file(
        cls,
        config: ModelSection,
        basis: BasisSet,
        metadata: Mapping[str, str],
        tensors: Mapping[str, Tensor],
        dtype: torch.dtype,
    ) -> HamiltonianModel:
        """Return the model whose file holds given metadata and tensors; its weights are put in afterwards.

        Parameters
        ----------
        config : ModelSection
            The stored settings.
        basis : BasisSet
            The stored basis.
        metadata : mapping of str to str
            Text of the file by key.
        tensors : mapping of str to Tensor
            Tensors of the file by name.
        dtype : torch.dtype
            Number type of the parameters.

        Returns
        -------
        HamiltonianModel
            The model with random weights.

        Raises
        ------
        KeyError, ValueError, InputError
            Something is missing or does not fit; `load_model` names the file.
        """

    def check(self, structure: Structure, known: Calculation | None = None) -> None:
        """Refuse a structure that the model cannot predict.

        Parameters
        ----------
        structure : Structure
            The structure to predict.
        known : Calculation, optional
            A calculation of the structure, with the matrices that the model `needs`.

        Raises
        ------
        InputError
            The model was not trained on an element, or a matrix that it `needs` is missing in `known`.
        """
        unknown = [_in_words(z) for z in structure.elements if z not in self.basis.shells]
        if unknown:
            raise InputError(
                f"expected a structure of the model's elements ({', '.join(map(symbol_of, self.basis.shells))}), got "
                f"{', '.join(unknown)} in {structure.formula}; train on data that holds them"
            )
        names = {"hamiltonian": "H", "overlap": "S", "h0": "H0"}
        missing = [names[need] for need in sorted(self.needs) if getattr(known, need, None) is None]
        if missing:
            raise InputError(
                f"expected {' and '.join(missing)} of {structure.formula}, from which this model starts, got a "
                "structure without; make an .h5 file with them: `nearsight import SOURCE --h0 FILE -o OUTPUT`"
            )


def _in_words(z: int) -> str:
    return f"ghosts ({symbol_of(z)})" if z == GHOST else symbol_of(z)


def where_computed(device: torch.device) -> str:
    """Return the number of threads, or the device, in words."""
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''}" if device.type == "cpu" else str(device)


def edges_within(model: HamiltonianModel, structure: Structure, parts: np.ndarray | None) -> tuple[Any, np.ndarray]:
    """Return the graph of a structure within a model's cutoff, and the partition label of each atom.

    Parameters
    ----------
    model : HamiltonianModel
        The model whose cutoff is used.
    structure : Structure
        The structure.
    parts : ndarray or None
        (N,) partition label of each atom; None puts all atoms into one partition.

    Returns
    -------
    graph : Graph
        Atoms and directed edges.
    labels : ndarray
        (N,) int64, partition labels.

    Raises
    ------
    InputError
        `parts` has another length than the structure.
    """
    labels = np.zeros(len(structure), dtype=np.int64) if parts is None else np.asarray(parts)
    if labels.shape != (len(structure),):
        raise InputError(
            f"expected a partition label for each of {len(structure)} atoms, got an array of shape {labels.shape}"
        )
    return build_graph(structure, model.config.cutoff), labels
