"""Physical constants. Internal units are Å, eV and dimensionless overlaps (see docs/conventions.md)."""

# CODATA 2018, https://physics.nist.gov/cuu/Constants/
HARTREE_IN_EV = 27.211386245988
BOLTZMANN_IN_EV = 8.617333262e-5
"""eV/K."""
BOHR_IN_ANGSTROM = 0.529177210903


def ev_to_millihartree(energy: float) -> float:
    """An energy in eV, in mE_h."""
    return energy / HARTREE_IN_EV * 1e3
