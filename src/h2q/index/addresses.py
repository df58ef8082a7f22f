"""Opens and makes an index by its address, which names the engine and the place."""

import importlib
import os
import re
from typing import Any

from h2q.index.protocol import Index

__all__ = ["ENGINES", "create_index", "open_index"]

# A new engine is a file beside this one and a line here: its class has `open(place)`, and `create` if its indexes are
# not made by its constructor.
ENGINES = {
    "file": "h2q.index.exact:BinaryIndex",
    "faiss": "h2q.index.faiss_index:FaissIndex",
    "milvus": "h2q.index.milvus:MilvusIndex",
    "postgresql": "h2q.index.postgresql:PostgresIndex",
}


def open_index(address: str | os.PathLike[str], *, quantizer: Any = None) -> Index:
    """Open an index of any engine.

    Parameters
    ----------
    address : str or path
        ``"engine:place"``, or a folder that `BinaryIndex.save` wrote, which is short for ``"file:folder"``. Engines:
        ``faiss:folder?recall=0.95`` (see `h2q.index.faiss_index.FaissIndex`),
        ``milvus://host:19530/collection`` (see `h2q.index.milvus.MilvusIndex`),
        ``postgresql://user@host:port/database?table=items`` (see `h2q.index.postgresql.PostgresIndex`).
    quantizer : fitted quantizer, optional
        The quantizer that made the codes; another one is refused. Most indexes hold it themselves.

    Returns
    -------
    Index
        The index. A folder gives a `BinaryIndex`, its arrays mapped from the files.

    Raises
    ------
    ValueError
        If there is no such engine, or the quantizer is not that of the index.
    FileNotFoundError, FileFormatError
        If there is no index, or it is damaged; see `BinaryIndex.open`.
    EngineUnavailableError
        If the engine does not answer.
    MissingDependencyError
        If the engine's client is not installed.

    Examples
    --------
    >>> open_index("nowhere:5432")
    Traceback (most recent call last):
    ...
    ValueError: no index engine is called 'nowhere'; the address must be a folder or start with one of: file:, ...
    """
    kind, place = _engine_of(os.fspath(address))
    index: Index = kind.open(place)
    if quantizer is not None:
        try:
            index.use_quantizer(quantizer)
        except ValueError:
            index.close()
            raise
    return index


def create_index(
    address: str | os.PathLike[str],
    n_bits: int | None = None,
    *,
    quantizer: Any = None,
    keep_embeddings: bool = False,
    metric: str = "cosine",
) -> Index:
    """Make an empty index of any engine at an address.

    Parameters
    ----------
    address : str or path
        As for `open_index`.
    n_bits, quantizer, keep_embeddings, metric
        As for `BinaryIndex`.

    Returns
    -------
    Index
        The index; add items, then `save` it, or use it as a context manager.

    Raises
    ------
    TypeError, ValueError
        If an option is wrong, or there is no such engine.
    FileExistsError
        If there is an index already.
    EngineUnavailableError
        If the engine does not answer.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> folder = tempfile.mkdtemp() + "/codes"
    >>> with create_index(folder, 8) as index:
    ...     ids = index.add(np.array([[1], [2]], dtype=np.uint8))
    >>> len(open_index(folder))
    2
    """
    kind, place = _engine_of(os.fspath(address))
    options = {"quantizer": quantizer, "keep_embeddings": keep_embeddings, "metric": metric}
    if hasattr(kind, "create"):
        created: Index = kind.create(place, n_bits, **options)
        return created
    index = kind(n_bits, **options)
    if os.path.isdir(place) and os.listdir(place):
        raise FileExistsError(f"{place} is not empty; open the index in it, or name another folder")
    index.save(place)
    made: Index = index
    return made


def _engine_of(address: str) -> tuple[Any, str]:
    """Return the class of an address's engine, and the place that it names there."""
    # One letter before the colon is a drive, not an engine.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+-]+):(.*)", address)
    engine, place = ("file", address) if scheme is None or os.path.exists(address) else scheme.groups()
    if engine not in ENGINES:
        known = ", ".join(f"{name}:" for name in ENGINES)
        raise ValueError(
            f"no index engine is called {engine!r}; the address must be a folder or start with one of: {known}"
        )
    module, _, name = ENGINES[engine].partition(":")
    return getattr(importlib.import_module(module), name), place
