"""Models of the Hamiltonian: architectures, batches, predictions and everything with learnable parameters."""
