"""Opens an index by its address, which names the engine and the place."""

import os
import re
from collections.abc import Callable

from h2q.index.exact import BinaryIndex
from h2q.index.protocol import Index

__all__ = ["ENGINES", "open_index"]

# A new engine is a file beside this one and a line here.
ENGINES: dict[str, Callable[[str], Index]] = {"file": BinaryIndex.open}


def open_index(address: str | os.PathLike[str]) -> Index:
    """Open an index of any engine.

    Parameters
    ----------
    address : str or path
        ``"engine:place"``, or a folder that `BinaryIndex.save` wrote, which is short for ``"file:folder"``.

    Returns
    -------
    Index
        The index. A folder gives a `BinaryIndex`, its arrays mapped from the files.

    Raises
    ------
    ValueError
        If there is no such engine.
    FileNotFoundError, FileFormatError
        See `BinaryIndex.open`.

    Examples
    --------
    >>> open_index("nowhere:5432")
    Traceback (most recent call last):
    ...
    ValueError: no index engine is called 'nowhere'; the address must be a folder or start with one of: file:
    """
    text = os.fspath(address)
    # One letter before the colon is a drive, not an engine.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+-]+):(.*)", text)
    if scheme is None or os.path.exists(text):
        return ENGINES["file"](text)
    engine, place = scheme.groups()
    if engine not in ENGINES:
        known = ", ".join(f"{name}:" for name in ENGINES)
        raise ValueError(
            f"no index engine is called {engine!r}; the address must be a folder or start with one of: {known}"
        )
    return ENGINES[engine](place)
