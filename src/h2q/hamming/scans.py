"""Exact Hamming search over packed codes: distance rows, the k nearest, all within a radius.

A tile of the database that fits the first-level cache is laid out word by word and scanned by a group of queries.
Vector instructions find the smallest distance of each block of 64 items; only blocks with an item that is near enough
are looked at item by item. How near is near enough follows from counts of the items accepted so far at each distance,
without a heap.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe
from h2q.hamming import kernels
from h2q.hamming.chunks import chunks_of
from h2q.hamming.neighbors import Neighbors, RadiusNeighbors
from h2q.hamming.selection import NearestSoFar
from h2q.hamming.threads import run_jobs, threads_for
from h2q.hamming.words import as_words, word_masks

__all__ = ["NearestScan", "RadiusScan", "distances", "nearest", "within"]

_CHUNK_BYTES = 64 << 20  # scanned at a time, so that a job is short enough to interrupt
_SMALLEST_GROUP, _LARGEST_GROUP = 32, 128  # queries that share a tile
_GROUP_ITEMS = 1 << 21  # candidates that a group may hold at once
_ROW_ITEMS = 1 << 20  # distances that one job fills in
_Hits: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]


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
    >>> neighbors = nearest(np.array([[0b11]], dtype=np.uint8), np.array([[0], [1], [2]], dtype=np.uint8), k=2)
    >>> neighbors.ids, neighbors.distances
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
    >>> neighbors = within(np.array([[0b11]], dtype=np.uint8), np.array([[0], [1], [3]], dtype=np.uint8), radius=1)
    >>> neighbors[0].ids, neighbors[0].distances
    (array([2, 1]), array([0, 1], dtype=int32))
    """
    _check_widths(queries, database)
    scan = RadiusScan(queries, check_integer(radius, "radius", low=0))
    scan.add(database)
    return scan.finish()


class NearestScan:
    """The k nearest items of each query over databases given one after another, such as the segments of an index.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n_queries, bytes)
        Packed codes.
    k : int
        Number of items to return; the databases must hold at least as many living items by the time of `finish`.
    n_bits : int, optional
        Compare only the first bits of the codes, as nested codes allow. Default: all.
    chunk_bytes : int
        Bytes of a database that are scanned at a time: a search can be interrupted between two chunks.

    Raises
    ------
    ValueError
        If n_bits is not from 1 to the bits of the codes.

    Examples
    --------
    >>> scan = NearestScan(np.array([[0b11000000]], dtype=np.uint8), k=1, n_bits=2)
    >>> scan.add(np.array([[0b10000000], [0b11111111]], dtype=np.uint8))
    >>> scan.finish().ids
    array([[1]])
    """

    def __init__(
        self, queries: NDArray[np.uint8], k: int, *, n_bits: int | None = None, chunk_bytes: int = _CHUNK_BYTES
    ) -> None:
        self._chunk_bytes = chunk_bytes
        self._queries, self._masks = _masked_words(queries, n_bits)
        n, n_words = self._queries.shape
        self._nearest = NearestSoFar(n, k, np.int32)
        # No item at or beyond its limit can still be among a query's k nearest.
        self._limits = np.full(n, 64 * n_words + 1, np.int64)

    def add(
        self,
        database: NDArray[np.uint8],
        ids: NDArray[np.int64] | None = None,
        alive: NDArray[np.bool_] | None = None,
    ) -> None:
        """Scan a database. Its items have these rising ids (default: the row); only those that are alive count."""
        for chunk in chunks_of(database, alive, self._chunk_bytes, len(self._queries)):
            positions, distances = self._scan(chunk.codes, chunk.alive)
            rows = chunk.rows(positions)
            chunk_ids = rows if ids is None else ids[rows]
            self._nearest.merge(np.where(positions < 0, -1, chunk_ids), distances)
            farthest = self._nearest.farthest()
            if farthest is not None:
                # A later item may tie with the farthest kept and have the lower id.
                np.minimum(self._limits, farthest.astype(np.int64) + 1, out=self._limits)

    def _scan(self, codes: NDArray[np.uint8], alive: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the nearest rows of a chunk: positions (-1 where fewer were near enough) and distances."""
        n, k = len(self._queries), min(self._nearest.k, len(codes))
        threads = threads_for(n * len(codes) * self._queries.shape[1])
        group, groups, parts = _shares(n, threads, most=max(1, _GROUP_ITEMS // (2 * k)))
        positions = np.full((n, parts, k), -1, np.int64)
        distances = np.full((n, parts, k), np.iinfo(np.int32).max, np.int32)

        def scan(job: int) -> None:
            some, part = slice(job // parts * group, (job // parts + 1) * group), job % parts
            low, high = _part(part, parts, len(codes))
            kernels.scan_nearest(
                self._queries[some], codes, alive, self._masks, self._limits[some], low, high, positions[some, part],
                distances[some, part],
            )  # fmt: skip

        run_jobs(scan, groups * parts, threads)
        return positions.reshape(n, parts * k), distances.reshape(n, parts * k)

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
    n_bits : int, optional
        Compare only the first bits of the codes, as nested codes allow. Default: all.
    chunk_bytes : int
        Bytes of a database that are scanned at a time: a search can be interrupted between two chunks.

    Raises
    ------
    ValueError
        If n_bits is not from 1 to the bits of the codes.

    Examples
    --------
    >>> scan = RadiusScan(np.array([[0b11000000]], dtype=np.uint8), radius=1, n_bits=2)
    >>> scan.add(np.array([[0b10000000], [0b00111111]], dtype=np.uint8))
    >>> scan.finish().ids
    array([0])
    """

    def __init__(
        self, queries: NDArray[np.uint8], radius: int, *, n_bits: int | None = None, chunk_bytes: int = _CHUNK_BYTES
    ) -> None:
        self._chunk_bytes = chunk_bytes
        self._queries, self._masks = _masked_words(queries, n_bits)
        self._radius = min(radius, 64 * self._queries.shape[1])
        self._hits: list[_Hits] = []

    def add(
        self,
        database: NDArray[np.uint8],
        ids: NDArray[np.int64] | None = None,
        alive: NDArray[np.bool_] | None = None,
    ) -> None:
        """Scan a database. Its items have these ids (default: the row); only those that are alive count."""
        for chunk in chunks_of(database, alive, self._chunk_bytes, len(self._queries)):
            for owners, positions, distances in self._scan(chunk.codes, chunk.alive):
                rows = chunk.rows(positions)
                self._hits.append((owners, rows if ids is None else ids[rows], distances))

    def _scan(self, codes: NDArray[np.uint8], alive: NDArray[np.bool_]) -> list[_Hits]:
        """Return the query, the position and the distance of each item of a chunk within the radius of a query."""
        n = len(self._queries)
        threads = threads_for(n * len(codes) * self._queries.shape[1])
        group, groups, parts = _shares(n, threads, most=_LARGEST_GROUP)

        def scan(job: int) -> _Hits:
            first, (low, high) = job // parts * group, _part(job % parts, parts, len(codes))
            owners, positions, distances = kernels.scan_within(
                self._queries[first : first + group], codes, alive, self._masks, self._radius, low, high
            )
            return owners + first, positions, distances

        return run_jobs(scan, groups * parts, threads)

    def finish(self) -> RadiusNeighbors:
        """Return the items within the radius of each query, sorted by distance and id."""
        n = len(self._queries)
        if not self._hits:
            return RadiusNeighbors(np.zeros(n + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int32))
        owners, ids, distances = (np.concatenate(parts) for parts in zip(*self._hits, strict=True))
        order = np.lexsort((ids, distances, owners))
        offsets = np.concatenate([[0], np.bincount(owners, minlength=n).cumsum()]).astype(np.int64)
        return RadiusNeighbors(offsets, ids[order], distances[order])


def _masked_words(queries: NDArray[np.uint8], n_bits: int | None) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the first bits of the queries as words, and the mask of these bits, with zeros up to eight words."""
    n_bits = check_integer(
        8 * queries.shape[1] if n_bits is None else n_bits, "n_bits", low=1, high=8 * queries.shape[1]
    )
    n_words = -(-n_bits // 64)
    masks = word_masks(n_bits)
    return as_words(queries)[:, :n_words] & masks[:n_words], masks


def _shares(n_queries: int, threads: int, *, most: int) -> tuple[int, int, int]:
    """Return the queries of a group (at most `most`), the number of groups, and of parts that rows are split into.

    Few queries split the rows among the threads; many are split themselves.
    """
    group = max(1, min(most, max(_SMALLEST_GROUP, min(_LARGEST_GROUP, n_queries // (4 * threads)))))
    groups = -(-n_queries // group)
    return group, groups, 1 if groups >= 4 * threads else threads


def _part(part: int, parts: int, n: int) -> tuple[int, int]:
    """Return the first row of a part, and the first row after it."""
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
