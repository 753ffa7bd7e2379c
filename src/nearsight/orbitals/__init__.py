"""Atom-centred orbitals: basis sets, conventions of order and sign, angular momentum coupling and rotations."""
