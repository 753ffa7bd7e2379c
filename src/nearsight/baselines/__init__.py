"""Linear, equivariant baselines of the Hamiltonian: the residual left to a network is small and of known size."""
