"""Baselines that start from H₀, the Kohn-Sham matrix of superposed atomic densities."""
