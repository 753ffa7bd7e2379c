"""Vacancies: atoms taken out of a structure and, if wanted, their functions left behind as ghosts (paper, D.2)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from nearsight.configuration import Section
from nearsight.elements import GHOST, number_of
from nearsight.errors import InputError
from nearsight.structures.structure import Structure


class Vacancies(Section):
    """Which atoms are taken out of a structure, and whether their functions stay."""

    element: str = "O"
    fraction: float = Field(
        gt=0, lt=1, description="fraction of the element's atoms that is taken out; 0.1 of O makes HfO1.8 of HfO2"
    )
    shape: Literal["random", "cluster", "filament"] = Field(
        "random", description="random places; the nearest to a point; the nearest to a line along `axis`"
    )
    centre: tuple[float, float, float] = Field(
        (0.5, 0.5, 0.5), description="centre of a cluster or filament, fractional coordinates"
    )
    axis: int = Field(0, ge=0, le=2, description="lattice vector along which a filament runs")
    ghosts: bool = Field(True, description="leave the functions behind as ghosts (X)")
    seed: int = 0

    @model_validator(mode="after")
    def _keys_have_effect(self) -> Vacancies:
        without = {"random": {"centre", "axis"}, "cluster": {"axis"}, "filament": set()}
        idle = without[self.shape] & self.model_fields_set
        if idle:
            raise ValueError(f"expected no {min(idle)} with shape={self.shape}, where it has no effect")
        return self


def with_vacancies(structure: Structure, vacancies: Vacancies) -> Structure:
    """Return the structure with vacancies; the atoms keep their order.

    Parameters
    ----------
    structure : Structure
        The atoms without vacancies.
    vacancies : Vacancies
        Which atoms are taken out (see `vacancy_sites`), and whether ghosts (Z = 0) stay in their places.

    Raises
    ------
    InputError
        Where there are no such atoms, the fraction takes none or all of them, or the structure is not periodic.
    """
    gone = vacancy_sites(structure, vacancies)
    if vacancies.ghosts:
        numbers = structure.numbers.copy()
        numbers[gone] = GHOST
        return Structure(numbers, structure.positions, structure.cell, structure.pbc)
    return structure.permuted(np.setdiff1d(np.arange(len(structure)), gone))


def vacancy_sites(structure: Structure, vacancies: Vacancies) -> np.ndarray:
    """Return which atoms are taken out.

    A cluster or filament is made of the atoms that are nearest to its centre or line, periodic images counted; of
    atoms that are equally near the earlier ones are taken.

    Returns
    -------
    ndarray, shape (n,)
        The numbers of the atoms, ascending.

    Raises
    ------
    InputError
        As `with_vacancies`.
    """
    candidates = np.flatnonzero(structure.numbers == (number_of(vacancies.element) or -1))
    count = round(vacancies.fraction * len(candidates))
    if not 0 < count < len(candidates):
        raise InputError(
            f"expected a fraction that takes some of the {len(candidates)} atoms {vacancies.element} of "
            f"{structure.formula}, got {vacancies.fraction:g}, which takes {count}"
        )
    if vacancies.shape == "random":
        return np.sort(np.random.default_rng(vacancies.seed).choice(candidates, count, replace=False))
    distance = _distance(structure, candidates, vacancies)
    return np.sort(candidates[np.argsort(distance, kind="stable")[:count]])


def _distance(structure: Structure, atoms: np.ndarray, vacancies: Vacancies) -> np.ndarray:
    """Return (n,) distances, Å, of each atom's nearest image to the point, or the line along a lattice vector."""
    if not structure.pbc.all():
        raise InputError(
            f"expected three periodic directions for a {vacancies.shape} of vacancies, got pbc {structure.pbc.tolist()}"
        )
    cell = structure.cell
    away = structure.positions[atoms] @ np.linalg.inv(cell) - np.array(vacancies.centre)
    away -= np.round(away)
    shifts = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    vectors = (away[:, None, :] + shifts) @ cell
    if vacancies.shape == "filament":
        along = cell[vacancies.axis] / np.linalg.norm(cell[vacancies.axis])
        vectors = vectors - (vectors @ along)[..., None] * along
    nearest: np.ndarray = np.linalg.norm(vectors, axis=-1).min(axis=1)
    return nearest
