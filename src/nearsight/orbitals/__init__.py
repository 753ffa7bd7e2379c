"""Which functions sit on an atom: basis sets, coupling, rotations."""
