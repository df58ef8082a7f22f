"""Asymmetric search: queries as floats against packed codes, finer than the Hamming distance at no cost in memory.

A query is its weights w, the rotated embedding; a code is its signs b in {-1, +1}. The weighted Hamming distance is the
sum of abs(w_j) over the bits in which b differs from the sign of w. It is (|w|_1 - <w, b>) / 2, so ranking by it is
ranking by the inner product of query and code. With one byte more per item, which names a scale and an offset, the
distance is -(scale * <w, b> + offset).

The search is exact: weights rounded to a few bits give a lower bound of every distance from counts of bits, and the
codes that the bound does not rule out are measured with the weights themselves.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import bytes_per_code, check_integer
from h2q.errors import describe
from h2q.hamming.asymmetric_kernels import WeightedQueries, scan_asymmetric
from h2q.hamming.chunks import chunks_of
from h2q.hamming.neighbors import Neighbors
from h2q.hamming.selection import NearestSoFar
from h2q.hamming.threads import run_jobs, threads_for
from h2q.hamming.words import as_words, word_masks

__all__ = ["AsymmetricScan"]

_CHUNK_BYTES = 64 << 20  # scanned at a time, so that a job is short enough to interrupt
_GROUP = 32  # queries that share a tile
_PLANES = 4  # bits that weights are rounded to; more make the bound tighter and the counting longer
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
    chunk_bytes : int
        Bytes of a database that are scanned at a time: a search can be interrupted between two chunks.

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
        chunk_bytes: int = _CHUNK_BYTES,
    ) -> None:
        if not isinstance(queries, np.ndarray) or queries.dtype != np.float32:
            raise TypeError(f"queries must be rotated embeddings of dtype float32; got {describe(queries)}")
        if queries.ndim != 2 or queries.shape[1] == 0:
            raise ValueError(f"queries must have shape (n_queries, n_bits); got {queries.shape}")
        self._chunk_bytes = chunk_bytes
        self._queries, self._masks = queries, word_masks(queries.shape[1])
        self._nearest = NearestSoFar(len(queries), check_integer(k, "k", low=1), np.float32)
        self._has_scalars = scales is not None or offsets is not None
        self._scales, self._offsets = np.ones(256, np.float32), np.zeros(256, np.float32)
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
        for chunk in chunks_of(codes, alive, self._chunk_bytes, len(self._queries)):
            here = _NO_SCALARS if scalars is None else scalars[chunk.rows(np.arange(len(chunk.codes)))]
            positions, distances = self._scan(chunk.codes, chunk.alive, here)
            rows = chunk.rows(positions)
            self._nearest.merge(np.where(positions < 0, -1, rows if ids is None else ids[rows]), distances)

    def _scan(
        self, codes: NDArray[np.uint8], alive: NDArray[np.bool_], scalars: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the nearest rows of a chunk and their distances; row -1 where fewer are near enough."""
        n, k = len(self._queries), min(self._nearest.k, len(codes))
        threads = threads_for(n * codes.size)
        # Few queries split the rows among the threads; many are split themselves.
        groups = -(-n // _GROUP)
        parts = 1 if groups >= 4 * threads else threads
        rows = np.full((n, parts, k), -1, np.int64)
        distances = np.full((n, parts, k), np.inf, np.float32)
        farthest = self._nearest.farthest()
        if farthest is not None:
            # A later item may tie with the farthest kept and have the lower id.
            distances[:] = np.nextafter(farthest, np.float32(np.inf))[:, None, None]

        def scan(job: int) -> None:
            part, group = job % parts, slice(job // parts * _GROUP, (job // parts + 1) * _GROUP)
            low, high = part * len(codes) // parts, (part + 1) * len(codes) // parts
            queries = _weighted_queries(self._queries[group], self._scales, self._offsets, self._has_scalars)
            scan_asymmetric(
                queries, codes, alive, self._masks, scalars, self._scales, self._offsets, low, high, rows[group, part],
                distances[group, part],
            )  # fmt: skip

        run_jobs(scan, groups * parts, threads)
        return rows.reshape(n, parts * k), distances.reshape(n, parts * k)

    def finish(self) -> Neighbors:
        """Return the k nearest items of each query: int64 ids and float32 distances, sorted by distance and id."""
        return self._nearest.finish()


def _weighted_queries(
    weights: NDArray[np.float32], scales: NDArray[np.float32], offsets: NDArray[np.float32], has_scalars: bool
) -> WeightedQueries:
    """Return queries as the kernels need them."""
    n = len(weights)
    magnitudes, norms = np.abs(weights), np.abs(weights).sum(axis=1)
    levels, steps = _rounded(magnitudes)
    # Where the rounded weight is the greater one, a code that differs is nearer than it seems by up to this much.
    errors = np.minimum(magnitudes - steps[:, None] * levels, 0).sum(axis=1)
    planes = [_bit_words(levels >> plane & 1) for plane in range(_PLANES - 1, -1, -1)]
    multiplier = np.float32(2 if has_scalars else 1)
    constants = -norms if has_scalars else np.zeros(n, np.float32)
    slacks = np.float32(1e-5) * (2 * scales.max() * norms + np.abs(offsets).max())
    return WeightedQueries(
        signs=_bit_words(weights > 0),
        weights=np.ascontiguousarray(np.stack(planes, axis=1)),
        tables=_tables(weights),
        multipliers=np.full(n, multiplier),
        constants=constants,
        factors=multiplier * steps,
        shifts=multiplier * errors + constants,
        slacks=slacks.astype(np.float32),
    )


def _rounded(magnitudes: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return weights as whole multiples, below 2**_PLANES, of a step of each query, and the steps."""
    highest = 2**_PLANES - 1
    # A few large weights may be cut off for a finer step; the bound stays valid, since it takes in every error.
    peaks = np.maximum(magnitudes.max(axis=1), np.finfo(np.float32).tiny)
    sizes = np.sqrt(np.square(magnitudes / peaks[:, None]).mean(axis=1))  # relative: squares could overflow
    steps = np.maximum(peaks * np.minimum(2.5 * sizes, 1) / highest, np.finfo(np.float32).tiny)
    return np.minimum(np.rint(magnitudes / steps[:, None]), highest).astype(np.int64), steps


def _bit_words(bits: NDArray[Any]) -> NDArray[np.uint64]:
    """Return rows of bits as 64-bit words."""
    return np.ascontiguousarray(as_words(np.packbits(bits.astype(np.bool_), axis=1)))


def _tables(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what each four bits of a code's words add to the weighted Hamming distance, for each value they may have.

    >>> tables = _tables(np.array([[1.0, -0.5]], dtype=np.float32))
    >>> tables.shape, tables[0, 1, [0b0000, 0b1000, 0b1100]]
    ((1, 16, 16), array([1. , 0. , 0.5], dtype=float32))
    """
    n, n_bits = weights.shape
    padded = np.zeros((n, -(-n_bits // 64) * 64), np.float32)
    padded[:, :n_bits] = weights
    values = np.unpackbits(np.arange(16, dtype=np.uint8)[:, None], axis=1)[:, 4:].astype(np.float32)
    # The first four bits of a byte are its higher ones. abs(w) where value and sign differ: w where the value is 0 and
    # w > 0, -w where it is 1 and w <= 0.
    pieces = padded.reshape(n, -1, 2, 4)[:, :, ::-1].reshape(n, -1, 4)
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
