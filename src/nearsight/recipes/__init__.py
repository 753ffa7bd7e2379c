"""Make data: structures by melt-quench, matrices by CP2K and PySCF, campaigns of both."""
