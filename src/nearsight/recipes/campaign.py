"""Campaign: which structures are made and how they are computed, as a YAML file has it."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, model_validator

from nearsight.configuration import Section, Shipped, apply_overrides, read_tree, rename_keys, validated
from nearsight.errors import ConfigError
from nearsight.recipes.cp2k_settings import Cp2kSettings
from nearsight.recipes.molecules import MoleculeSet
from nearsight.recipes.protocol import Protocol, load_protocol
from nearsight.recipes.pyscf_system import PyscfSettings
from nearsight.recipes.vacancies import Vacancies

CAMPAIGNS = Shipped("nearsight.recipes", "campaigns", "campaigns")
RENAMED = {"dft.initial": "dft.h0"}
"""Keys that had another name; old campaigns can still be read."""


class Source(Section):
    """Where structures come from: one of the keys melt_quench, files and molecules."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the results: NAME-1.h5, …")
    melt_quench: str | dict[str, Any] | None = Field(None, description="a protocol: preset, YAML file, or its keys")
    atoms: int | None = Field(None, ge=1, le=1_000_000, description="number of atoms, instead of the protocol's")
    aspect: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = Field(
        None, description="edges of the cell relative to each other, such as [1.65, 1, 1], instead of the protocol's"
    )
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(
        (1,), min_length=1, description="seeds of melt-quenches; one structure each"
    )
    files: tuple[str, ...] = Field(
        (), description="structure files (xyz, cif, …), with * and ?, relative to the campaign's file"
    )
    cell: str | float | None = Field(
        None, description="cell of files that have none, Å: '16.5', '10 10 20', nine numbers, or none"
    )
    molecules: MoleculeSet | None = None
    vacancies: Vacancies | None = Field(
        None, description="atoms that are taken out; the seed of each structure is added to theirs"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        given = [k for k in ("melt_quench", "files", "molecules") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError(f"expected one of melt_quench, files, molecules, got {' and '.join(given) or 'none'}")
        if self.cell is not None and not self.files:
            raise ValueError("expected cell only with files")
        if "seeds" in self.model_fields_set and not self.melt_quench:
            raise ValueError("expected seeds only with melt_quench")
        for key in ("atoms", "aspect"):
            if getattr(self, key) is not None and not self.melt_quench:
                raise ValueError(f"expected {key} only with melt_quench")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("expected each seed once")
        return self


class Campaign(Section):
    """Structures, and how they are computed and stored."""

    description: str = ""
    structures: tuple[Source, ...] = Field(min_length=1)
    dft: Annotated[Cp2kSettings | PyscfSettings, Field(discriminator="code")]
    processes: int = Field(1, ge=1, description="number of jobs at a time")
    precision: str = Field(
        "float64", pattern="^float(32|64)$", description="type of the numbers of the stored matrices"
    )
    drop_below: float = Field(0.0, ge=0, description="elements smaller than this are not stored (E_h in H, 1 in S)")
    resolution: float | None = Field(None, gt=0, description="numbers are rounded to it (E_h in H, 1 in S)")
    keep_files: bool = Field(False, description="keep CP2K's matrix files after they are read")

    @model_validator(mode="after")
    def _names_differ(self) -> Campaign:
        names = [source.name for source in self.structures]
        if len(set(names)) < len(names):
            raise ValueError(f"expected a name of its own for each source, got {', '.join(names)}")
        return self


@dataclass(frozen=True)
class Task:
    """One structure of a campaign.

    Attributes
    ----------
    name : str
        The name of the job's folder and of its result.
    source : Source
        Where the structure comes from.
    seed : int
        The seed of a melt-quench, the number of a geometry in a set of molecules, or the number of a file.
    file : Path or None
        The file that the structure comes from, if it does.
    protocol : Protocol or None
        The protocol of a melt-quench.
    """

    name: str
    source: Source
    seed: int
    file: Path | None
    protocol: Protocol | None

    def claim(self) -> dict[str, Any]:
        """Return what must not change between a job's beginning and its end, as JSON can hold it."""
        said = self.source.model_dump(mode="json", exclude={"seeds", "files", "name", "melt_quench", "atoms", "aspect"})
        if self.protocol is not None:
            said["protocol"] = self.protocol.model_dump(mode="json", exclude={"expected", "description"})
        return {"seed": self.seed, "file": None if self.file is None else self.file.name, **said}


def campaign_names() -> tuple[str, ...]:
    """Return the names of the shipped campaigns."""
    return CAMPAIGNS.names()


def load_campaign(source: str | Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Campaign:
    """Read a campaign: a YAML file, or a shipped one by its name.

    Parameters
    ----------
    source : str or Path
        The file or the name.
    overrides : iterable of str, or mapping
        Changes, as texts such as `dft.cutoff=500` or as dotted keys with their values.

    Raises
    ------
    ConfigError
        Where there is no such file or campaign, it is not YAML, or it has unknown keys or values out of range.
    """
    tree = read_tree(source, CAMPAIGNS)
    dft = tree.get("dft")
    if isinstance(dft, dict):
        dft.setdefault("code", "cp2k")
    rename_keys(tree, RENAMED, source)
    apply_overrides(tree, overrides)
    rename_keys(tree, RENAMED, source)
    return validated(Campaign, tree, source)


def tasks(campaign: Campaign, folder: Path) -> list[Task]:
    """Return every structure of a campaign.

    Parameters
    ----------
    campaign : Campaign
        The campaign.
    folder : Path
        The folder in which its relative files are looked for.

    Raises
    ------
    ConfigError
        Where no file fits a name, or two results would have the same name.
    """
    found = [task for source in campaign.structures for task in _of_source(source, folder)]
    names = [task.name for task in found]
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ConfigError(
            f"expected a name of its own for each result, got {', '.join(twice)} several times; rename files or sources"
        )
    return found


def _of_source(source: Source, folder: Path) -> list[Task]:
    if source.melt_quench:
        protocol = load_protocol(source.melt_quench, atoms=source.atoms, aspect=source.aspect)
        return [Task(f"{source.name}-{seed}", source, seed, None, protocol) for seed in source.seeds]
    if source.molecules is not None:
        return [Task(f"{source.name}-{k + 1}", source, k, None, None) for k in range(source.molecules.count)]
    paths: list[Path] = []
    for pattern in source.files:
        hits = sorted(glob.glob(str(folder / pattern)))
        if not hits:
            raise ConfigError(f"expected structures {pattern} in {folder}, got none")
        paths += [Path(hit) for hit in hits]
    return [Task(f"{source.name}-{path.stem}", source, k, path, None) for k, path in enumerate(paths)]
