"""Linear, equivariant baselines of the Hamiltonian: what is left for a network is small and of known size."""
