"""What a search gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Neighbors", "RadiusNeighbors"]


@dataclass(frozen=True)
class Neighbors:
    """The k nearest items of each query, nearest first; ties go to the lower id.

    Attributes
    ----------
    ids : ndarray of int64, shape (n_queries, k)
        The items.
    distances : ndarray, shape (n_queries, k)
        Hamming distances in bits (int32); for asymmetric scoring and after re-ranking the distance that the search
        names (float32).
    """

    ids: NDArray[np.int64]
    distances: NDArray[Any]


@dataclass(frozen=True)
class RadiusNeighbors:
    """All items within a radius of each query, nearest first; ties go to the lower id.

    Attributes
    ----------
    offsets : ndarray of int64, shape (n_queries + 1,)
        The items of query q are at ``offsets[q]:offsets[q + 1]`` in the other two.
    ids : ndarray of int64, shape (total,)
        The items.
    distances : ndarray of int32, shape (total,)
        Hamming distances in bits.

    Examples
    --------
    >>> found = RadiusNeighbors(np.array([0, 2, 2]), np.array([7, 9]), np.array([0, 1], dtype=np.int32))
    >>> len(found), found[0].ids, found[1].ids
    (2, array([7, 9]), array([], dtype=int64))
    """

    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    distances: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> Neighbors:
        """Return the items of one query: ids and distances, both of shape (found,)."""
        if not -len(self) <= query < len(self):
            raise IndexError(f"query {query} of {len(self)}")
        start, end = self.offsets[query % len(self)], self.offsets[query % len(self) + 1]
        return Neighbors(self.ids[start:end], self.distances[start:end])

    @property
    def counts(self) -> NDArray[np.int64]:
        """The number of items found by each query, shape (n_queries,)."""
        return np.diff(self.offsets)
