"""Parameters used: Hamiltonians of structures that have none."""
