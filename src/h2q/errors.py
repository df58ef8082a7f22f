"""The errors that are ours, and the import of optional packages."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

__all__ = [
    "DiskFullError",
    "FileFormatError",
    "ForeignFileError",
    "MissingDependencyError",
    "describe",
    "name_extra",
    "require",
]

Found = TypeVar("Found")


class FileFormatError(ValueError):
    """A file is truncated, foreign, of another kind, or written by a newer version of h2q."""


class ForeignFileError(FileFormatError):
    """A file is of a known format, but another program wrote it."""


class DiskFullError(OSError):
    """A file cannot be written because the disk, the quota or the largest size of a file is reached.

    Attributes
    ----------
    errno : int
        The system's number of the error: ``errno.ENOSPC``, ``EDQUOT`` or ``EFBIG``.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number


class MissingDependencyError(ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or say how to install it.

    Parameters
    ----------
    module : str
        The module to import, for instance ``"torch"``.
    extra : str
        The extra of h2q that brings it, for instance ``"learn"``.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    MissingDependencyError
        If the module (or a module that it needs) is not installed.

    Examples
    --------
    >>> require("json", "learn").dumps([1])
    '[1]'
    >>> require("no_such_module", "learn")
    Traceback (most recent call last):
    ...
    h2q.errors.MissingDependencyError: this needs the package no_such_module: pip install "h2q[learn]"
    """
    return name_extra(importlib.import_module, extra)(module)


def name_extra(find: Callable[[str], Found], extra: str) -> Callable[[str], Found]:
    """Make a function that imports say how to install what is missing: for the lazy names of a package.

    Parameters
    ----------
    find : callable
        Takes a name, and imports what is behind it.
    extra : str
        The extra of h2q that brings what it may miss.

    Returns
    -------
    callable
        Does the same, but raises `MissingDependencyError` where a package outside h2q is not installed.
    """

    def found(name: str) -> Found:
        try:
            return find(name)
        except ModuleNotFoundError as error:
            package = (error.name or name).split(".")[0]
            if package == "h2q":
                raise
            raise MissingDependencyError(f'this needs the package {package}: pip install "h2q[{extra}]"') from error

    return found


def describe(value: Any) -> str:
    """Describe a value in a few words for an error message: its type, and its shape and dtype if it has them.

    >>> import numpy as np
    >>> describe(np.zeros((2, 3)))
    'float64 array of shape (2, 3)'
    >>> describe("no")
    "'no' (str)"
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{dtype} array of shape {tuple(shape)}"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
