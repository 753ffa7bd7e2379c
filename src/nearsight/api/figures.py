"""The analysis figures of the paper, from any calculations: the numbers behind them, and the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nearsight.api.sources import CalculationLike, calculation_of
from nearsight.api.spectra import evaluate
from nearsight.electronic.locality import decay, response, spectra_by_cutoff
from nearsight.electronic.spectrum_errors import level_changes, mean
from nearsight.elements import number_of, symbol_of
from nearsight.errors import InputError
from nearsight.structures.radial_distribution import coordination, pair_distribution
from nearsight.structures.structure import Structure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Analysis:
    """Numbers, and the figure that shows them.

    Attributes
    ----------
    numbers : dict
        Numbers and lists by name; the unit is part of the name.
    draw : callable
        Makes the figure (matplotlib is imported then).
    """

    numbers: dict[str, Any]
    draw: Callable[[], Figure]


def level_comparison(prediction: CalculationLike, reference: CalculationLike) -> Analysis:
    """Compare the levels of a prediction and of its reference (Fig. 5 of the paper).

    Parameters
    ----------
    prediction, reference : str, pathlib.Path, Calculation or object with an attribute `calculation`
        Of one structure; one of them must hold S.

    Returns
    -------
    Analysis
        Relative errors, gaps and all levels.

    Raises
    ------
    InputError
        If there is no overlap, or `nearsight.evaluate` refuses the calculations.

    Examples
    --------
    >>> from nearsight.api.figures import level_comparison
    >>> found = level_comparison("data/silicon_2.h5", "data/silicon_2.h5")
    >>> found.numbers["relative_l1"]
    0.0
    """
    result = evaluate(prediction, reference)
    ours, theirs, errors = result.prediction, result.reference, result.spectrum
    if ours is None or theirs is None or errors is None:
        raise InputError("expected an overlap in one of the files, got none: levels need it")
    numbers = {
        "relative_l1": errors.relative_l1,
        "relative_l2": errors.relative_l2,
        "relative_l1_occupied": errors.relative_l1_occupied,
        "relative_l2_occupied": errors.relative_l2_occupied,
        "gap_prediction_eV": errors.gap_prediction,
        "gap_reference_eV": errors.gap_reference,
        "prediction_eV": ours.eigenvalues.tolist(),
        "reference_eV": theirs.eigenvalues.tolist(),
    }

    def draw() -> Figure:
        from nearsight.report.figures import spectrum_figure

        return spectrum_figure(ours, theirs)

    return Analysis(numbers, draw)


def structure_comparison(sources: Mapping[str, CalculationLike], pair: str = "Hf-O", bond: float = 2.75) -> Analysis:
    """Compare coordination and pair distribution functions of structures (Fig. 7 of the paper).

    Parameters
    ----------
    sources : mapping of str to str, pathlib.Path, Calculation or object with an attribute `calculation`
        Structures by name.
    pair : str
        Elements of the central atom and of its neighbours, with a hyphen between.
    bond : float
        Distance (Å) below which neighbours count.

    Returns
    -------
    Analysis
        Coordination numbers, their mean, and first peaks of g(r) of the three pairs of elements, by name.

    Raises
    ------
    InputError
        If `pair` is not two elements.

    Examples
    --------
    >>> from nearsight.api.figures import structure_comparison
    >>> found = structure_comparison({"crystal": "data/silicon_2.h5"}, pair="Si-Si", bond=2.6)
    >>> found.numbers["crystal"]["coordination"]
    [4, 4]
    """
    symbols = pair.split("-")
    numbers = [number_of(symbol) for symbol in symbols]
    if len(symbols) != 2 or None in numbers:
        raise InputError(f"expected two elements, such as Hf-O, got {pair!r}")
    centre, neighbour = (int(z or 0) for z in numbers)
    structures = {name: calculation_of(source).structure for name, source in sources.items()}
    counts = {name: coordination(structure, (centre, neighbour), bond) for name, structure in structures.items()}
    distributions = {
        name: {
            f"{symbol_of(a)}–{symbol_of(b)}": pair_distribution(structure, (a, b), 8.0, 0.1)
            for a, b in ((centre, neighbour), (centre, centre), (neighbour, neighbour))
        }
        for name, structure in structures.items()
    }
    keys = {
        name: {
            "coordination": counts[name].tolist(),
            "mean_coordination": mean(counts[name]),
            "first_peak_A": {label: g.peak for label, g in distributions[name].items()},
        }
        for name in structures
    }

    def draw() -> Figure:
        from nearsight.report.material_figures import StructureSummary, structure_figure

        summaries = {
            name: StructureSummary(counts[name], _wrapped(structure)[structure.numbers == centre], distributions[name])
            for name, structure in structures.items()
        }
        return structure_figure(summaries, symbols[0], symbols[1])

    return Analysis(keys, draw)


def decay_with_distance(sources: Mapping[str, CalculationLike]) -> Analysis:
    """Measure the blocks of H against the distance of their atoms (Fig. 8 of the paper).

    Parameters
    ----------
    sources : mapping of str to str, pathlib.Path, Calculation or object with an attribute `calculation`
        Calculations with H, by name.

    Returns
    -------
    Analysis
        Median and largest element of the blocks in bins of distance, by name.

    Raises
    ------
    InputError
        If there is no H.

    Examples
    --------
    >>> from nearsight.api.figures import decay_with_distance
    >>> found = decay_with_distance({"silicon": "data/silicon_2.h5"}).numbers["silicon"]
    >>> found["largest_eV"][0] > found["largest_eV"][-1]
    True
    """
    calculations = {name: calculation_of(source) for name, source in sources.items()}
    decays = {name: decay(c.require_hamiltonian(), c.structure) for name, c in calculations.items()}
    keys = {}
    for name, found in decays.items():
        middle, median, largest = found.envelope()
        keys[name] = {
            "distance_A": middle.tolist(),
            "median_eV": median.tolist(),
            "largest_eV": largest.tolist(),
            "on_site_median_eV": float(np.median(found.on_site)),
        }

    def draw() -> Figure:
        from nearsight.report.material_figures import decay_figure

        return decay_figure(decays)

    return Analysis(keys, draw)


def levels_by_cutoff(sources: Mapping[str, CalculationLike], cutoffs: Sequence[float] = (4, 5, 6, 7, 8)) -> Analysis:
    """Compute the levels of H cut off at some distances (Fig. 9 of the paper); the whole H is there, too.

    Parameters
    ----------
    sources : mapping of str to str, pathlib.Path, Calculation or object with an attribute `calculation`
        Calculations with H and S, by name.
    cutoffs : sequence of float
        In Å, ascending.

    Returns
    -------
    Analysis
        Gap and mean change of the levels for each cutoff, by name.

    Raises
    ------
    InputError
        If H or S is missing, or a cutoff is not positive.

    Examples
    --------
    >>> from nearsight.api.figures import levels_by_cutoff
    >>> rows = levels_by_cutoff({"silicon": "data/silicon_2.h5"}, [5.0]).numbers["silicon"]
    >>> [row["cutoff_A"] for row in rows]
    [5.0, None]
    """
    every = [*cutoffs, float("inf")]
    spectra = {
        name: dict(zip(every, spectra_by_cutoff(calculation_of(source), every))) for name, source in sources.items()
    }
    keys: dict[str, Any] = {}
    for name, found in spectra.items():
        exact = found[every[-1]]
        keys[name] = [
            {
                "cutoff_A": None if np.isinf(c) else c,
                "gap_eV": s.gap,
                "mean_change_meV": 1e3 * mean(level_changes(s, exact)),
                "mean_change_occupied_meV": 1e3 * mean(level_changes(s, exact)[: s.n_filled]),
            }
            for c, s in found.items()
        ]

    def draw() -> Figure:
        from nearsight.report.material_figures import cutoff_figure

        return cutoff_figure(spectra)

    return Analysis(keys, draw)


def response_to_one_atom(unperturbed: CalculationLike, perturbed: Mapping[str, CalculationLike]) -> Analysis:
    """Measure how far a change of one atom is felt (Fig. 10 of the paper).

    Parameters
    ----------
    unperturbed : str, pathlib.Path, Calculation or object with an attribute `calculation`
        The unchanged structure, with H.
    perturbed : mapping of str to the same kinds
        Calculations in which one atom was moved, replaced or made a ghost, by name.

    Returns
    -------
    Analysis
        Changes of the on-site blocks against the distance, by name.

    Raises
    ------
    InputError
        If nothing or more than one atom changed, or H is missing.

    Examples
    --------
    >>> from nearsight.api.figures import response_to_one_atom
    >>> folder = "data/response"
    >>> found = response_to_one_atom(f"{folder}/unchanged.h5", {"displaced": f"{folder}/displaced.h5"})
    >>> len(found.numbers["displaced"]["atoms"])
    95
    """
    first = calculation_of(unperturbed)
    responses = {name: response(first, calculation_of(source)) for name, source in perturbed.items()}
    keys = {
        name: {
            "site": r.site,
            "shift_meV": 1e3 * r.shift,
            "atoms": r.atoms.tolist(),
            "distance_A": r.distance.tolist(),
            "error_eV": r.error.tolist(),
            "aligned_eV": r.aligned.tolist(),
        }
        for name, r in responses.items()
    }
    numbers = first.structure.numbers

    def draw() -> Figure:
        from nearsight.report.material_figures import response_figure

        return response_figure(responses, numbers, {int(z): symbol_of(int(z)) for z in np.unique(numbers)})

    return Analysis(keys, draw)


def _wrapped(structure: Structure) -> np.ndarray:
    """Positions (N, 3) in Å inside the cell."""
    fractional = structure.positions @ np.linalg.inv(structure.cell)
    return np.asarray((fractional % 1.0) @ structure.cell)
