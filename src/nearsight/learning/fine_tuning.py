"""Fine-tuning: a run that begins with a trained model instead of random weights.

Where the data hold only elements and pairs of elements that the model knows, it is continued as it is, with its
baseline, scale and standardisation. Otherwise the network `nearsight` gets a baseline and a scale fitted to the data,
and what it has learnt of known pairs is carried over (`nn/bond_transfer.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from nearsight.baselines.baseline import pair_name
from nearsight.elements import symbol_of
from nearsight.errors import ConfigError
from nearsight.learning.config import TrainingConfig
from nearsight.nn.architectures.nearsight.config import BondConfig
from nearsight.nn.architectures.nearsight.graph import ElementPair, canonical_edges
from nearsight.nn.architectures.nearsight.model import BondModel
from nearsight.nn.architectures.xia2025.batches import common_basis
from nearsight.nn.architectures.xia2025.config import ModelConfig
from nearsight.nn.model import Model, load_model
from nearsight.nn.model_file import find_model_file
from nearsight.operators.calculation import Calculation
from nearsight.orbitals.basis import BasisSet
from nearsight.structures.graph import build_graph


def load_start(config: TrainingConfig) -> tuple[TrainingConfig, Model | BondModel | None]:
    """The configuration with the model section of the model it starts from, and that model; None without one.

    Raises:
        ConfigError: a model section that says otherwise.
        CheckpointError: no model there.
    """
    if config.start_from is None:
        return config, None
    start = load_model(config.start_from)
    changed = differing_keys(config.model, start.config)
    if changed:
        stored = start.config.model_dump(mode="json")
        values = " ".join(f"model.{key}={stored[key]}" for key in changed)
        raise ConfigError(
            f"expected the model section of {config.start_from}, from which this run starts ({values}), "
            f"got another {', '.join(f'model.{key}' for key in changed)}; give those values, or no model "
            "section at all"
        )
    return with_section(config, start.config), start


def differing_keys(section: ModelConfig | BondConfig, stored: ModelConfig | BondConfig) -> list[str]:
    """Keys given in a model section whose values are not the stored ones; defaults that nobody gave do not count."""
    given = section.model_fields_set
    if type(section) is not type(stored):
        return ["network"] if given else []
    return [key for key in type(section).model_fields if key in given and getattr(section, key) != getattr(stored, key)]


def with_section(config: TrainingConfig, section: ModelConfig | BondConfig) -> TrainingConfig:
    """The configuration with this model section."""
    return config.model_copy(update={"model": section})


def as_continued(config: TrainingConfig, stored: TrainingConfig) -> TrainingConfig:
    """A configuration with what a fine-tuning run took from the model it started from."""
    if stored.start_from is None:
        return config
    if not differing_keys(config.model, stored.model):
        config = with_section(config, stored.model)
    # A run knows where it began; saying so again is optional.
    return config.model_copy(update={"start_from": config.start_from or stored.start_from})


def origin(config: TrainingConfig, start: Model | BondModel | None) -> dict[str, str]:
    """What the provenance says of the model that a run starts from."""
    if start is None or config.start_from is None:
        return {}
    file = find_model_file(Path(config.start_from)).absolute()
    known = start.provenance
    text = f"{file.parent.name}/{file.name}, trained on {known.get('training_data') or 'unknown data'}"
    return {"started_from": text + (f", started from {known['started_from']}" if "started_from" in known else "")}


def begin_xia2025(
    config: TrainingConfig,
    start: Model | BondModel | None,
    calculations: Sequence[Calculation],
    dtype: torch.dtype,
    provenance: dict[str, str],
) -> Model:
    """The model of a fine-tuning run of the network xia2025, from its start or from the run's folder.

    Raises:
        ConfigError: elements that the model does not know, or another basis.
    """
    model = load_model(Path(config.run_dir) / "last.safetensors") if start is None else start
    if not isinstance(model, Model):
        raise ConfigError(
            f"{config.run_dir}: expected a run of the network xia2025, got one of "
            f"{model.config.network}; give another run_dir"
        )
    basis = common_basis(calculations)
    unknown = [symbol_of(z) for z in basis.shells if z not in model.basis.shells]
    if unknown:
        raise ConfigError(
            f"expected elements that the model in {config.start_from} knows ({model.basis.describe()}), "
            f"got {', '.join(unknown)}: outputs of the network xia2025 are padded for its elements; "
            "train anew without start_from, or train the network nearsight, which takes new elements"
        )
    check_basis(config, model, basis)
    return replace(model, network=model.network.to(dtype), provenance=model.provenance if start is None else provenance)


def check_basis(config: TrainingConfig, model: Model | BondModel, basis: BasisSet) -> None:
    """Raises ConfigError where a known element has other shells in the data, or no element is known."""
    common = [z for z in basis.shells if z in model.basis.shells]
    if not common:
        raise ConfigError(
            f"expected data with elements that the model in {config.start_from} knows "
            f"({model.basis.describe()}), got {basis.describe()}; train anew without start_from"
        )
    other = [z for z in common if basis.shells[z] != model.basis.shells[z]]
    if other:
        raise ConfigError(
            f"expected the basis of the model in {config.start_from} "
            f"({model.basis.restricted(other).describe()}), got {basis.restricted(other).describe()} in "
            "the data; compute the data in that basis, or train anew without start_from"
        )


def unknown_pairs(model: BondModel, training: Sequence[Calculation]) -> list[ElementPair]:
    """Pairs of elements in the data, within the cutoff, that the model does not know; (Z, Z) for any new element."""
    found = {(z, z) for c in training for z in c.structure.elements if z not in model.baseline.elements}
    for calculation in training:
        graph = build_graph(calculation.structure, model.config.cutoff)
        found |= set(canonical_edges(calculation.structure, graph)) - set(model.network.layouts)
    return sorted(found)


def as_start(model: BondModel, dtype: torch.dtype, provenance: dict[str, str]) -> BondModel:
    """A trained model as the first one of a run: what was calibrated at the end of its training is no longer so."""
    return replace(model, network=model.network.to(dtype), provenance=provenance, uncertainty=None)


def describe_change(model: BondModel, known: BondModel, note: Callable[[str], None]) -> None:
    """Say which pairs of elements are new and which are lost."""
    new, old = set(model.network.layouts), set(known.network.layouts)
    note(f"pairs of elements: {_names(new & old)} as in the model that this run starts from, {_names(new - old)} new")
    if old - new:
        note(
            f"no longer known: {_names(old - new)}, of which the data hold none within {known.config.cutoff:g} Å; "
            "include old data to keep them"
        )


def _names(pairs: set[ElementPair]) -> str:
    return ", ".join(map(pair_name, sorted(pairs))) or "none"
