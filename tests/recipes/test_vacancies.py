"""Vacancies: how many, where, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from nearsight.errors import InputError
from nearsight.recipes.packing import pack
from nearsight.recipes.vacancies import Vacancies, vacancy_sites, with_vacancies

OXIDE = pack({"Hf": 1, "O": 2}, 120, 12.17, 1.5, seed=1)


@pytest.mark.parametrize(("fraction", "x"), [(0.05, 1.9), (0.1, 1.8), (0.15, 1.7)])
def test_the_papers_stoichiometries(fraction: float, x: float):
    made = with_vacancies(OXIDE, Vacancies(fraction=fraction))
    count = {z: int((made.numbers == z).sum()) for z in (0, 8, 72)}
    assert count[8] / count[72] == pytest.approx(x)
    assert sum(count.values()) == len(OXIDE)
    np.testing.assert_array_equal(made.positions, OXIDE.positions)
    assert set(OXIDE.numbers[made.numbers == 0]) == {8}


def test_without_ghosts_the_atoms_are_gone():
    made = with_vacancies(OXIDE, Vacancies(fraction=0.1, ghosts=False))
    assert made.formula == "Hf40O72"
    kept = with_vacancies(OXIDE, Vacancies(fraction=0.1))
    np.testing.assert_array_equal(made.positions, kept.positions[kept.numbers != 0])


def test_seeds():
    first, second = (vacancy_sites(OXIDE, Vacancies(fraction=0.1, seed=seed)) for seed in (1, 2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, vacancy_sites(OXIDE, Vacancies(fraction=0.1, seed=1)))


def _nearest(vectors: np.ndarray, edge: float) -> np.ndarray:
    return vectors - edge * np.round(vectors / edge)


def test_a_cluster_is_the_nearest_atoms_through_the_boundary():
    gone = vacancy_sites(OXIDE, Vacancies(fraction=0.1, shape="cluster", centre=(0.0, 0.0, 0.0)))
    edge = OXIDE.cell[0, 0]
    oxygen = np.flatnonzero(OXIDE.numbers == 8)
    distance = np.linalg.norm(_nearest(OXIDE.positions, edge), axis=1)
    assert distance[gone].max() < distance[np.setdiff1d(oxygen, gone)].min()


def test_a_filament_runs_through_the_whole_cell():
    gone = vacancy_sites(OXIDE, Vacancies(fraction=0.2, shape="filament", axis=2))
    edge = OXIDE.cell[0, 0]
    oxygen = np.flatnonzero(OXIDE.numbers == 8)
    away = np.linalg.norm(_nearest(OXIDE.positions - edge / 2, edge)[:, :2], axis=1)
    assert away[gone].max() < away[np.setdiff1d(oxygen, gone)].min()
    assert np.ptp(OXIDE.positions[gone, 2]) > 0.6 * edge


@pytest.mark.parametrize(("key", "shape"), [("axis", "random"), ("axis", "cluster"), ("centre", "random")])
def test_keys_without_effect_are_refused(key, shape):
    with pytest.raises(ValidationError, match=f"no {key} with shape={shape}"):
        Vacancies(fraction=0.1, shape=shape, **{key: 1 if key == "axis" else (0, 0, 0)})


def test_nothing_to_take():
    with pytest.raises(InputError, match="which takes 0"):
        with_vacancies(OXIDE, Vacancies(element="N", fraction=0.1))
    with pytest.raises(InputError, match="which takes 0"):
        with_vacancies(OXIDE, Vacancies(fraction=0.001))
