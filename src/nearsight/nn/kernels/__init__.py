"""Fast variants of single operations; each has a slow twin it is tested against."""

from importlib.util import find_spec

COMPILED = find_spec("numba") is not None
"""Whether loops can be compiled; without numba the same is computed by torch alone, several times slower."""
