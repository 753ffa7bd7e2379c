"""Self-consistent predictions: H as a functional of the density matrix near by, solved until both agree. No torch."""
