"""From a configuration to a trained run: begin or resume, divide into batches, train, finalise."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import pdist

from nearsight.atomic_files import explained, remove_leftovers, write_text_atomically
from nearsight.electronic.k_points import sampled_length
from nearsight.errors import CheckpointError, ConfigError
from nearsight.folder_lock import locked_folder
from nearsight.launch import launched
from nearsight.learning.checkpoint import TrainingState, write_tensors
from nearsight.learning.config import TrainingConfig, dump_config
from nearsight.learning.hold_out import Division, divided
from nearsight.learning.loop import Levels, Trainer
from nearsight.learning.run_folder import CONFIG_FILE, as_begun, check_run_folder, load_start, with_cutoff
from nearsight.nn.devices import device_named
from nearsight.nn.kernels.device_memory import out_of_memory
from nearsight.nn.loading import load_model, model_class
from nearsight.nn.model import HamiltonianModel, TrainingTask
from nearsight.nn.model_file import find_model_file
from nearsight.nn.processes import Processes, joined
from nearsight.operators.calculation import Calculation
from nearsight.progress import Event, Progress, StopToken, silent
from nearsight.version import __version__

DTYPES = {"float32": torch.float32, "float64": torch.float64}
SAMPLED = "sampled_length_angstrom"
"""Key of the provenance: smallest edge of the Born-von Kármán cells of the training data, Å."""
ROOM = 1.5
"""Å that the cutoff of a model of small molecules is longer than they are."""
SMALL = 100
"""Atoms of a small molecule."""


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a run.

    Attributes
    ----------
    model : HamiltonianModel
        The model with the weights of the last step.
    state : TrainingState
        Epochs, steps, seconds and best validation loss.
    reason : str
        Why the run stopped.
    folder : Path
        The run's folder.
    interrupted : bool
        Whether the run was asked to stop.
    """

    model: HamiltonianModel
    state: TrainingState
    reason: str
    folder: Path
    interrupted: bool = False


def train(
    config: TrainingConfig,
    training: Sequence[Calculation],
    validation: Sequence[Calculation] = (),
    *,
    progress: Progress = silent,
    stop: StopToken | None = None,
    levels: Levels | None = None,
) -> TrainingResult:
    """Train a model, or continue the run in `config.run_dir`.

    Parameters
    ----------
    config : TrainingConfig
        A checked configuration.
    training, validation : sequence of Calculation
        Structures with their Hamiltonians.
    progress : Progress
        Told what is done, and given every log record as the values of an event.
    stop : StopToken, optional
        Ends the run at the next step; the same call continues it.
    levels : callable, optional
        Computes errors of the levels of the validation structures (`inference.level_check`); needed where the
        configuration asks for them.

    Returns
    -------
    TrainingResult
        The model, and why and where the run ended.

    Raises
    ------
    ConfigError
        The folder holds a run of another configuration, there is nothing to train on or no such device, or the data or
        the configuration do not fit the model that the run starts from.
    NearsightError
        The memory of a GPU does not suffice, or another process of the same launch has ended.

    Notes
    -----
    Where torchrun started several processes, each calls this function with the same arguments; all see the same
    `config.run_dir`. The steps are those of one process to round-off, and a run goes on with any number of them.
    """
    if config.levels_every is not None and levels is None:
        raise ConfigError("expected something that computes levels with levels_every, got none")
    if not training:
        raise ConfigError("expected data.train=[file, …] with at least one file, got none")
    launch = launched()
    device = device_named(config.device, launch.local_rank)
    lock = nullcontext() if launch.rank else locked_folder(config.run_dir, "give another run_dir")
    with lock, joined(device) as processes:
        return _train(config, training, validation, progress, stop or StopToken(), levels, processes)


def _train(
    config: TrainingConfig,
    training: Sequence[Calculation],
    validation: Sequence[Calculation],
    progress: Progress,
    token: StopToken,
    levels: Levels | None,
    processes: Processes,
) -> TrainingResult:
    """Train in a folder that is locked."""
    configured = config
    folder = Path(config.run_dir)
    if processes.count > 1:
        processes.check_same(fingerprint(config, [*training, *validation]), "data and configuration")
    if processes.first:
        remove_leftovers(folder)
    resuming = processes.said_by_first(processes.first and check_run_folder(config))
    config, start = (as_begun(config), None) if resuming else load_start(config)
    if start is None and not resuming:
        config = suited_to_molecules(config, [*training, *validation])
    if processes.first and not resuming:
        _begin_folder(folder, config)
    data = divided(config.data, training, validation, config.seed)
    task = TrainingTask(
        config,
        data.training,
        data.validation,
        processes.device,
        DTYPES[config.precision],
        _provenance(config, data) | origin(config, start),
        start,
        config.start_from or "",
        resuming,
        progress,
        processes,
    )
    if config.model.cutoff != configured.model.cutoff and not resuming:
        task.say(f"cutoff of {config.model.cutoff:g} Å, a little longer than the molecules are (model.cutoff)")
    if data.kept:
        task.say(f"{data.kept} of {len(training)} structures are kept for validation (data.validation_fraction)")
    model = _begun(config, task) if resuming else model_class(config.model.architecture).begin(task)
    batches = model.prepare(task)
    epochs = config.epochs(len(batches.training))
    config = config.model_copy(update={"partition": batches.partition, "max_epochs": epochs})
    progress(Event(values={"max_epochs": epochs}))
    trainer = Trainer(model, config, batches, processes, progress, levels, token)
    task.say(model.describe() + _shared(processes))
    if resuming:
        trainer.resume()
        task.say(f"continuing at epoch {trainer.state.epoch}")
    if processes.first:
        _write_config(folder, config)
    try:
        reason = trainer.run()
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory(error) from error
    best = folder / "best.safetensors"
    if processes.first and best.exists():
        known = load_model(best)
        known.network.to(processes.device)
        final = known.finalise(batches, progress, stopped=token.stopped)
        if final is not known:
            write_tensors(best, final.tensors(), final.metadata())
    reason = processes.said_by_first(reason)  # for which all wait: the model's file is complete
    return TrainingResult(model, trainer.state, reason, folder, token.stopped)


def suited_to_molecules(config: TrainingConfig, calculations: Sequence[Calculation]) -> TrainingConfig:
    """Return a configuration whose cutoff is not much longer than small molecules are, where nobody gave one.

    Functions of the distance that are spread over 8 Å tell little of bonds in a molecule of 2 Å.

    Parameters
    ----------
    config : TrainingConfig
        The configuration.
    calculations : sequence of Calculation
        All structures of the run.
    """
    structures = [calculation.structure for calculation in calculations]
    if "cutoff" in config.model.model_fields_set or any(s.pbc.any() or len(s) > SMALL for s in structures):
        return config
    longest = max(float(pdist(s.positions).max(initial=0.0)) for s in structures)
    cutoff = round(float(np.ceil(10 * (longest + ROOM))) / 10, 1)
    return with_cutoff(config, cutoff) if cutoff < config.model.cutoff else config


def fingerprint(config: TrainingConfig, calculations: Sequence[Calculation]) -> str:
    """Return a text that is the same where configuration, version, structures and Hamiltonians are.

    Parameters
    ----------
    config : TrainingConfig
        The configuration.
    calculations : sequence of Calculation
        What is trained and validated on.
    """
    digest = hashlib.blake2b(f"{__version__}\n{dump_config(config)}".encode())
    for calculation in calculations:
        structure, h = calculation.structure, calculation.require_hamiltonian()
        for array in (structure.numbers, structure.positions, structure.cell, h.values):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _shared(processes: Processes) -> str:
    return f", in each of {processes.count} processes" if processes.count > 1 else ""


def _begun(config: TrainingConfig, task: TrainingTask) -> HamiltonianModel:
    """Return the model of the run in the configuration's folder."""
    file = Path(config.run_dir) / "last.safetensors"
    model = load_model(file)
    if model.architecture != config.model.architecture:
        raise ConfigError(
            f"{file}: expected a run of the architecture {config.model.architecture}, got one of "
            f"{model.architecture}; give another run_dir"
        )
    for calculation in [*task.training, *task.validation]:
        own = calculation.basis.restricted(calculation.structure.numbers).shells
        known = model.basis.shells
        if any(known.get(z, shells) != shells for z, shells in own.items()):
            raise CheckpointError(
                f"{file}: expected a checkpoint for the basis {own}, got one for {dict(known)} "
                "(atomic number: l of shells)"
            )
    return model


def origin(config: TrainingConfig, start: HamiltonianModel | None) -> dict[str, str]:
    """Return what the provenance says of the model that a run starts from.

    Parameters
    ----------
    config : TrainingConfig
        The configuration of the run.
    start : HamiltonianModel or None
        The model that the run starts from.

    Returns
    -------
    dict of str to str
        Text under `started_from`: the file, its training data, and what that model started from; empty without a model.
    """
    if start is None or config.start_from is None:
        return {}
    file = find_model_file(Path(config.start_from)).absolute()
    known = start.provenance
    text = f"{file.parent.name}/{file.name}, trained on {known.get('training_data') or 'unknown data'}"
    return {"started_from": text + (f", started from {known['started_from']}" if "started_from" in known else "")}


def _begin_folder(folder: Path, config: TrainingConfig) -> None:
    """Say what the run is before anything else, and set aside what a run without a checkpoint has left."""
    with explained(folder):
        for name in ("log.jsonl", "best.safetensors"):
            old = folder / name
            if old.exists():
                os.replace(old, old.with_name(f"previous_{name}"))
    _write_config(folder, config)


def _write_config(folder: Path, config: TrainingConfig) -> None:
    write_text_atomically(folder / CONFIG_FILE, dump_config(config))


def _provenance(config: TrainingConfig, data: Division) -> dict[str, str]:
    return {
        "training_data": ", ".join(
            f"{Path(f).name} ({c.structure.formula})" for f, c in zip(data.names, data.training)
        ),
        "seed": str(config.seed),
        "architecture": config.model.architecture,
        "torch": torch.__version__,
        **_sampled(data.training),
    }


def _sampled(training: Sequence[Calculation]) -> dict[str, str]:
    """How finely the training data sample the Brillouin zone, where all have several k-points."""
    meshes = [(c.structure, c.k_points) for c in training if c.k_points is not None and len(c.k_points) > 1]
    if len(meshes) < len(training):
        return {}
    return {SAMPLED: f"{min(sampled_length(structure, points) for structure, points in meshes):.3f}"}
