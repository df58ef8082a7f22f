"""The compiled loops of `h2q.hamming.asymmetric`; ids are rows here.

The query's weights are rounded to a few bits, so that a lower bound of the distance comes from counts of bits, 64 codes
at a time. Only codes whose bound is not above the k-th smallest distance so far are measured exactly.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from h2q.hamming.kernels import block_slots, fill_tile, tile_length
from h2q.hamming.vectors import BLOCK, weighted_below
from h2q.hamming.words import lowest_bit

__all__ = ["WeightedQueries", "scan_asymmetric"]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_INLINE: dict[str, Any] = {**_OPTIONS, "forceinline": True}


class WeightedQueries(NamedTuple):
    """Queries as the kernels need them.

    signs : uint64 (n_queries, n_words), the queries' own codes.
    weights : uint64 (n_queries, n_planes, n_words), the bits of the rounded weights, highest first.
    tables : float32 (n_queries, 16 n_words, 16), what each value of each four bits of a code's words adds to the sum D
        of abs(w_j) over the bits in which the code differs.
    multipliers, constants : float32 (n_queries,), the distance is ``scale * (multiplier * D + constant) - offset``.
    factors, shifts : float32 (n_queries,), the same for the rounded D, as a lower bound.
    slacks : float32 (n_queries,), more than the rounding errors of both.
    """

    signs: Any
    weights: Any
    tables: Any
    multipliers: Any
    constants: Any
    factors: Any
    shifts: Any
    slacks: Any


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def scan_asymmetric(
    queries: Any, codes: Any, alive: Any, masks: Any, scalars: Any, scales: Any, offsets: Any, low: int, high: int,
    nearest_rows: Any, distances: Any,
) -> None:  # fmt: skip
    """Keep the nearest of the rows low to high in nearest_rows and distances (n_queries, k), unsorted.

    Only rows nearer than the distances that are there displace them. Without scalars, scales[0] and offsets[0] hold.
    """
    n_words = queries.signs.shape[1]
    length = tile_length(n_words)
    rows, planes = np.empty(length, np.int64), np.zeros((len(masks), length), np.uint64)
    tile_scales, tile_offsets = np.full(length, scales[0]), np.full(length, offsets[0])
    end = low
    while end < high:
        count, end = fill_tile(codes, alive, masks, n_words, end, high, rows, planes)
        if len(scalars) > 0:
            for slot in range(count):
                scalar = scalars[rows[slot]]
                tile_scales[slot], tile_offsets[slot] = scales[scalar], offsets[scalar]
        for q in range(len(distances)):
            for start in range(0, count, BLOCK):
                candidates = weighted_below(
                    queries.signs[q], queries.weights[q], planes, start, tile_scales, tile_offsets, queries.factors[q],
                    queries.shifts[q], distances[q, 0] + queries.slacks[q],
                )  # fmt: skip
                candidates &= block_slots(count, start)
                while candidates:
                    slot = start + lowest_bit(candidates)
                    candidates &= candidates - np.uint64(1)
                    differing = _weighted_distance(queries.tables[q], planes, n_words, slot)
                    distance = queries.multipliers[q] * differing + queries.constants[q]
                    distance = tile_scales[slot] * distance - tile_offsets[slot]
                    # Rows rise, so one at the distance of the farthest kept cannot displace it.
                    if distance < distances[q, 0]:
                        _displace(nearest_rows[q], distances[q], rows[slot], distance)


@njit(**_INLINE)  # type: ignore[untyped-decorator]
def _weighted_distance(tables: Any, planes: Any, n_words: int, slot: int) -> Any:
    """Return the sum of the weights of the bits in which the code in a slot differs from the query."""
    total = np.float32(0)
    for word in range(n_words):
        bits, part = planes[word, slot], np.float32(0)
        for piece in range(16):
            part += tables[16 * word + piece, bits & np.uint64(15)]
            bits >>= np.uint64(4)
        total += part
    return total


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _displace(rows: Any, distances: Any, row: int, distance: Any) -> None:
    """Put a row in place of the root of a heap: the farthest kept, of these the highest row."""
    k, parent = len(rows), 0
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
    distances[parent], rows[parent] = distance, row
