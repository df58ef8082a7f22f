"""The compiled loops of `h2q.hamming.scans`, over codes as 64-bit words; ids are rows here."""

from typing import Any

import numpy as np
from numba import njit

from h2q.hamming.words import popcount

__all__ = ["distance_rows", "scan_nearest", "scan_within"]

_BLOCK = 64
_TILE_WORDS = 2048  # 16 KiB: half of a first-level cache
# A tile is laid out word by word where its queries are at least as many as the words of a code: for fewer, that costs
# more than it saves.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def distance(query: Any, words: Any, i: int) -> int:
    """Return the Hamming distance of row i."""
    total = 0
    for word in range(len(query)):
        total += popcount(query[word] ^ words[i, word])
    return total


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def distance_rows(queries: Any, words: Any, result: Any) -> None:
    """Fill result (n_queries, n) with all distances."""
    for q in range(len(queries)):
        for i in range(len(words)):
            result[q, i] = distance(queries[q], words, i)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _tile_length(n_words: int) -> int:
    """Return the rows of a tile: whole blocks."""
    return max(_BLOCK, _TILE_WORDS // n_words // _BLOCK * _BLOCK)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _fill_planes(words: Any, start: int, end: int, planes: Any) -> None:
    """Lay rows start to end out word by word."""
    for word in range(len(planes)):
        plane, column = planes[word], words[start:end, word]
        for i in range(len(column)):
            plane[i] = column[i]


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def scan_nearest(
    queries: Any, words: Any, alive: Any, limits: Any, low: int, high: int, positions: Any, distances: Any
) -> None:
    """Fill positions and distances (n_queries, k) with the nearest of the rows low to high, sorted.

    Only rows below a query's limit count; places left over keep what they held. An empty `alive` means all.
    """
    n_queries, k = positions.shape
    n_words = words.shape[1]
    length = _tile_length(n_words)
    by_rows = n_queries < n_words
    # A block may add as many candidates as it has items after the last look at the room left.
    capacity = 2 * k + _BLOCK
    planes = np.zeros((n_words, length), np.uint64)
    sums = np.empty(_BLOCK, np.int64)
    smallest = np.empty(length // _BLOCK, np.int64)
    counts = np.zeros((n_queries, 64 * n_words + 2), np.int64)
    near = np.empty((n_queries, capacity), np.int32)
    rows = np.empty((n_queries, capacity), np.int64)
    # Per query: candidates held, how many of them are below the limit, the limit.
    state = np.zeros((n_queries, 3), np.int64)
    state[:, 2] = limits
    for start in range(low, high, length):
        end = min(high, start + length)
        if not by_rows:
            _fill_planes(words, start, end, planes)
        for q in range(n_queries):
            if by_rows:
                _row_minima(queries[q], words, start, end, smallest)
            else:
                _block_minima(queries[q], planes, sums, smallest)
            for block in range((end - start + _BLOCK - 1) // _BLOCK):
                if smallest[block] < state[q, 2]:
                    block_start = start + block * _BLOCK
                    block_end = min(end, block_start + _BLOCK)
                    _accept(queries[q], words, block_start, block_end, alive, k, counts[q], near[q], rows[q], state[q])
    for q in range(n_queries):
        held = _keep_nearest(k, near[q], rows[q], state[q])
        _write_sorted(held, near[q], rows[q], counts[q], positions[q], distances[q])


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
def _row_minima(query: Any, words: Any, start: int, end: int, smallest: Any) -> None:
    """Find the smallest distance of each block of the rows start to end, as they lie."""
    for block in range((end - start + _BLOCK - 1) // _BLOCK):
        least = np.int64(1 << 30)
        for i in range(start + block * _BLOCK, min(end, start + (block + 1) * _BLOCK)):
            least = min(least, distance(query, words, i))
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


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def scan_within(queries: Any, words: Any, alive: Any, radius: int, low: int, high: int) -> tuple[Any, Any, Any]:
    """Return the query, the row and the distance of each of the rows low to high within the radius of a query."""
    n_words = words.shape[1]
    length = _tile_length(n_words)
    by_rows = len(queries) < n_words
    planes = np.zeros((n_words, length), np.uint64)
    sums = np.empty(_BLOCK, np.int64)
    smallest = np.empty(length // _BLOCK, np.int64)
    held, room = 0, 1024
    owners, rows, near = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    for start in range(low, high, length):
        end = min(high, start + length)
        if not by_rows:
            _fill_planes(words, start, end, planes)
        for q in range(len(queries)):
            if by_rows:
                _row_minima(queries[q], words, start, end, smallest)
            else:
                _block_minima(queries[q], planes, sums, smallest)
            for block in range((end - start + _BLOCK - 1) // _BLOCK):
                if smallest[block] > radius:
                    continue
                if held + _BLOCK > room:
                    room *= 2
                    owners, rows, near = _longer(owners, room), _longer(rows, room), _longer(near, room)
                block_start = start + block * _BLOCK
                for i in range(block_start, min(end, block_start + _BLOCK)):
                    d = distance(queries[q], words, i)
                    if d <= radius and (len(alive) == 0 or alive[i]):
                        owners[held], rows[held], near[held] = q, i, d
                        held += 1
    return owners[:held], rows[:held], near[:held]


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _longer(array: Any, length: int) -> Any:
    """Return a longer array that begins with this one."""
    result = np.empty(length, array.dtype)
    result[: len(array)] = array
    return result
