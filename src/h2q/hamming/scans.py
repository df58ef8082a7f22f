"""Exact Hamming search over packed codes: distance rows, the k nearest, all within a radius.

A tile of the database that fits the first-level cache is laid out word by word and scanned by a group of queries. One
vector loop finds the smallest distance of each block of it; only blocks that hold something near enough are looked at
item by item. What is near enough follows from counts of the items accepted so far at each distance, without any heap.
"""

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe
from h2q.hamming import kernels
from h2q.hamming.neighbors import Neighbors, RadiusNeighbors
from h2q.hamming.selection import NearestSoFar
from h2q.hamming.threads import run_jobs, threads_for
from h2q.hamming.words import as_words

__all__ = ["NearestScan", "RadiusScan", "distances", "nearest", "within"]

_CHUNK_BYTES = 64 << 20  # scanned at a time, so that a job is short enough to interrupt
_GROUP = 32  # queries that share a tile
_GROUP_ITEMS = 1 << 21  # candidates that a group may hold at once
_ROW_ITEMS = 1 << 20  # distances that one job fills in
_ALL_ALIVE = np.ones(0, np.bool_)


def distances(queries: NDArray[np.uint8], database: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return all Hamming distances between two sets of packed codes.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n_queries, bytes)
        Packed codes; padding bits are 0.
    database : ndarray of uint8, shape (n, bytes)
        Packed codes of the same width.

    Returns
    -------
    ndarray of int32, shape (n_queries, n)
        The number of bits that differ.

    Raises
    ------
    TypeError
        If the codes are not uint8.
    ValueError
        If they are not 2-D, or not of one width.

    Examples
    --------
    >>> distances(np.array([[0b11]], dtype=np.uint8), np.array([[0], [1], [3]], dtype=np.uint8))
    array([[2, 1, 0]], dtype=int32)
    """
    _check_widths(queries, database)
    result = np.empty((len(queries), len(database)), np.int32)
    query_words, words = as_words(queries), as_words(database)
    rows = max(1, _ROW_ITEMS // max(1, len(words)))

    def fill(job: int) -> None:
        part = slice(job * rows, (job + 1) * rows)
        kernels.distance_rows(query_words[part], words, result[part])

    run_jobs(fill, -(-len(queries) // rows), threads_for(len(queries) * words.size))
    return result


def nearest(queries: NDArray[np.uint8], database: NDArray[np.uint8], k: int) -> Neighbors:
    """Return the k codes of the database that are nearest to each query; ties go to the lower row.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n_queries, bytes)
        Packed codes; padding bits are 0.
    database : ndarray of uint8, shape (n, bytes)
        Packed codes of the same width; may be a memory map.
    k : int
        From 1 to n.

    Returns
    -------
    Neighbors
        Rows of the database as ids, and int32 distances; both (n_queries, k).

    Raises
    ------
    TypeError
        If the codes are not uint8, or k is not a whole number.
    ValueError
        If the codes are not of one width, or k is out of range.

    Examples
    --------
    >>> found = nearest(np.array([[0b11]], dtype=np.uint8), np.array([[0], [1], [2]], dtype=np.uint8), k=2)
    >>> found.ids, found.distances
    (array([[1, 2]]), array([[1, 1]], dtype=int32))
    """
    _check_widths(queries, database)
    k = check_integer(k, "k", low=1, high=max(len(database), 1))
    scan = NearestScan(queries, k)
    scan.add(database)
    return scan.finish()


def within(queries: NDArray[np.uint8], database: NDArray[np.uint8], radius: int) -> RadiusNeighbors:
    """Return all codes of the database within a Hamming distance of each query, nearest first.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n_queries, bytes)
        Packed codes; padding bits are 0.
    database : ndarray of uint8, shape (n, bytes)
        Packed codes of the same width; may be a memory map.
    radius : int
        The largest distance, in bits, that counts; from 0.

    Returns
    -------
    RadiusNeighbors
        Rows of the database as ids, and int32 distances.

    Raises
    ------
    TypeError
        If the codes are not uint8, or the radius is not a whole number.
    ValueError
        If the codes are not of one width, or the radius is negative.

    Examples
    --------
    >>> found = within(np.array([[0b11]], dtype=np.uint8), np.array([[0], [1], [3]], dtype=np.uint8), radius=1)
    >>> found[0].ids, found[0].distances
    (array([2, 1]), array([0, 1], dtype=int32))
    """
    _check_widths(queries, database)
    scan = RadiusScan(queries, check_integer(radius, "radius", low=0))
    scan.add(database)
    return scan.finish()


class NearestScan:
    """The k nearest of each query over databases given one after another, such as the segments of an index.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n_queries, bytes)
        Packed codes.
    k : int
        How many; the databases must hold as many living items in all by the time of `finish`.
    """

    def __init__(self, queries: NDArray[np.uint8], k: int) -> None:
        n, width = queries.shape
        self._queries = as_words(queries)
        self._nearest = NearestSoFar(n, k, np.int32)
        # No item at or beyond its limit can still be among a query's k nearest.
        self._limits = np.full(n, 8 * width + 1, np.int64)

    def add(
        self,
        database: NDArray[np.uint8],
        ids: NDArray[np.int64] | None = None,
        alive: NDArray[np.bool_] | None = None,
    ) -> None:
        """Scan a database. Its items have these rising ids (default: the row); only those that are alive count."""
        n, width = database.shape
        rows = max(1, _CHUNK_BYTES // width)
        for start in range(0, n, rows):
            positions, found = self._scan(
                as_words(database[start : start + rows]),
                _ALL_ALIVE if alive is None else alive[start : start + rows],
            )
            part_ids = positions + start if ids is None else ids[start : start + rows][positions]
            self._nearest.merge(np.where(positions < 0, -1, part_ids), found)
            farthest = self._nearest.farthest()
            if farthest is not None:
                # A later item may tie with the farthest kept and have the lower id.
                np.minimum(self._limits, farthest.astype(np.int64) + 1, out=self._limits)

    def _scan(self, words: NDArray[np.uint64], alive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the nearest rows of one chunk: positions (-1 where fewer were near enough) and distances."""
        n, k = len(self._queries), min(self._nearest.k, len(words))
        group = max(1, min(_GROUP, _GROUP_ITEMS // (2 * k)))
        threads = threads_for(n * words.size)
        groups, parts = _shares(n, group, threads)
        positions = np.full((n, parts, k), -1, np.int64)
        found = np.full((n, parts, k), np.iinfo(np.int32).max, np.int32)

        def scan(job: int) -> None:
            some, part = slice(job // parts * group, (job // parts + 1) * group), job % parts
            some_queries, limits = self._queries[some], self._limits[some]
            low, high = _part(part, parts, len(words))
            kernels.scan_nearest(
                some_queries, words, alive, limits, low, high, positions[some, part], found[some, part]
            )

        run_jobs(scan, groups * parts, threads)
        return positions.reshape(n, parts * k), found.reshape(n, parts * k)

    def finish(self) -> Neighbors:
        """Return the k nearest items of each query, sorted by distance and id."""
        return self._nearest.finish()


class RadiusScan:
    """All items within a radius of each query over databases given one after another.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n_queries, bytes)
        Packed codes.
    radius : int
        The largest distance that counts.
    """

    def __init__(self, queries: NDArray[np.uint8], radius: int) -> None:
        self._queries, self._radius = as_words(queries), radius
        self._found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]] = []

    def add(
        self,
        database: NDArray[np.uint8],
        ids: NDArray[np.int64] | None = None,
        alive: NDArray[np.bool_] | None = None,
    ) -> None:
        """Scan a database. Its items have these ids (default: the row); only those that are alive count."""
        n, width = database.shape
        rows = max(1, _CHUNK_BYTES // width)
        for start in range(0, n, rows):
            owners, positions, near = self._scan(
                as_words(database[start : start + rows]),
                _ALL_ALIVE if alive is None else alive[start : start + rows],
            )
            part_ids = positions + start if ids is None else ids[start : start + rows][positions]
            self._found.append((owners, part_ids, near))

    def _scan(
        self, words: NDArray[np.uint64], alive: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Return the query, the position and the distance of each item of one chunk within the radius of a query."""
        threads = threads_for(len(self._queries) * words.size)
        groups, parts = _shares(len(self._queries), _GROUP, threads)

        def scan(job: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
            first, (low, high) = job // parts * _GROUP, _part(job % parts, parts, len(words))
            some = self._queries[first : first + _GROUP]
            owners, rows, near = kernels.scan_within(some, words, alive, self._radius, low, high)
            return owners + first, rows, near

        nothing = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32)
        owners, rows, near = zip(nothing, *run_jobs(scan, groups * parts, threads), strict=True)
        return np.concatenate(owners), np.concatenate(rows), np.concatenate(near)

    def finish(self) -> RadiusNeighbors:
        """Return what was found, sorted by distance and id."""
        n = len(self._queries)
        if not self._found:
            return RadiusNeighbors(np.zeros(n + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))
        queries, ids, found = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        order = np.lexsort((ids, found, queries))
        offsets = np.concatenate([[0], np.bincount(queries, minlength=n).cumsum()]).astype(np.int64)
        return RadiusNeighbors(offsets, ids[order], found[order])


def _shares(n_queries: int, group: int, threads: int) -> tuple[int, int]:
    """Return into how many groups the queries, and into how many parts the rows are shared out.

    Few queries share the rows out among the threads; many are shared out themselves.
    """
    groups = -(-n_queries // group)
    return groups, 1 if groups >= 4 * threads else threads


def _part(part: int, parts: int, n: int) -> tuple[int, int]:
    """Return the first row of a part, and the first after it."""
    return part * n // parts, (part + 1) * n // parts


def _check_widths(queries: object, database: object) -> None:
    """Refuse what is not two arrays of packed codes of one width."""
    widths = []
    for name, codes in (("queries", queries), ("database", database)):
        if not isinstance(codes, np.ndarray) or codes.dtype != np.uint8:
            raise TypeError(f"{name} must be packed codes of dtype uint8; got {describe(codes)}: use pack_bits")
        if codes.ndim != 2 or codes.shape[1] == 0:
            raise ValueError(f"{name} must have shape (n, bytes); got {codes.shape}")
        widths.append(codes.shape[1])
    if widths[0] != widths[1]:
        raise ValueError(
            f"queries have {widths[0]} bytes and database {widths[1]}: only codes of one length can be compared"
        )
