"""Exceptions of h2q, words for their messages, and the import of optional packages."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

__all__ = [
    "DiskFullError",
    "EngineUnavailableError",
    "FileFormatError",
    "ForeignFileError",
    "MissingDependencyError",
    "describe",
    "name_extra",
    "require",
    "with_article",
]

T = TypeVar("T")


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


class EngineUnavailableError(ConnectionError):
    """The server of an index does not answer, or not in time; what was asked of it may be asked again."""


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


def name_extra(find: Callable[[str], T], extra: str) -> Callable[[str], T]:
    """Wrap a function that imports, so that its error says how to install a missing package.

    Parameters
    ----------
    find : callable
        Takes a name and returns what it names, such as the ``__getattr__`` of a package with lazy names.
    extra : str
        The extra of h2q that has the packages it needs.

    Returns
    -------
    callable
        The same function, but with `MissingDependencyError` if a package outside h2q is not installed.
    """

    def find_or_explain(name: str) -> T:
        try:
            return find(name)
        except ModuleNotFoundError as error:
            package = (error.name or name).split(".")[0]
            if package == "h2q":
                raise
            raise MissingDependencyError(f'this needs the package {package}: pip install "h2q[{extra}]"') from error

    return find_or_explain


def with_article(noun: Any) -> str:
    """Return a noun with its indefinite article, for messages about names that are known only when they are raised.

    >>> with_article("index"), with_article("float32"), with_article("uint8"), with_article("8-bit code")
    ('an index', 'a float32', 'a uint8', 'an 8-bit code')
    """
    word = str(noun)
    # Vowel sounds: "8" and "11" are spoken with one, "uint", "unit" and "one" without.
    vowel = word[:1].lower() in ("a", "e", "i", "o", "u", "8") or word[:2] in ("11", "18")
    consonant = word.lower().startswith(("uint", "uni", "use", "one"))
    return f"an {word}" if vowel and not consonant else f"a {word}"


def describe(value: Any) -> str:
    """Describe a value for an error message: its type, and its shape and dtype if it has them.

    >>> import numpy as np
    >>> describe(np.zeros((2, 3), int))
    'an int64 array of shape (2, 3)'
    >>> describe("no"), describe(None)
    ("'no' (str)", 'None')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{with_article(dtype)} array of shape {tuple(shape)}"
    text = repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return text if value is None else f"{text} ({type(value).__name__})"
