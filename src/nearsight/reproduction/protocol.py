"""Protocols: declarative definitions of the paper's tables and figures, with the paper's own numbers."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from nearsight.configuration import Section, Shipped, read_tree, validated
from nearsight.errors import ConfigError
from nearsight.reproduction.data_sets import data_sets

PROTOCOLS = Shipped("nearsight.reproduction", "protocols", "protocols")
ALL = "all"
Network = Literal["xia2025", "nearsight"]
Settings = dict[Network, dict[str, Any] | None]


def _both() -> Settings:
    return {"xia2025": {}, "nearsight": {}}


class Finding(Section):
    """Something that is computed from the rows of a result, for the paper's numbers and for each network alike."""

    kind: Literal["reduction", "spread", "trend"] = Field(
        description="reduction: by how much a measure falls from the first row to the last; spread: largest over "
        "smallest; trend: whether it falls from row to row"
    )
    measure: str
    rows: tuple[int, ...] = Field((), description="which rows, counted from 0; all by default")
    claim: str = Field(description="what the paper says")


class Drawing(Section):
    """How the rows are drawn."""

    kind: Literal["bars", "lines"] = "bars"
    measures: tuple[str, ...] = ("eps_n_mEh", "eps_e_mEh")
    x: str = Field("", description="what the first column means, at the axis")


class Row(Section):
    """One line of a table: what is trained on, what is tested on, what is changed, and what the paper has."""

    labels: tuple[str, ...]
    train: tuple[str, ...] = Field(min_length=1, description="data sets")
    test: str = Field(description="data set")
    starts_from: tuple[str, ...] = Field((), description="data sets that a model is trained on before")
    settings: Settings = Field(default_factory=dict, description="changes for a network; null leaves it out")
    paper: dict[str, float] = Field(default_factory=dict)
    quick: bool = True


class _Protocol(Section):
    title: str
    question: str = Field(description="what the table or figure asks")
    differs: tuple[str, ...] = Field((), description="what differs from the paper, besides the sizes of the data")
    findings: tuple[Finding, ...] = ()
    columns: tuple[str, ...] = ()
    measures: tuple[str, ...] = ()


class ComparisonProtocol(_Protocol):
    """Networks trained in equal time and tested on unseen structures, row by row."""

    kind: Literal["comparison"]
    rows: tuple[Row, ...]
    settings: Settings = Field(default_factory=_both)
    minutes: float = Field(20.0, gt=0, description="training time of each network and row")
    quick_minutes: float = Field(0.4, gt=0)
    epochs: int | None = Field(None, description="equal epochs for the paper's network instead of equal time")
    quick_epochs: int | None = None
    levels: bool = Field(False, description="eigenvalues are compared in quick runs, too")
    drawing: Drawing = Drawing()

    @model_validator(mode="after")
    def _fits(self) -> ComparisonProtocol:
        for row in self.rows:
            if len(row.labels) != len(self.columns):
                raise ValueError(f"expected {len(self.columns)} labels in each row, got {row.labels}")
            unknown = {*row.train, row.test, *row.starts_from} - set(data_sets())
            if unknown:
                raise ValueError(f"unknown data sets {sorted(unknown)}")
        return self


class AnalysisProtocol(_Protocol):
    """A figure of calculations alone, without a training."""

    kind: Literal["analysis"]
    analysis: Literal["structure", "decay", "cutoff", "response"]
    sources: dict[str, str] = Field(description="titles and data sets; of `response` the first one is the unchanged")
    quick_sources: tuple[str, ...] = Field((), description="titles that a quick run takes; all by default")
    paper: tuple[str, ...] = Field((), description="what the paper has, in words")


class LevelsProtocol(_Protocol):
    """The levels of a prediction beside those of its reference."""

    kind: Literal["levels"]
    train: tuple[str, ...]
    test: str
    minutes: float = 20.0
    quick_minutes: float = 0.4
    paper: dict[str, float] = Field(default_factory=dict)


class MoleculeRow(Section):
    """One molecule of Table 13."""

    molecule: str
    formula: str = Field(description="that every geometry must have, as `Structure.formula` writes it")
    database: str = Field(description="name of the original database, where a user has it")
    counts: tuple[int, int, int] = Field(
        description="geometries to train, to validate and to test on where they are computed here"
    )
    seconds: float = Field(1.5, description="that PySCF takes for a geometry, roughly")
    quick_counts: tuple[int, int, int] | None = Field(None, description="those of a quick run; none: left out")
    paper_counts: tuple[int, int, int] = Field(description="those of the paper, taken from an original database")
    paper: float = Field(description="ε_tot, µE_h")
    qhnet: float = Field(description="ε_tot, µE_h")


class MoleculesProtocol(_Protocol):
    """Molecules in the paper's splits, from original databases or computed here."""

    kind: Literal["molecules"]
    rows: tuple[MoleculeRow, ...]
    temperature: float = 300.0
    minutes: float = 60.0
    quick_minutes: float = 0.4


class SlicesProtocol(_Protocol):
    """Time of an epoch and size of the parts against the number of slices."""

    kind: Literal["slices"]
    data: str
    counts: tuple[int, ...]
    epochs: int = 10
    quick_epochs: int = 3
    paper: dict[int, float] = Field(default_factory=dict, description="speed-up by number of slices")


class CostProtocol(_Protocol):
    """Minutes from a structure to its gap: DFT, prediction, self-consistent prediction."""

    kind: Literal["cost"]
    train: tuple[str, ...]
    tests: tuple[str, ...]
    dft_minutes: dict[str, float] = Field(description="measured CPU minutes of the SCF, by data set")
    modelled_atoms: tuple[int, ...] = (3000,)
    minutes: float = 20.0
    quick_minutes: float = 0.4


class FermiLevel(Section):
    """Where electrons flow, and the energies about it at which the transmission is computed."""

    energy: float = Field(description="eV from the middle of the gap")
    half_width: float = Field(ge=0.35, description="eV; currents are integrated within 0.35 eV")
    points: int = Field(ge=3)


class CurrentsProtocol(_Protocol):
    """Currents through an unseen structure, from DFT's and from predicted matrices."""

    kind: Literal["currents"]
    train: tuple[str, ...]
    test: str
    axes: str = Field("abc", pattern="^[abc]+$", description="lattice vectors along which electrons flow")
    quick_axes: str = Field("a", pattern="^[abc]+$")
    levels: dict[str, FermiLevel]
    quick_levels: tuple[str, ...]
    ends: tuple[float, float] = Field((2.5, 1.0), description="Å of the ends that touch leads, and their Γ, eV")
    tolerance: float = Field(2e-2, description="eV: blocks below it are no coupling")
    bias: float = Field(0.2, description="V")
    temperature: float = Field(100.0, description="K")
    minutes: float = 20.0
    quick_minutes: float = 0.4
    paper: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="current of DFT and of the prediction, A, by device"
    )


AnyProtocol = (
    ComparisonProtocol
    | AnalysisProtocol
    | LevelsProtocol
    | MoleculesProtocol
    | SlicesProtocol
    | CostProtocol
    | CurrentsProtocol
)


class _Holder(BaseModel):
    protocol: Annotated[AnyProtocol, Field(discriminator="kind")]


def protocol_names() -> tuple[str, ...]:
    """Return the names of all protocols: tables, figures, and what the paper does not have, each by number."""
    return tuple(sorted(PROTOCOLS.names(), key=_order))


def _order(name: str) -> tuple[int, int, str]:
    kind, _, number = name.rpartition("-")
    place = {"table": 0, "figure": 1}.get(kind, 2)
    return place, int(number) if number.isdecimal() else 0, name


def load_protocol(name: str) -> AnyProtocol:
    """Return a protocol by its name.

    Raises
    ------
    ConfigError
        There is none of that name; the message lists those that there are.
    """
    check_name(name)
    tree = read_tree(name, PROTOCOLS)
    return validated(_Holder, {"protocol": tree}, name).protocol


def chosen_names(names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return the protocols that some names mean, each once: `all` means every one.

    Raises
    ------
    ConfigError
        There is none of a name, or no name is given.
    """
    if not names:
        raise ConfigError(f"expected one of {', '.join(protocol_names())} or all, got no name")
    every = [name for given in names for name in (protocol_names() if given == ALL else (check_name(given),))]
    return tuple(dict.fromkeys(every))


def check_name(name: str) -> str:
    """Return a name that there is a protocol of.

    Raises
    ------
    ConfigError
        There is none.
    """
    known = protocol_names()
    if name in known:
        return name
    near = difflib.get_close_matches(name.lower().replace(" ", "-").replace("_", "-"), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"expected one of {', '.join(known)} or all, got {name!r:.80}{hint}")
