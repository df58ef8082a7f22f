"""Asymmetric search: queries as floats against packed codes, finer than the Hamming distance at no cost in memory.

A query is its weights w, the rotated embedding; a code is its signs b in {-1, +1}. The weighted Hamming distance is the
sum of abs(w_j) over the bits in which b differs from the sign of w. It is (|w|_1 - <w, b>) / 2, so ranking by it is
ranking by the inner product of query and code. With one byte more per item, which names a scale and an offset, the
distance is -(scale * <w, b> + offset).
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2q.checks import bytes_per_code, check_integer
from h2q.errors import describe
from h2q.hamming.neighbors import Neighbors
from h2q.hamming.selection import NearestSoFar
from h2q.hamming.threads import run_jobs, threads_for

__all__ = ["AsymmetricScan", "byte_tables"]

_JOB_BYTES = 1 << 26  # scanned by one job: a tenth of a second
_TABLE_BYTES = 1 << 26  # byte tables that are held at a time
_ALL_ALIVE = np.ones(0, np.bool_)
_NO_SCALARS = np.zeros(0, np.uint8)


class AsymmetricScan:
    """The k nearest items of each float query over databases given one after another, such as the segments of an index.

    Parameters
    ----------
    queries : ndarray of float32, shape (n_queries, n_bits)
        Weights w of each query: the rotated embedding.
    k : int
        Number of items to return; the databases must hold at least as many living items by the time of `finish`.
    scales, offsets : ndarray of float32, shape (256,), optional
        Scale and offset of an item by its scalar, the byte stored beside its code; scales are not negative. With these
        the distance of an item is ``-(scale * <w, b> + offset)``; without, it is the weighted Hamming distance.

    Raises
    ------
    TypeError
        If the queries are not float32, only one of the tables is given or is not float32, or k is not a whole number.
    ValueError
        If an array has the wrong shape, a table is not finite, or a scale is negative.

    Examples
    --------
    >>> codes = np.array([[0b10000000], [0b11000000]], dtype=np.uint8)
    >>> scan = AsymmetricScan(np.array([[1.0, -0.5]], dtype=np.float32), k=2)
    >>> scan.add(codes)
    >>> neighbors = scan.finish()
    >>> neighbors.ids, neighbors.distances
    (array([[0, 1]]), array([[0. , 0.5]], dtype=float32))
    """

    def __init__(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        scales: NDArray[np.float32] | None = None,
        offsets: NDArray[np.float32] | None = None,
    ) -> None:
        if not isinstance(queries, np.ndarray) or queries.dtype != np.float32:
            raise TypeError(f"queries must be rotated embeddings of dtype float32; got {describe(queries)}")
        if queries.ndim != 2 or queries.shape[1] == 0:
            raise ValueError(f"queries must have shape (n_queries, n_bits); got {queries.shape}")
        self._queries = queries
        self._nearest = NearestSoFar(len(queries), check_integer(k, "k", low=1), np.float32)
        self._has_scalars = scales is not None or offsets is not None
        self._scales, self._offsets = np.full(256, 0.5, np.float32), np.zeros(256, np.float32)
        if self._has_scalars:
            self._scales, self._offsets = _check_table(scales, "scales"), _check_table(offsets, "offsets")
            if self._scales.min() < 0:
                raise ValueError(f"scales must be at least 0; got {self._scales.min()}")

    def add(
        self,
        codes: NDArray[np.uint8],
        ids: NDArray[np.int64] | None = None,
        alive: NDArray[np.bool_] | None = None,
        scalars: NDArray[np.uint8] | None = None,
    ) -> None:
        """Scan a database.

        Parameters
        ----------
        codes : ndarray of uint8, shape (n, ceil(n_bits / 8))
            Packed codes; may be a memory map.
        ids : ndarray of int64, shape (n,), optional
            Rising ids of the items. Default: the rows.
        alive : ndarray of bool, shape (n,), optional
            Which items count. Default: all.
        scalars : ndarray of uint8, shape (n,), optional
            Scalar of each item; needed if, and only if, the scan has scales and offsets.

        Raises
        ------
        ValueError
            If the codes have another width than the queries, or scalars are missing or superfluous.
        """
        if codes.shape[1] != bytes_per_code(self._queries.shape[1]):
            raise ValueError(
                f"codes must have {bytes_per_code(self._queries.shape[1])} bytes, as queries of "
                f"{self._queries.shape[1]} bits need; got {codes.shape[1]}"
            )
        if (scalars is not None) != self._has_scalars:
            raise ValueError(
                "scalars are missing: the scan has scales and offsets"
                if self._has_scalars
                else "scalars need a scan with scales and offsets"
            )
        if codes.size == 0 or len(self._queries) == 0:
            return
        step = max(1, _TABLE_BYTES // (1024 * codes.shape[1]))
        parts = [
            self._scan(self._queries[start : start + step], codes, alive, scalars)
            for start in range(0, len(self._queries), step)
        ]
        rows, distances = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        self._nearest.merge(rows if ids is None else np.where(rows < 0, -1, ids[rows]), distances)

    def _scan(
        self,
        queries: NDArray[np.float32],
        codes: NDArray[np.uint8],
        alive: NDArray[np.bool_] | None,
        scalars: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the nearest rows of some queries and their distances; row -1 where fewer are alive."""
        n, k = len(queries), min(self._nearest.k, len(codes))
        tables = byte_tables(queries)
        # -(scale * <w, b> + offset) as a line over the weighted Hamming distance.
        slopes = 2 * self._scales
        intercepts = np.zeros((n, 256), np.float32)
        if self._has_scalars:
            intercepts = -(self._scales * np.abs(queries).sum(axis=1)[:, None] + self._offsets)
        alive, scalars = _ALL_ALIVE if alive is None else alive, _NO_SCALARS if scalars is None else scalars
        threads = threads_for(n * codes.size)
        # Few queries split the rows among the threads; many are split themselves. Short jobs can be interrupted.
        parts = max(threads if n < 4 * threads else 1, -(-codes.size // _JOB_BYTES))
        rows = np.full((n, parts, k), -1, np.int64)
        distances = np.full((n, parts, k), np.inf, np.float32)

        def scan(job: int) -> None:
            q, part = divmod(job, parts)
            low, high = part * len(codes) // parts, (part + 1) * len(codes) // parts
            some = slice(low, high)
            _scan_rows(
                tables[q], slopes, intercepts[q], codes[some], alive[some], scalars[some], low, rows[q, part],
                distances[q, part],
            )  # fmt: skip

        run_jobs(scan, n * parts, threads)
        return rows.reshape(n, parts * k), distances.reshape(n, parts * k)

    def finish(self) -> Neighbors:
        """Return the k nearest items of each query: int64 ids and float32 distances, sorted by distance and id."""
        return self._nearest.finish()


def byte_tables(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what each byte of a code adds to the weighted Hamming distance, for each value it may have.

    Parameters
    ----------
    weights : ndarray of float32, shape (n_queries, n_bits)
        Rotated queries.

    Returns
    -------
    ndarray of float32, shape (n_queries, ceil(n_bits / 8), 256)
        Entry [q, b, v] is the sum of abs(w_j) over the bits of byte b in which v differs from the query's code.

    Examples
    --------
    >>> tables = byte_tables(np.array([[1.0, -0.5]], dtype=np.float32))
    >>> tables[0, 0, [0b00000000, 0b10000000, 0b11000000]]
    array([1. , 0. , 0.5], dtype=float32)
    """
    n, n_bits = weights.shape
    padded = np.zeros((n, bytes_per_code(n_bits) * 8), np.float32)
    padded[:, :n_bits] = weights
    values = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)
    # abs(w) where value and sign differ: w where the value is 0 and w > 0, -w where it is 1 and w <= 0.
    pieces = padded.reshape(n, padded.shape[1] // 8, 8)
    return np.asarray(np.maximum(pieces, 0) @ (1 - values).T + np.maximum(-pieces, 0) @ values.T, np.float32)


def _check_table(table: object, name: str) -> NDArray[np.float32]:
    """Return a table of scales or offsets if it is one."""
    if not isinstance(table, np.ndarray) or table.dtype != np.float32:
        raise TypeError(
            f"{name} must be a float32 array, beside the other of scales and offsets; got {describe(table)}"
        )
    if table.shape != (256,):
        raise ValueError(f"{name} must have shape (256,), one entry for each scalar; got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{name} must be finite; entry {np.flatnonzero(~np.isfinite(table))[0]} is not")
    return table


@njit(cache=True, nogil=True, error_model="numpy")
def _scan_rows(
    table: Any, slopes: Any, intercepts: Any, codes: Any, alive: Any, scalars: Any, first: int, rows: Any,
    distances: Any,
) -> None:  # fmt: skip
    """Keep the nearest rows in a heap whose root is the farthest kept, of these the highest row."""
    k = len(rows)
    for i in range(len(codes)):
        scalar = scalars[i] if len(scalars) else np.uint8(0)
        distance = np.float32(0)
        for byte in range(codes.shape[1]):
            distance += table[byte, codes[i, byte]]
        distance = slopes[scalar] * distance + intercepts[scalar]
        # Rows rise, so one at the distance of the farthest kept cannot displace it.
        if distance >= distances[0] or not (len(alive) == 0 or alive[i]):
            continue
        parent = 0
        while True:
            child = 2 * parent + 1
            if child >= k:
                break
            if child + 1 < k and (
                distances[child + 1] > distances[child]
                or (distances[child + 1] == distances[child] and rows[child + 1] > rows[child])
            ):
                child += 1
            # At one distance the new row is the highest, hence the farther.
            if distances[child] <= distance:
                break
            distances[parent], rows[parent] = distances[child], rows[child]
            parent = child
        distances[parent], rows[parent] = distance, first + i
