"""Physical constants (CODATA 2018). Internal units are Å, eV and dimensionless overlaps; see docs/conventions.md."""

# CODATA 2018, https://physics.nist.gov/cuu/Constants/
HARTREE_IN_EV = 27.211386245988
BOLTZMANN_IN_EV = 8.617333262e-5
"""Boltzmann's constant in eV/K."""
CONDUCTANCE_QUANTUM = 7.748091729e-5
"""G₀ = 2e²/h in S."""
BOHR_IN_ANGSTROM = 0.529177210903
LENGTHS_IN_ANGSTROM = {
    "angstrom": 1.0,
    "bohr": BOHR_IN_ANGSTROM,
    "au_l": BOHR_IN_ANGSTROM,
    "internal_cp2k": BOHR_IN_ANGSTROM,
    "pm": 1e-2,
    "nm": 1e1,
    "m": 1e10,
}
"""Units of length by the names that CP2K has for them."""


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
