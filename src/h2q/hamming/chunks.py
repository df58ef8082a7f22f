"""A database in chunks, as the scans take it: rows that do not count are left out where many queries share the cost."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Chunk", "chunks_of"]

_ALL_ALIVE = np.ones(0, np.bool_)
# With at least this many queries, and at most this share of rows that count, taking those out once is faster.
_MANY_QUERIES, _SHARE = 5, 0.9


@dataclass(frozen=True)
class Chunk:
    """Some rows of a database.

    Attributes
    ----------
    start : int
        The first row.
    codes : ndarray of uint8, shape (n, bytes)
        Codes, C-ordered.
    alive : ndarray of bool, shape (n,) or (0,)
        Which of them count; empty: all.
    kept : ndarray of int64, shape (n,), or None
        Rows of the codes, counted from `start`, where some were left out.
    """

    start: int
    codes: NDArray[np.uint8]
    alive: NDArray[np.bool_]
    kept: NDArray[np.int64] | None

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the database at some positions of the chunk."""
        return self.start + (positions if self.kept is None else self.kept[positions])


def chunks_of(
    database: NDArray[np.uint8], alive: NDArray[np.bool_] | None, chunk_bytes: int, n_queries: int
) -> Iterator[Chunk]:
    """Yield the chunks of a database, about `chunk_bytes` each, that have rows that count.

    Examples
    --------
    >>> codes = np.arange(100, dtype=np.uint8)[:, None]
    >>> (chunk,) = chunks_of(codes, codes[:, 0] == 7, chunk_bytes=1000, n_queries=9)
    >>> chunk.codes, chunk.rows(np.array([0]))
    (array([[7]], dtype=uint8), array([7]))
    """
    length = max(1, chunk_bytes // database.shape[1])
    least = _SHARE if n_queries >= _MANY_QUERIES else 0.0
    for start in range(0, len(database), length):
        codes = database[start : start + length]
        living = _ALL_ALIVE if alive is None else alive[start : start + length]
        if alive is not None and np.count_nonzero(living) < least * len(codes):
            kept = np.flatnonzero(living)
            if len(kept):
                yield Chunk(start, np.ascontiguousarray(codes[kept]), _ALL_ALIVE, kept)
        else:
            yield Chunk(start, np.ascontiguousarray(codes), living, None)
