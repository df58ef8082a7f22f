"""Search in two passes: the first bits of every code, then the whole codes of the items that are near by these.

The distance of two codes is at least the distance of their prefixes. So if the last item that the first pass lets
through is farther by its prefix than the k-th of them by their whole codes, no item outside can be among the k nearest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.hamming.candidates import candidate_distances, candidate_products
from h2q.hamming.neighbors import Neighbors
from h2q.hamming.scans import NearestScan
from h2q.index.segments import Segment

__all__ = ["Prefix", "nearest_by_prefix_and_codes", "nearest_by_prefix_and_estimates"]


@dataclass(frozen=True)
class Prefix:
    """The first pass.

    Attributes
    ----------
    n_bits : int
        Bits that it compares.
    shortlist : int or None
        Items of each query that it lets through; None: as many as the exact result needs.
    """

    n_bits: int
    shortlist: int | None

    def size(self, k: int, n: int) -> int:
        """Return how many of n items to let through for k neighbors."""
        return min(n, max(k, max(10 * k, 100) if self.shortlist is None else self.shortlist))


def nearest_by_prefix_and_codes(
    segments: Sequence[Segment], codes: NDArray[np.uint8], k: int, prefix: Prefix
) -> tuple[Neighbors, NDArray[np.bool_]]:
    """Return the k items nearest to each code among those let through, and for which queries that is proven exact.

    Parameters
    ----------
    segments : sequence of Segment
        The items, at least k.
    codes : ndarray of uint8, shape (n_queries, bytes)
        The queries.
    k : int
        Neighbors of a query.
    prefix : Prefix
        The first pass.

    Returns
    -------
    neighbors : Neighbors
        Sorted by distance and id.
    exact : ndarray of bool, shape (n_queries,)
        True: no other item can be among the k nearest, or tie with one of them.
    """
    rows, distances = _shortlist(segments, codes, k, prefix)
    whole = candidate_distances(codes, _take(segments, "codes", rows))
    neighbors = _nearest(_take(segments, "ids", rows), whole, k)
    everything = rows.shape[1] == sum(len(segment) for segment in segments)
    return neighbors, everything | (distances[:, -1] > neighbors.distances[:, -1])


def nearest_by_prefix_and_estimates(
    segments: Sequence[Segment],
    codes: NDArray[np.uint8],
    weights: NDArray[np.float32],
    constants: NDArray[np.float32],
    tables: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
    k: int,
    prefix: Prefix,
) -> Neighbors:
    """Return the k items with the smallest estimated distances among those let through.

    Parameters
    ----------
    segments, k, prefix
        As in `nearest_by_prefix_and_codes`.
    codes : ndarray of uint8, shape (n_queries, bytes)
        Codes of the queries, for the first pass.
    weights, constants, tables
        As in `h2q.index.searching.nearest_by_estimates`.
    """
    rows, _ = _shortlist(segments, codes, k, prefix)
    products = candidate_products(weights, _take(segments, "codes", rows))
    if tables is not None:
        scalars = _take(segments, "scalars", rows)
        products = products * tables[0][scalars] + tables[1][scalars]
    return _nearest(_take(segments, "ids", rows), constants[:, None] - products, k)


def _shortlist(
    segments: Sequence[Segment], codes: NDArray[np.uint8], k: int, prefix: Prefix
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the items nearest by the prefix, as rows counted over all segments, and their distances."""
    scan = NearestScan(codes, prefix.size(k, sum(len(segment) for segment in segments)), n_bits=prefix.n_bits)
    start = 0
    for segment in segments:
        scan.add(segment.codes, np.arange(start, start + segment.n_rows), segment.alive)
        start += segment.n_rows
    neighbors = scan.finish()
    return neighbors.ids, neighbors.distances


def _take(segments: Sequence[Segment], column: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return the values of a column for rows counted over all segments, shape (n_queries, n_candidates, ...)."""
    flat = rows.ravel()
    first = segments[0].columns.take(column, flat[:0])
    values = np.empty((len(flat), *first.shape[1:]), first.dtype)
    start = 0
    for segment in segments:
        here = (flat >= start) & (flat < start + segment.n_rows)
        values[here] = segment.columns.take(column, flat[here] - start)
        start += segment.n_rows
    return values.reshape(*rows.shape, *first.shape[1:])


def _nearest(ids: NDArray[np.int64], distances: NDArray[Any], k: int) -> Neighbors:
    """Return the k smallest distances of each query, sorted by distance and id."""
    order = np.lexsort((ids, distances), axis=-1)[:, :k]
    return Neighbors(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))
