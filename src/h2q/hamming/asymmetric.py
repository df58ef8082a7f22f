"""Asymmetric search: a float query against codes, finer than the Hamming distance at no cost in memory.

The distance is the weighted Hamming distance, the sum of abs(z_j) over the bits j in which a code differs from the
query's own, where z is the rotated query. With all abs(z_j) = 1 it is the Hamming distance; and since it is
(|z|_1 - z . s) / 2 for a code of signs s, ranking by it is ranking by the inner product of query and code.
"""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2q.hamming.threads import run_jobs, threads_for

__all__ = ["byte_tables", "nearest_asymmetric"]

_JOB_BYTES = 1 << 26  # looked up in a tenth of a second


def byte_tables(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return, for each byte of a code and each value it may have, what it adds to the distance.

    Parameters
    ----------
    rotated : ndarray of float32, shape (n_queries, n_bits)
        Rotated queries.

    Returns
    -------
    ndarray of float32, shape (n_queries, ceil(n_bits / 8), 256)
        Entry [q, b, v] is the sum of abs(z_j) over the bits of byte b in which v differs from the query's code.

    Examples
    --------
    >>> tables = byte_tables(np.array([[1.0, -0.5]], dtype=np.float32))
    >>> tables[0, 0, [0b00000000, 0b10000000, 0b11000000]]
    array([1. , 0. , 0.5], dtype=float32)
    """
    n, n_bits = rotated.shape
    padded = np.zeros((n, -(-n_bits // 8) * 8), np.float32)
    padded[:, :n_bits] = rotated
    values = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)
    # abs(z) where value and sign differ: z where the value is 0 and z > 0, -z where it is 1 and z <= 0.
    pieces = padded.reshape(n, padded.shape[1] // 8, 8)
    return np.asarray(np.maximum(pieces, 0) @ (1 - values).T + np.maximum(-pieces, 0) @ values.T, np.float32)


def nearest_asymmetric(
    tables: NDArray[np.float32], codes: NDArray[np.uint8], alive: NDArray[np.bool_], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the k nearest codes of each query by the tables' distance; ties go to the lower row.

    Parameters
    ----------
    tables : ndarray of float32, shape (n_queries, bytes, 256)
        See `byte_tables`.
    codes : ndarray of uint8, shape (n, bytes)
        Packed codes.
    alive : ndarray of bool, shape (n,) or (0,)
        Which rows count; empty: all.
    k : int
        At most n.

    Returns
    -------
    rows : ndarray of int64, shape (n_queries, k)
        Sorted by distance and row; -1 where fewer rows are alive.
    distances : ndarray of float32, shape (n_queries, k)
        Infinity where fewer rows are alive.
    """
    n = len(tables)
    threads = threads_for(n * codes.size)
    # Few queries share the rows out among the threads; many are shared out themselves. Short jobs can be interrupted.
    parts = max(threads if n < 4 * threads else 1, -(-codes.size // _JOB_BYTES))
    rows = np.full((n, parts, k), -1, np.int64)
    distances = np.full((n, parts, k), np.inf, np.float32)

    def scan(job: int) -> None:
        q, part = job // parts, job % parts
        first, last = part * len(codes) // parts, (part + 1) * len(codes) // parts
        _scan(tables[q], codes[first:last], alive[first:last], first, rows[q, part], distances[q, part])

    run_jobs(scan, n * parts, threads)
    flat_rows, flat_distances = rows.reshape(n, parts * k), distances.reshape(n, parts * k)
    order = np.lexsort((flat_rows, flat_distances), axis=-1)[:, :k]
    return np.take_along_axis(flat_rows, order, 1), np.take_along_axis(flat_distances, order, 1)


@njit(cache=True, nogil=True, error_model="numpy")
def _scan(table: Any, codes: Any, alive: Any, first: int, kept: Any, near: Any) -> None:
    """Keep the nearest rows in a heap whose root is the farthest kept, of these the highest row."""
    k = len(kept)
    for i in range(len(codes)):
        distance = np.float32(0)
        for byte in range(codes.shape[1]):
            distance += table[byte, codes[i, byte]]
        # Rows rise, so one at the distance of the farthest kept cannot displace it.
        if distance >= near[0] or not (len(alive) == 0 or alive[i]):
            continue
        parent = 0
        while True:
            child = 2 * parent + 1
            if child >= k:
                break
            if child + 1 < k and (
                near[child + 1] > near[child] or (near[child + 1] == near[child] and kept[child + 1] > kept[child])
            ):
                child += 1
            # At one distance the new row is the highest, hence the farther.
            if near[child] <= distance:
                break
            near[parent], kept[parent] = near[child], kept[child]
            parent = child
        near[parent], kept[parent] = distance, first + i
