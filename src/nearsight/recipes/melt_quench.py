"""Melt-quench: an amorphous structure from a formula, stage by stage, each kept so that a stopped run goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nearsight.atomic_files import write_text_atomically
from nearsight.elements import number_of, symbol_of
from nearsight.errors import ConfigError, InputError, RecipeError
from nearsight.formats.xyz import read_xyz
from nearsight.progress import Event, Progress, silent
from nearsight.recipes.engine import Engine, make_engine
from nearsight.recipes.packing import pack
from nearsight.recipes.protocol import Dynamics, Expected, Minimise, Protocol, Scale, Stage, Substitute
from nearsight.recipes.sample import Sample, write_extxyz
from nearsight.structures.radial_distribution import coordination, nearest_distance, pair_distribution
from nearsight.structures.structure import Structure

LEAST = 0.7
"""Fraction of twice the smallest covalent radius; two atoms that are nearer mean a run that went wrong."""

ORDERED = 0.95
"""Where a larger share of atoms has the same coordination, the structure is a crystal."""

ENOUGH = 16
"""Atoms of one element from which on this can be told."""


def melt_quench(protocol: Protocol, seed: int, folder: Path, progress: Progress = silent) -> Sample:
    """Make an amorphous structure by a protocol; stages that are already in the folder are not run again.

    The same protocol, seed and programs give the same structure, stopped in between or not. Small cells sometimes
    crystallise: then another seed, derived from the given one, is tried.

    Parameters
    ----------
    protocol : Protocol
        The stages, the engine and what the result is compared with.
    seed : int
        The seed of the packing, the velocities and the substitutions.
    folder : Path
        The folder with a file for every stage; it is kept between calls.
    progress : callable, optional
        Told the stage and the steps that are done.

    Returns
    -------
    Sample
        The structure, with protocol, seed and engines in its provenance.

    Raises
    ------
    RecipeError
        Where a program is missing or failed, atoms of the result overlap, or every try crystallised.
    ConfigError
        Where the folder holds the stages of another protocol or seed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, protocol, seed)
    for attempt in range(protocol.attempts):
        own_seed = _seed(seed, attempt) if attempt else seed
        structure, used = _attempt(protocol, own_seed, folder / f"try-{attempt + 1}", progress)
        _check(structure, folder)
        if not crystallised(structure, protocol.expected):
            said = {
                "structure": f"melt-quench: {protocol.description}",
                "structure seed": str(seed),
                "structure engine": "; ".join(used),
                "structure protocol": protocol.model_dump_json(exclude={"expected"}),
            }
            return Sample(structure, said | ({"structure try": str(attempt + 1)} if attempt else {}))
        progress(Event("crystallised: another try"))
    raise RecipeError(
        f"expected an amorphous structure in {folder}, got one in which nearly all atoms have the same "
        f"number of neighbours, {protocol.attempts} times: quench faster, or make the cell larger"
    )


def _attempt(protocol: Protocol, seed: int, folder: Path, progress: Progress) -> tuple[Structure, list[str]]:
    """Return the structure after all stages, and the engines that made it."""
    folder.mkdir(exist_ok=True)
    structure = pack(
        protocol.formula, protocol.atoms, protocol.volume_per_atom, protocol.least_distance, seed, protocol.aspect
    )
    used: list[str] = []
    for number, stage in enumerate(protocol.stages, 1):
        path = folder / f"stage-{number}.extxyz"
        engine = _engine(protocol, stage)
        if engine is not None and engine.describe() not in used:
            used.append(engine.describe())
        if not path.is_file():
            # Each stage is a function of its structure and this number: where a run was stopped leaves no trace.
            work = folder / f"stage-{number}"
            write_extxyz(path, _stage(structure, stage, engine, protocol, _seed(seed, number), work, progress))
        structure = read_xyz(path)
    return structure, used


def _seed(seed: int, number: int) -> int:
    """Return another seed for every number, derived from the given one."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def crystallised(structure: Structure, expected: tuple[Expected, ...]) -> bool:
    """Return whether all but a few atoms have the same number of neighbours.

    Parameters
    ----------
    structure : Structure
        The structure; fewer than `ENOUGH` atoms are never called a crystal.
    expected : tuple of Expected
        The bonds of the material; the first one is counted.
    """
    checks = check_bonds(structure, expected[:1])
    if not checks or len(checks[0].counts) < ENOUGH:
        return False
    return max(checks[0].histogram.values()) > ORDERED * len(checks[0].counts)


def _claim(folder: Path, protocol: Protocol, seed: int) -> None:
    """Mark the folder as this run's, or refuse it."""
    text = json.dumps({"seed": seed, **protocol.model_dump(mode="json", exclude={"expected", "description"})}, indent=1)
    path = folder / "protocol.json"
    if path.is_file() and path.read_text() != text:
        raise ConfigError(
            f"{path}: expected the same protocol and seed as when this folder was begun, got others; "
            "give another folder or delete this one"
        )
    write_text_atomically(path, text)


def _engine(protocol: Protocol, stage: Stage) -> Engine | None:
    """Return the engine of a stage, None for a stage that needs none."""
    if isinstance(stage, (Minimise, Dynamics)):
        return make_engine(stage.engine or protocol.engine)
    return None


def _stage(
    structure: Structure,
    stage: Stage,
    engine: Engine | None,
    protocol: Protocol,
    seed: int,
    folder: Path,
    progress: Progress,
) -> Structure:
    if isinstance(stage, Substitute):
        return substituted(structure, stage, seed)
    if isinstance(stage, Scale):
        return scaled(structure, stage.volume_per_atom)
    assert engine is not None
    if isinstance(stage, Minimise):
        return engine.minimise(structure, stage, folder, progress)
    return engine.dynamics(structure, stage, protocol.timestep, seed, folder, progress)


def substituted(structure: Structure, stage: Substitute, seed: int) -> Structure:
    """Return the structure with random atoms of one element replaced by another (paper, D.4).

    Parameters
    ----------
    structure : Structure
        The structure before.
    stage : Substitute
        The elements, and the fraction of atoms that is replaced.
    seed : int
        The seed of the choice.

    Raises
    ------
    InputError
        Where there are no such atoms, or an element is unknown.
    """
    old, new = number_of(stage.element), number_of(stage.by)
    candidates = np.flatnonzero(structure.numbers == old)
    count = round(stage.fraction * len(candidates))
    if new is None or not count:
        raise InputError(
            f"expected atoms {stage.element} to replace by {stage.by} in {structure.formula}, got "
            f"{len(candidates)}, {count} of them to replace"
        )
    numbers = structure.numbers.copy()
    numbers[np.random.default_rng(seed).choice(candidates, count, replace=False)] = new
    return Structure(numbers, structure.positions, structure.cell, structure.pbc)


def scaled(structure: Structure, volume_per_atom: float) -> Structure:
    """Return the structure with cell and positions stretched alike to a volume per atom, Å³."""
    factor = (volume_per_atom * len(structure) / structure.volume) ** (1 / 3)
    return Structure(structure.numbers, structure.positions * factor, structure.cell * factor, structure.pbc)


def _check(structure: Structure, folder: Path) -> None:
    """Raise RecipeError where two atoms overlap."""
    from ase.data import covalent_radii

    least = LEAST * 2 * min(float(covalent_radii[z]) for z in structure.elements if z)
    found = nearest_distance(structure)
    if found < least:
        raise RecipeError(
            f"expected atoms at least {least:.2f} Å apart, got two at {found:.2f} Å: the run in {folder} "
            "went wrong; try another seed, a smaller timestep or a longer relaxation"
        )


@dataclass(frozen=True, eq=False)
class BondCheck:
    """A bond of an amorphous structure compared with what is published.

    Attributes
    ----------
    expected : Expected
        What is published.
    peak : float
        The distance of the first maximum of g(r), Å.
    counts : ndarray, shape (n,)
        The number of neighbours within the cutoff of each atom of the first element.
    """

    expected: Expected
    peak: float
    counts: np.ndarray

    @property
    def mean(self) -> float:
        """The mean coordination."""
        return float(self.counts.mean())

    @property
    def histogram(self) -> Mapping[int, int]:
        """How many atoms have each number of neighbours."""
        values, counts = np.unique(self.counts, return_counts=True)
        return {int(v): int(c) for v, c in zip(values, counts)}

    @property
    def agrees(self) -> bool:
        """Whether peak and mean coordination lie where they should."""
        low, high = self.expected.peak
        band = self.expected.coordination
        return low <= self.peak <= high and (band is None or band[0] <= self.mean <= band[1])

    def text(self) -> str:
        """Return peak, coordination and what is published, in one line."""
        e = self.expected
        published = f"{e.peak[0]:g}–{e.peak[1]:g} Å" + (
            f", {e.coordination[0]:g}–{e.coordination[1]:g}" if e.coordination else ""
        )
        spread = " ".join(f"{n}:{count}" for n, count in self.histogram.items())
        return (
            f"{e.pair[0]}–{e.pair[1]} first peak {self.peak:.2f} Å, coordination {self.mean:.2f} ({spread}) within "
            f"{e.cutoff:g} Å; published {published}: {'agrees' if self.agrees else 'DIFFERS'}"
        )


def check_bonds(structure: Structure, expected: tuple[Expected, ...]) -> list[BondCheck]:
    """Return peaks and coordination of the bonds of a structure.

    Parameters
    ----------
    structure : Structure
        The structure.
    expected : tuple of Expected
        What is published; bonds between elements that the structure lacks are not counted.
    """
    result = []
    for bond in expected:
        first, second = (number_of(symbol) for symbol in bond.pair)
        if first is None or second is None or not {first, second} <= set(structure.elements):
            continue
        pair = (first, second)
        result.append(
            BondCheck(bond, pair_distribution(structure, pair).peak, coordination(structure, pair, bond.cutoff))
        )
    return result


def describe(structure: Structure, expected: tuple[Expected, ...]) -> list[str]:
    """Return density, nearest distance and bonds of a structure as text, a line each.

    Parameters
    ----------
    structure : Structure
        A structure with three periodic directions.
    expected : tuple of Expected
        What is published of its bonds.
    """
    from ase.data import atomic_masses

    mass = float(sum(atomic_masses[z] for z in structure.numbers if z))
    density = mass / structure.volume * 1.66053906660
    elements = ", ".join(symbol_of(z) for z in structure.elements)
    head = (
        f"{structure.formula} ({elements}): {density:.2f} g/cm³, {structure.volume / len(structure):.2f} Å³ per "
        f"atom, nearest atoms {nearest_distance(structure):.2f} Å"
    )
    return [head, *(check.text() for check in check_bonds(structure, expected))]
