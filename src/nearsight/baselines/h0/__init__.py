"""Baselines that start from H₀, the Kohn-Sham matrix of superposed atomic densities, and learn the change H − H₀."""
