"""The k nearest items so far, over scans of one part of a database after another."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.hamming.neighbors import Neighbors

__all__ = ["NearestSoFar"]

_NO_ID = np.iinfo(np.int64).max


class NearestSoFar:
    """The k nearest items of each query among those merged so far; ties go to the lower id.

    Parameters
    ----------
    n_queries : int
        Number of queries.
    k : int
        Number of items to keep for each query.
    dtype : dtype
        Type of the distances.

    Examples
    --------
    >>> nearest = NearestSoFar(n_queries=1, k=2, dtype=np.int32)
    >>> nearest.merge(np.array([[7, 3]]), np.array([[1, 4]], dtype=np.int32))
    >>> nearest.merge(np.array([[2, -1]]), np.array([[1, 9]], dtype=np.int32))
    >>> nearest.finish().ids
    array([[2, 7]])
    """

    def __init__(self, n_queries: int, k: int, dtype: Any) -> None:
        self.k = k
        # Without queries nothing is ever merged, and the result still has k columns.
        held = 0 if n_queries else k
        self._ids = np.zeros((n_queries, held), np.int64)
        self._distances = np.zeros((n_queries, held), dtype)

    def merge(self, ids: NDArray[np.int64], distances: NDArray[Any]) -> None:
        """Merge candidates, both arrays (n_queries, n_candidates); an id of -1 marks an empty place."""
        ids = np.hstack([self._ids, np.where(ids < 0, _NO_ID, ids)])
        distances = np.hstack([self._distances, distances])
        order = np.lexsort((ids, distances), axis=-1)[:, : self.k]
        self._ids, self._distances = np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1)

    def farthest(self) -> NDArray[Any] | None:
        """Return the distance of the k-th nearest item of each query, shape (n_queries,); None below k items."""
        return self._distances[:, -1] if self._distances.shape[1] == self.k else None

    def finish(self) -> Neighbors:
        """Return the k nearest, sorted by distance and id."""
        return Neighbors(self._ids, self._distances)
