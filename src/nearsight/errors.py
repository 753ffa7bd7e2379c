"""The exceptions that a user can meet. Each message says what was expected, what was got, and the way out."""

from __future__ import annotations


class NearsightError(Exception):
    """Base of every error that nearsight raises on purpose; the command line prints it without a traceback."""


class InputError(NearsightError, ValueError):
    """Raised for a value, an array or a structure that cannot be worked with."""


class FormatError(InputError):
    """Raised for a file that is not what it should be. The message starts with the file's path.

    Parameters
    ----------
    path : object
        The file, for the message.
    message : str
        What was expected, what was got, and the way out.
    """

    def __init__(self, path: object, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path


class ConfigError(InputError):
    """Raised for a configuration that cannot be run (an unknown key, a value out of range, a missing file)."""


class CheckpointError(InputError):
    """Raised for a checkpoint that does not fit the data or the program."""


class RecipeError(NearsightError):
    """Raised where a recipe could not be carried out: a program is missing, failed or did not converge."""
