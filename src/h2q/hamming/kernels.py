"""The compiled loops of `h2q.hamming.scans`; ids are rows here.

Packed codes come as they lie in memory or in a file, uint8 (n, bytes), with any number of bytes. A tile of them that
fits the first-level cache is laid out word by word, living rows only; queries are scanned against it one by one.
`masks` says which bits of each word of a code count; zeros follow, up to a multiple of eight words.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from h2q.hamming.vectors import BLOCK, any_below, below, lay_out_4, lay_out_8, load_word, rows_below_4, rows_below_8
from h2q.hamming.words import lowest_bit, popcount

__all__ = ["distance", "distance_rows", "fill_tile", "scan_nearest", "scan_within", "tile_length"]

_TILE_WORDS = 2048  # 16 KiB: half of a first-level cache
_FEW_QUERIES = 4  # up to which rows are scanned as they lie
_PASSED_OVER = 20  # rows for each one that counts, up to which they are
_SAMPLED = 61  # rows for each one that is looked at for this
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_INLINE: dict[str, Any] = {**_OPTIONS, "forceinline": True}  # else arrays are passed field by field, at every call


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
def tile_length(n_words: int) -> int:
    """Return the rows of a tile: whole blocks."""
    return max(BLOCK, _TILE_WORDS // n_words // BLOCK * BLOCK)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def fill_tile(
    codes: Any, alive: Any, masks: Any, n_words: int, start: int, high: int, rows: Any, planes: Any
) -> tuple[int, int]:
    """Lay out the living rows from `start`, and before `high`, as far as they fit.

    Fills rows (length,) with their row numbers and planes (n_words, length) with their words; returns their number, and
    the row after the last one looked at. An empty `alive` means all.
    """
    length = planes.shape[1]
    if len(alive) == 0:
        end = min(high, start + length)
        count = end - start
        for slot in range(count):
            rows[slot] = start + slot
    else:
        count, end = 0, start
        while end < high and count < length:
            rows[count] = end
            count += alive[end]
            end += 1
    for word in range(0, n_words, 8):
        _fill_planes(codes, masks, rows[:count], word, min(8, n_words - word), planes)
    return count, end


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _fill_planes(codes: Any, masks: Any, rows: Any, first: int, n_words: int, planes: Any) -> None:
    """Lay out up to eight words of some rows, from the word `first`."""
    width, slot = codes.shape[1], 0
    if n_words > 2:
        read = 4 if n_words <= 4 else 8
        # The vectors may read past the end of a code, but not past the end of the codes.
        last = (codes.size - 8 * (first + read)) // width
        while slot + 8 <= len(rows) and rows[slot + 7] <= last:
            if read == 4:
                lay_out_4(codes, rows, slot, first, masks, planes)
            else:
                lay_out_8(codes, rows, slot, first, masks, planes)
            slot += 8
    run = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
    for word in range(first, first + n_words):
        plane, mask = planes[word], masks[word]
        # The last bytes are read as the highest of the word that ends where the code ends.
        beyond = max(0, 8 * word + 8 - width)
        shift = np.uint64(8 * beyond)
        if width < 8:
            for i in range(slot, len(rows)):
                plane[i] = _short_word(codes, rows[i]) & mask
        elif run:
            place = (rows[0] + slot) * width + 8 * word - beyond
            for i in range(slot, len(rows)):
                plane[i] = (load_word(codes, place) >> shift) & mask
                place += width
        else:
            for i in range(slot, len(rows)):
                plane[i] = (load_word(codes, rows[i] * width + 8 * word - beyond) >> shift) & mask


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _short_word(codes: Any, row: int) -> Any:
    """Return a code of fewer than eight bytes as a word."""
    word = np.uint64(0)
    for byte in range(codes.shape[1]):
        word |= np.uint64(codes[row, byte]) << np.uint64(8 * byte)
    return word


@njit(**_INLINE)  # type: ignore[untyped-decorator]
def slot_distance(query: Any, planes: Any, slot: int) -> int:
    """Return the Hamming distance of the code in a slot of a tile."""
    total = 0
    for word in range(len(query)):
        total += popcount(query[word] ^ planes[word, slot])
    return total


@njit(**_INLINE)  # type: ignore[untyped-decorator]
def block_slots(count: int, start: int) -> Any:
    """Return the mask of the slots of a block that hold codes; a short tile's tail holds older ones."""
    return ~np.uint64(0) >> np.uint64(max(0, start + BLOCK - count))


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _are_few(alive: Any) -> bool:
    """Return whether so few rows count, by a sample, that laying them out costs less than scanning all."""
    count = 0
    for row in range(0, len(alive), _SAMPLED):
        count += alive[row]
    return len(alive) > 0 and count * _SAMPLED * _PASSED_OVER < len(alive)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _rows_in_place(n_queries: int, codes: Any, alive: Any, n_words: int, low: int, high: int) -> Any:
    """Return the end of the rows from `low` that are scanned as they lie: whole blocks, if there are few queries.

    Laying a tile out pays from a few queries on. The vectors may read past the end of a code, but not of the codes.
    """
    if n_queries > _FEW_QUERIES or _are_few(alive[low:high]):
        return low
    read = 32 if n_words <= 4 else (n_words + 7) // 8 * 64
    end = min(high, (codes.size - read) // codes.shape[1] + 1)
    return max(low, low + (end - low) // BLOCK * BLOCK)


@njit(**_INLINE)  # type: ignore[untyped-decorator]
def _rows_below(query: Any, masks: Any, codes: Any, n_words: int, row: int, limit: int) -> Any:
    """Return the mask of the 64 rows from `row` that are nearer to a query, padded like the masks, than the limit."""
    if n_words <= 4:
        return rows_below_4(query[:4], masks[:4], codes, row, limit)
    return rows_below_8(query, masks, codes, row, limit)


@njit(**_INLINE)  # type: ignore[untyped-decorator]
def _row_distance(query: Any, masks: Any, codes: Any, n_words: int, row: int) -> int:
    """Return the Hamming distance of a row that lies at least eight bytes before the end of the codes."""
    total = 0
    for word in range(n_words):
        total += popcount((load_word(codes, row * codes.shape[1] + 8 * word) & masks[word]) ^ query[word])
    return total


class _Candidates(NamedTuple):
    """Per query: the rows that may be among its k nearest.

    limits : (n_queries,), no row at or beyond its limit can be among them any more.
    held, below : (n_queries,), number of candidates, and of those below the limit.
    by_distance : (n_queries, n_bits + 2), number of candidates accepted at each distance.
    distances, rows : (n_queries, capacity), the candidates in the order of their rows.
    """

    limits: Any
    held: Any
    below: Any
    by_distance: Any
    distances: Any
    rows: Any


@njit(**_INLINE)  # type: ignore[untyped-decorator]
def _accept(candidates: Any, q: int, k: int, d: int, row: int) -> None:
    """Hold a row if it is below the limit of query q, and lower the limit as far as this allows."""
    limit = candidates.limits[q]
    if d >= limit:
        return
    held = candidates.held[q]
    candidates.distances[q, held], candidates.rows[q, held] = d, row
    candidates.held[q] = held + 1
    candidates.by_distance[q, d] += 1
    below = candidates.below[q] + 1
    # With k rows below it, a later row just below the limit can no longer come in: ties go to the lower row.
    while below >= k:
        limit -= 1
        below -= candidates.by_distance[q, limit]
    candidates.below[q], candidates.limits[q] = below, limit


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _keep_nearest(candidates: Any, q: int, k: int) -> None:
    """Drop all candidates of query q but those below the limit and the first ones at it, k in all."""
    limit, room, kept = candidates.limits[q], k - candidates.below[q], 0
    distances, rows = candidates.distances[q], candidates.rows[q]
    for i in range(candidates.held[q]):
        if distances[i] < limit or (distances[i] == limit and room > 0):
            room -= distances[i] == limit
            distances[kept], rows[kept] = distances[i], rows[i]
            kept += 1
    candidates.held[q] = kept


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def scan_nearest(
    queries: Any, codes: Any, alive: Any, masks: Any, limits: Any, low: int, high: int, positions: Any, distances: Any
) -> None:
    """Fill positions and distances (n_queries, k) with the nearest of the rows low to high, sorted.

    Only rows below a query's limit count; places left over keep what they held.
    """
    n_queries, k = positions.shape
    n_words = queries.shape[1]
    # A block may add as many candidates as it has rows after the last look at the room left.
    capacity = 2 * k + BLOCK
    candidates = _Candidates(
        limits.copy(),
        np.zeros(n_queries, np.int64),
        np.zeros(n_queries, np.int64),
        np.zeros((n_queries, 64 * n_words + 2), np.int64),
        np.empty((n_queries, capacity), np.int32),
        np.empty((n_queries, capacity), np.int64),
    )
    end = _rows_in_place(n_queries, codes, alive, n_words, low, high)
    if end > low:
        padded = np.zeros((n_queries, len(masks)), np.uint64)
        padded[:, :n_words] = queries
        for start in range(low, end, BLOCK):
            for q in range(n_queries):
                near = _rows_below(padded[q], masks, codes, n_words, start, candidates.limits[q])
                while near:
                    row = start + lowest_bit(near)
                    near &= near - np.uint64(1)
                    if len(alive) == 0 or alive[row]:
                        _accept(candidates, q, k, _row_distance(queries[q], masks, codes, n_words, row), row)
                if candidates.held[q] > capacity - BLOCK:
                    _keep_nearest(candidates, q, k)
    length = tile_length(n_words)
    rows, planes = np.empty(length, np.int64), np.zeros((len(masks), length), np.uint64)
    while end < high:
        count, end = fill_tile(codes, alive, masks, n_words, end, high, rows, planes)
        for q in range(n_queries):
            _scan_tile(queries[q], planes, rows, count, candidates, q, k)
    for q in range(n_queries):
        _keep_nearest(candidates, q, k)
        _write_sorted(candidates, q, positions[q], distances[q])


@njit(**_INLINE)  # type: ignore[untyped-decorator]
def _scan_tile(query: Any, planes: Any, rows: Any, count: int, candidates: Any, q: int, k: int) -> None:
    """Accept the rows of a tile that are below the limit of query q."""
    limit = candidates.limits[q]
    for start in range(0, count, BLOCK):
        if any_below(query, planes, start, limit):
            near = below(query, planes, start, limit) & block_slots(count, start)
            while near:
                slot = start + lowest_bit(near)
                near &= near - np.uint64(1)
                _accept(candidates, q, k, slot_distance(query, planes, slot), rows[slot])
            limit = candidates.limits[q]
            if candidates.held[q] > candidates.rows.shape[1] - BLOCK:
                _keep_nearest(candidates, q, k)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _write_sorted(candidates: Any, q: int, positions: Any, distances: Any) -> None:
    """Write the candidates of query q by distance, ties in the order of their rows: a counting sort."""
    places = candidates.by_distance[q]
    places[:] = 0
    for i in range(candidates.held[q]):
        places[candidates.distances[q, i] + 1] += 1
    for d in range(1, len(places)):
        places[d] += places[d - 1]
    for i in range(candidates.held[q]):
        d = candidates.distances[q, i]
        positions[places[d]], distances[places[d]] = candidates.rows[q, i], d
        places[d] += 1


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def scan_within(
    queries: Any, codes: Any, alive: Any, masks: Any, radius: int, low: int, high: int
) -> tuple[Any, Any, Any]:
    """Return the query, the row and the distance of each of the rows low to high within the radius of a query."""
    n_words = queries.shape[1]
    length = tile_length(n_words)
    rows, planes = np.empty(length, np.int64), np.zeros((len(masks), length), np.uint64)
    held, room = 0, 1024
    owners, near_rows, near = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int32)
    end = low
    while end < high:
        count, end = fill_tile(codes, alive, masks, n_words, end, high, rows, planes)
        for q in range(len(queries)):
            for start in range(0, count, BLOCK):
                if not any_below(queries[q], planes, start, radius + 1):
                    continue
                if held + BLOCK > room:
                    room *= 2
                    owners, near_rows, near = _longer(owners, room), _longer(near_rows, room), _longer(near, room)
                hits = below(queries[q], planes, start, radius + 1) & block_slots(count, start)
                while hits:
                    slot = start + lowest_bit(hits)
                    hits &= hits - np.uint64(1)
                    owners[held], near_rows[held] = q, rows[slot]
                    near[held] = slot_distance(queries[q], planes, slot)
                    held += 1
    return owners[:held], near_rows[:held], near[:held]


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _longer(array: Any, length: int) -> Any:
    """Return a longer array that begins with this one."""
    result = np.empty(length, array.dtype)
    result[: len(array)] = array
    return result
