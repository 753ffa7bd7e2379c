"""Results as plain numbers by name, for JSON and tables; the unit is part of a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nearsight.electronic.bands import Bands, band_errors
from nearsight.electronic.density_matrix import band_energy
from nearsight.electronic.density_of_states import DensityOfStates
from nearsight.electronic.evaluation import Evaluation
from nearsight.electronic.filling import Filling
from nearsight.electronic.populations import Localisation
from nearsight.electronic.spectrum import Spectrum
from nearsight.electronic.spectrum_errors import LevelErrors, StateErrors
from nearsight.electronic.spin import SpinSpectrum
from nearsight.elements import symbol_of
from nearsight.units import ev_to_millihartree

if TYPE_CHECKING:
    from nearsight.api.transport import TransportStudy
    from nearsight.electronic.kernel_polynomial import StochasticDensity

FERMI_KNOWN = 4.0
"""Resolutions within which a Fermi level must be bracketed to be told."""


def spectrum_numbers(
    spectrum: Spectrum, filling: Filling | None = None, places: Localisation | None = None
) -> dict[str, Any]:
    """Return a spectrum as numbers, with occupations and the atoms that states are on where these are given.

    Parameters
    ----------
    spectrum : Spectrum
        All levels or a window.
    filling : Filling, optional
        Electrons in its levels, as `spectrum.filling(temperature)` gives them.
    places : Localisation, optional
        On which atoms the states are.

    Returns
    -------
    dict
        Numbers and lists by name.

    Examples
    --------
    >>> from nearsight.api.numbers import spectrum_numbers
    >>> from nearsight.api.spectra import spectrum
    >>> spectrum_numbers(spectrum("data/silicon_2.h5"))["n_occupied"]
    4
    """
    keys: dict[str, Any] = {
        "eigenvalues_eV": spectrum.eigenvalues.tolist(),
        "gap_eV": spectrum.gap,
        "fermi_eV": spectrum.fermi,
        "homo_eV": spectrum.homo,
        "lumo_eV": spectrum.lumo,
        "n_electrons": spectrum.n_electrons,
        "n_occupied": spectrum.n_occupied,
        "singly_occupied": spectrum.singly_occupied,
        "first": spectrum.first,
        "n_levels": spectrum.n_levels,
        "projected_out": spectrum.projected_out,
        "overlap_condition": spectrum.overlap_condition,
        "residual_eV": spectrum.residual,
        "hermiticity_error_eV": spectrum.hermiticity_error,
    }
    if filling is not None:
        keys |= {
            "occupations": filling.occupations.tolist(),
            "chemical_potential_eV": filling.fermi,
            "entropy_energy_eV": filling.entropy_energy,
        }
        if spectrum.complete:
            keys["band_energy_eV"] = band_energy(spectrum, filling)
    if places is not None:
        keys |= {
            "participating_atoms": places.participation.tolist(),
            "largest_atom": places.largest_atom.tolist(),
            "share_of_largest_atom": places.largest_population.tolist(),
        }
    return keys


def stochastic_density_numbers(density: StochasticDensity, electrons: int) -> dict[str, Any]:
    """Return a density of states from kernel polynomials as numbers, with its Fermi level.

    Parameters
    ----------
    density : StochasticDensity
        As `stochastic_density` gives it.
    electrons : int
        Number of electrons.

    Returns
    -------
    dict
        Numbers, and 2001 energies with their densities. `fermi_eV` and the density there are None where the level is
        not known, as in a gap; `fermi_between_eV` is its bracket.
    """
    fermi, between = density.fermi(electrons), density.fermi_bracket(electrons)
    known = between[1] - between[0] <= FERMI_KNOWN * density.resolution
    low, high = density.bounds
    energies = np.linspace(low, high, 2001)
    return {
        "n_levels": density.n_levels,
        "n_vectors": density.n_vectors,
        "resolution_eV": density.resolution,
        "fermi_eV": fermi if known else None,
        "fermi_between_eV": between,
        "density_at_fermi_per_eV": float(density.density(np.array([fermi]))[0]) if known else None,
        "energies_eV": energies.tolist(),
        "density_per_eV": density.density(energies).tolist(),
    }


def density_of_states_numbers(found: DensityOfStates) -> dict[str, Any]:
    """Return a density of states as numbers: energies, total, projections, and the filling.

    Parameters
    ----------
    found : DensityOfStates
        As `density_of_states` gives it.

    Returns
    -------
    dict
        Numbers and lists by name.
    """
    return {
        "energies_eV": found.energies.tolist(),
        "total_per_eV": found.total.tolist(),
        "parts_per_eV": {label: values.tolist() for label, values in found.projections.items()},
        "fermi_eV": found.filling.fermi,
        "homo_eV": found.filling.homo,
        "lumo_eV": found.filling.lumo,
        "gap_eV": found.filling.gap,
        "width_eV": found.width,
    }


def band_numbers(found: Bands, reference: np.ndarray | None = None) -> dict[str, Any]:
    """Return the gaps and edges of bands as numbers, with differences to a reference where there is one.

    Parameters
    ----------
    found : Bands
        As `bands` gives them.
    reference : ndarray of shape (K, n), optional
        Levels in eV at the same k-points.

    Returns
    -------
    dict
        Numbers by name.
    """
    keys: dict[str, Any] = {
        "gap_eV": found.gap,
        "direct_gap_eV": found.direct_gap,
        "valence_band_maximum_eV": found.highest_occupied[0],
        "conduction_band_minimum_eV": found.lowest_empty[0],
        "n_occupied": found.n_occupied,
        "residual_eV": found.residual,
    }
    if reference is not None:
        errors = band_errors(found, reference)
        keys |= {
            "largest_difference_meV": 1e3 * errors.largest,
            "mean_difference_meV": 1e3 * errors.mean,
            "largest_difference_occupied_meV": 1e3 * errors.largest_occupied,
        }
    return keys


def evaluation_numbers(result: Evaluation) -> dict[str, Any]:
    """Return the errors of a prediction as numbers; those of eigenvalues and states only where there are some.

    Parameters
    ----------
    result : Evaluation
        As `evaluate` gives it.

    Returns
    -------
    dict
        Numbers by name; docs/metrics.md says what each means.

    Examples
    --------
    >>> from nearsight.api.numbers import evaluation_numbers
    >>> from nearsight.api.spectra import evaluate
    >>> evaluation_numbers(evaluate("data/silicon_2.h5", "data/silicon_2.h5"))["eps_tot_meV"]
    0.0
    """
    m, s = result.matrix, result.spectrum
    keys: dict[str, Any] = {
        "eps_n_mEh": ev_to_millihartree(m.eps_n),
        "eps_e_mEh": ev_to_millihartree(m.eps_e),
        "eps_tot_mEh": ev_to_millihartree(m.eps_tot),
        "eps_n_meV": 1e3 * m.eps_n,
        "eps_e_meV": 1e3 * m.eps_e,
        "eps_tot_meV": 1e3 * m.eps_tot,
        "n_nodes": m.nodes.n_blocks,
        "n_edges": m.edges.n_blocks,
        "mean_abs_H_nodes_mEh": ev_to_millihartree(m.nodes.magnitude),
        "mean_abs_H_edges_mEh": ev_to_millihartree(m.edges.magnitude),
        "hermiticity_error_eV": result.hermiticity_error,
        "n_blocks_outside": m.outside.n_blocks,
        "mean_abs_H_outside_mEh": ev_to_millihartree(m.outside.magnitude),
        "max_abs_H_outside_mEh": ev_to_millihartree(m.outside.largest),
        "element_pairs": [
            {
                "pair": [symbol_of(z) for z in p.elements],
                "on_site": p.on_site,
                "mae_mEh": ev_to_millihartree(p.errors.mean_absolute),
                "mean_abs_H_mEh": ev_to_millihartree(p.errors.magnitude),
            }
            for p in m.element_pairs
        ],
        "distances": [
            {
                "from_A": d.lower,
                "to_A": d.upper,
                "mae_mEh": ev_to_millihartree(d.errors.mean_absolute),
                "mean_abs_H_mEh": ev_to_millihartree(d.errors.magnitude),
            }
            for d in m.distances
        ],
    }
    if s is not None:
        keys |= {
            "eig_rel_l1": s.relative_l1,
            "eig_rel_l1_occupied": s.relative_l1_occupied,
            "eig_rel_l2": s.relative_l2,
            "eig_rel_l2_occupied": s.relative_l2_occupied,
            "eig_mae_meV": 1e3 * s.mean_absolute,
            "eig_mae_occupied_meV": 1e3 * s.mean_absolute_occupied,
            "eig_mae_near_gap_meV": 1e3 * s.mean_absolute_near_gap,
            "eig_shift_occupied_meV": 1e3 * s.mean_occupied,
            "eig_max_meV": 1e3 * s.largest,
            "gap_pred_eV": s.gap_prediction,
            "gap_ref_eV": s.gap_reference,
        }
    if result.levels is not None:
        keys |= _level_numbers(result.levels)
    if result.states is not None:
        keys |= _state_numbers(result.states)
    return keys


def _level_numbers(levels: LevelErrors) -> dict[str, Any]:
    return {
        "homo_error_meV": 1e3 * levels.homo,
        "lumo_error_meV": 1e3 * levels.lumo,
        "gap_error_meV": 1e3 * levels.gap,
        "fermi_error_meV": 1e3 * levels.fermi,
        "eig_mae_occupied_shifted_meV": 1e3 * levels.occupied_shifted,
        "dos_distance": levels.dos,
        "dos_distance_occupied": levels.dos_occupied,
        "dos_distance_occupied_shifted": levels.dos_shifted,
        "band_energy_error_meV_per_atom": 1e3 * levels.band_energy,
    }


def _state_numbers(states: StateErrors) -> dict[str, Any]:
    return {
        "homo_overlap": states.homo_overlap,
        "lumo_overlap": states.lumo_overlap,
        "misplaced_electrons": states.misplaced,
        "charge_mae_e": states.charge,
        "charge_max_e": states.largest_charge,
        "charge_rms_e": states.rms_charge,
    }


def transport_numbers(study: TransportStudy) -> dict[str, Any]:
    """Return the numbers of a transport study.

    Parameters
    ----------
    study : TransportStudy
        Of `nearsight.api.transport.transport_study`.
    """
    return {
        "structure": study.junction.structure.formula,
        "fermi_eV": study.transmissions[0].fermi,
        "temperature_K": study.config.temperature,
        "biases_V": list(study.config.biases),
        "currents_A": list(study.currents),
        "conductance_G0": study.conductance,
        "leads_raised_by_eV": [study.junction.left.energy_shift, study.junction.right.energy_shift],
        "notes": list(study.notes),
        "transmissions": [
            {"bias_V": x.bias, "energies_eV": x.energies.tolist(), "transmission": x.transmission.tolist()}
            for x in study.transmissions
        ],
    }


def spin_numbers(spectrum: SpinSpectrum) -> dict[str, Any]:
    """Return the levels of two spins as numbers.

    Parameters
    ----------
    spectrum : SpinSpectrum
        Filled levels of either spin.

    Returns
    -------
    dict
        Numbers and lists by name; levels are (K, n).
    """
    return {
        "eigenvalues_up_eV": spectrum.up.tolist(),
        "eigenvalues_down_eV": spectrum.down.tolist(),
        "occupations_up": spectrum.occupations_up.tolist(),
        "occupations_down": spectrum.occupations_down.tolist(),
        "electrons_up": spectrum.electrons_up,
        "electrons_down": spectrum.electrons_down,
        "moment_bohr_magneton": spectrum.moment,
        "fermi_up_eV": spectrum.fermi_up,
        "fermi_down_eV": spectrum.fermi_down,
        "homo_eV": spectrum.homo,
        "lumo_eV": spectrum.lumo,
        "gap_eV": spectrum.gap,
    }
