"""The compiled loops of `h2q.retrieval.hamming`, over codes as 64-bit words; ids are rows here."""

from typing import Any

import numpy as np
from numba import njit, prange

from h2q.retrieval.popcount import popcount

__all__ = ["collect_within", "count_within", "distance_rows", "scan_nearest"]

_BLOCK = 64
_TILE_WORDS = 2048  # 16 KiB: half of a first-level cache
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def distance(query: Any, words: Any, i: int) -> int:
    """Return the Hamming distance of row i."""
    total = 0
    for word in range(len(query)):
        total += popcount(query[word] ^ words[i, word])
    return total


@njit(parallel=True, **_OPTIONS)  # type: ignore[untyped-decorator]
def distance_rows(queries: Any, words: Any, result: Any) -> None:
    """Fill result (n_queries, n) with all distances."""
    for q in prange(len(queries)):
        for i in range(len(words)):
            result[q, i] = distance(queries[q], words, i)


@njit(parallel=True, **_OPTIONS)  # type: ignore[untyped-decorator]
def scan_nearest(queries: Any, words: Any, alive: Any, limits: Any, group: int, positions: Any, distances: Any) -> None:
    """Fill positions and distances (n_queries, parts, k) with the nearest rows of each part, sorted.

    Only rows below a query's limit count; places left over keep what they held. An empty `alive` means all.
    """
    n_queries, parts, k = positions.shape
    n, n_words = words.shape
    groups = (n_queries + group - 1) // group
    length = max(_BLOCK, _TILE_WORDS // n_words // _BLOCK * _BLOCK)
    # A block may add as many candidates as it has items after the last look at the room left.
    capacity = 2 * k + _BLOCK
    for job in prange(groups * parts):
        part, first = job % parts, job // parts * group
        last = min(n_queries, first + group)
        low, high = part * n // parts, (part + 1) * n // parts
        planes = np.zeros((n_words, length), np.uint64)
        sums = np.empty(_BLOCK, np.int64)
        smallest = np.empty(length // _BLOCK, np.int64)
        counts = np.zeros((group, 64 * n_words + 2), np.int64)
        near = np.empty((group, capacity), np.int32)
        rows = np.empty((group, capacity), np.int64)
        # Per query: candidates held, how many of them are below the limit, the limit.
        state = np.zeros((group, 3), np.int64)
        for q in range(first, last):
            state[q - first, 2] = limits[q]
        for start in range(low, high, length):
            end = min(high, start + length)
            for word in range(n_words):
                plane, column = planes[word], words[start:end, word]
                for i in range(len(column)):
                    plane[i] = column[i]
            for q in range(first, last):
                g = q - first
                _block_minima(queries[q], planes, sums, smallest)
                for block in range((end - start + _BLOCK - 1) // _BLOCK):
                    if smallest[block] < state[g, 2]:
                        block_start = start + block * _BLOCK
                        block_end = min(end, block_start + _BLOCK)
                        _accept(
                            queries[q], words, block_start, block_end, alive, k, counts[g], near[g], rows[g], state[g]
                        )
        for q in range(first, last):
            g = q - first
            held = _keep_nearest(k, near[g], rows[g], state[g])
            _write_sorted(held, near[g], rows[g], counts[g], positions[q, part], distances[q, part])


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _block_minima(query: Any, planes: Any, sums: Any, smallest: Any) -> None:
    """Find the smallest distance of each block of a tile; a short tile's tail holds older codes, which is harmless."""
    blocks = planes.reshape(len(planes), -1, _BLOCK)
    last = len(planes) - 1
    first_word, last_word = query[0], query[last]
    for block in range(len(smallest)):
        least = np.int64(1 << 30)
        if last == 0:
            for i in range(_BLOCK):
                least = min(least, popcount(first_word ^ blocks[0, block, i]))
        else:
            for i in range(_BLOCK):
                sums[i] = popcount(first_word ^ blocks[0, block, i])
            for plane in range(1, last):
                word = query[plane]
                for i in range(_BLOCK):
                    sums[i] += popcount(word ^ blocks[plane, block, i])
            for i in range(_BLOCK):
                least = min(least, sums[i] + popcount(last_word ^ blocks[last, block, i]))
        smallest[block] = least


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _accept(
    query: Any, words: Any, start: int, end: int, alive: Any, k: int, counts: Any, near: Any, rows: Any, state: Any
) -> None:
    """Hold the rows of a block that are below the limit, and lower the limit as far as they allow."""
    held, below, limit = state[0], state[1], state[2]
    for i in range(start, end):
        d = distance(query, words, i)
        if d < limit and (len(alive) == 0 or alive[i]):
            near[held], rows[held] = d, i
            held += 1
            counts[d] += 1
            below += 1
            # With k rows below it, a later row just below the limit can no longer come in: ties go to the lower row.
            while below >= k:
                limit -= 1
                below -= counts[limit]
    state[0], state[1], state[2] = held, below, limit
    if held >= len(near) - _BLOCK:
        state[0] = _keep_nearest(k, near, rows, state)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _keep_nearest(k: int, near: Any, rows: Any, state: Any) -> int:
    """Drop all but the k nearest candidates, in the order of their rows; return how many are left."""
    held, below, limit = state[0], state[1], state[2]
    room, kept = k - below, 0
    for i in range(held):
        if near[i] < limit or (near[i] == limit and room > 0):
            room -= near[i] == limit
            near[kept], rows[kept] = near[i], rows[i]
            kept += 1
    return kept


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _write_sorted(held: int, near: Any, rows: Any, counts: Any, positions: Any, distances: Any) -> None:
    """Write candidates by distance, those of one distance in the order of their rows: a counting sort."""
    counts[:] = 0
    for i in range(held):
        counts[near[i] + 1] += 1
    for d in range(1, len(counts)):
        counts[d] += counts[d - 1]
    for i in range(held):
        place = counts[near[i]]
        positions[place], distances[place] = rows[i], near[i]
        counts[near[i]] += 1


@njit(parallel=True, **_OPTIONS)  # type: ignore[untyped-decorator]
def count_within(queries: Any, words: Any, alive: Any, radius: int, counts: Any) -> None:
    """Fill counts (n_queries, parts) with the rows of each part within the radius."""
    n_queries, parts = counts.shape
    for job in prange(n_queries * parts):
        q, part = job // parts, job % parts
        total = 0
        for i in range(part * len(words) // parts, (part + 1) * len(words) // parts):
            if distance(queries[q], words, i) <= radius and (len(alive) == 0 or alive[i]):
                total += 1
        counts[q, part] = total


@njit(parallel=True, **_OPTIONS)  # type: ignore[untyped-decorator]
def collect_within(
    queries: Any, words: Any, alive: Any, radius: int, starts: Any, positions: Any, distances: Any
) -> None:
    """Write the rows within the radius and their distances, each part from its start on."""
    n_queries, parts = starts.shape
    for job in prange(n_queries * parts):
        q, part = job // parts, job % parts
        place = starts[q, part]
        for i in range(part * len(words) // parts, (part + 1) * len(words) // parts):
            d = distance(queries[q], words, i)
            if d <= radius and (len(alive) == 0 or alive[i]):
                positions[place], distances[place] = i, d
                place += 1
