"""The version of the package, for everything that says it."""

__version__ = "0.2.0"
