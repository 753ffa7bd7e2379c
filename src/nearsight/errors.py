"""The exceptions a user can meet. Each message says what was expected, what was got and the way out."""

from __future__ import annotations


class NearsightError(Exception):
    """Base of every error that nearsight raises on purpose; the command line prints it without a traceback."""


class InputError(NearsightError, ValueError):
    """A value, array or structure that cannot be worked with."""


class FormatError(InputError):
    """A file that is not what it should be. The message starts with the file's path."""

    def __init__(self, path: object, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class ConfigError(InputError):
    """A configuration that cannot be run (unknown key, value out of range, missing file)."""


class CheckpointError(InputError):
    """A checkpoint that does not fit the data or the program."""


class RecipeError(NearsightError):
    """A recipe that could not be carried out: a program that is missing, failed or did not converge."""
