"""nearsight: learn the Kohn-Sham Hamiltonian of large disordered structures, and use it."""

__version__ = "0.1.0"
