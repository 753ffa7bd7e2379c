"""Predictions for structures without a Hamiltonian, in memory or in files, and the errors of their levels."""
