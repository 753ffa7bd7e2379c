"""Physical constants (CODATA 2018). Internal units are Å, eV and dimensionless overlaps; see docs/conventions.md."""

# CODATA 2018, https://physics.nist.gov/cuu/Constants/
HARTREE_IN_EV = 27.211386245988
BOLTZMANN_IN_EV = 8.617333262e-5
"""Boltzmann's constant in eV/K."""
CONDUCTANCE_QUANTUM = 7.748091729e-5
"""G₀ = 2e²/h in S."""
BOHR_IN_ANGSTROM = 0.529177210903


def ev_to_millihartree(energy: float) -> float:
    """Convert an energy from eV to mE_h.

    Parameters
    ----------
    energy : float
        An energy in eV.

    Returns
    -------
    float
        The energy in mE_h (10⁻³ Hartree).
    """
    return energy / HARTREE_IN_EV * 1e3
