"""A junction and what is computed of it, as a YAML file has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from nearsight.configuration import Section, Shipped, apply_overrides, read_tree, validated
from nearsight.errors import ConfigError
from nearsight.quantum_transport.junction import TOLERANCE
from nearsight.quantum_transport.self_energy import ETA
from nearsight.quantum_transport.sweep import FINEST, LARGEST_ETA

EXAMPLES = Shipped("nearsight.quantum_transport", "junctions", "junctions")


class EnergyGrid(Section):
    """Energies relative to the Fermi level, eV."""

    start: float = Field(-1.0, description="lowest energy, eV")
    end: float = Field(1.0, description="highest energy, eV")
    step: float = Field(0.02, gt=0, description="distance, eV; where refinement begins")
    adaptive: float | None = Field(
        1e-3, ge=FINEST, lt=1, description="error of the integral of T; none: the grid as it is"
    )

    @model_validator(mode="after")
    def _ascending(self) -> EnergyGrid:
        if not self.start < self.end:
            raise ValueError(f"expected start below end, got {self.start} and {self.end}")
        return self


class JunctionConfig(Section):
    """A junction: files of the device and its leads, and what is computed."""

    device: str = Field(description="file with H and S of the whole device")
    overlap: str | None = Field(None, description="file to take S of the device from")
    bulk: str | None = Field(None, description="file with H and S of the leads' bulk, in real space")
    right_bulk: str | None = Field(None, description="the same of the right lead where it is another one")
    layer: float | None = Field(None, gt=0, description="Å, thickness of the layers that repeat at the device's ends")
    wide_band: tuple[float, float] | None = Field(
        None, description="leads without features: thickness (Å) of the ends that touch them, and Γ (eV)"
    )
    axis: Literal["a", "b", "c"] = Field("c", description="lattice vector along which the current flows")
    cut: float = Field(0.0, description="fractional coordinate along it where the device begins")
    tolerance: float = Field(TOLERANCE, gt=0, description="blocks with smaller |H| (eV) and |S| are no coupling")
    match: bool = Field(True, description="match the bulk's zero of energy to the device's")
    fermi: float | None = Field(
        None, description="Fermi level in the device's zero of energy, eV; none: the left lead's"
    )
    energies: EnergyGrid = EnergyGrid()
    k_points: tuple[int, int] = Field((1, 1), description="mesh across the direction of transport")
    biases: tuple[float, ...] = Field((0.1,), description="V; a current is computed for each")
    potential: Literal["none", "linear", "conductors"] = Field(
        "none", description="H follows each bias: linear between the leads, or between conductors (metals' surfaces)"
    )
    temperature: float = Field(300.0, ge=0, description="K, of the electrons in the leads; below 1e-6 as at 0")
    local: bool = Field(False, description="local densities of states and reflection, too")
    eta: float = Field(ETA, gt=0, le=LARGEST_ETA, description="imaginary part of the energy in the leads, eV")
    processes: int = Field(
        1, ge=1, description="processes that work at a time, each with one thread; no more than there are cores"
    )
    compute_on: str = Field("cpu", description="cpu, or cuda (cuda:N): batches of energies on a GPU")

    @model_validator(mode="after")
    def _one_kind_of_lead(self) -> JunctionConfig:
        if [self.bulk, self.layer, self.wide_band].count(None) != 2:
            raise ValueError("expected one of bulk (a file), layer (Å) and wide_band (Å, eV) for the leads")
        if self.right_bulk is not None and self.bulk is None:
            raise ValueError("expected no right_bulk without bulk")
        if self.bulk is None and "match" in self.model_fields_set:
            raise ValueError("expected no match without bulk: leads of the device have its zero of energy")
        if not self.biases:
            raise ValueError("expected at least one bias")
        return self


def load_junction(source: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> JunctionConfig:
    """Read a junction's YAML file; names of files in it are relative to its folder.

    Parameters
    ----------
    source : str or Path
        The file.
    overrides : iterable of str, or mapping
        Changes, as texts such as `energies.end=2`, or as dotted keys with their values.

    Raises
    ------
    ConfigError
        Where there is no such file, it is not YAML, or it has unknown keys or values out of range.
    """
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"{source}: expected a YAML file with a junction, got no such file")
    tree = read_tree(path, EXAMPLES)
    apply_overrides(tree, overrides)
    config = validated(JunctionConfig, tree, path)
    files = {
        name: str(path.parent / value)
        for name in ("device", "overlap", "bulk", "right_bulk")
        if (value := getattr(config, name)) is not None
    }
    return config.model_copy(update=files)
