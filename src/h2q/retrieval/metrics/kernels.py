"""The compiled loops of the metrics."""

from typing import Any

import numpy as np
from numba import njit, prange

from h2q.retrieval.popcount import popcount

__all__ = ["average_precision", "ranked_average_precision"]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_EXPECTED, _INDEX, _OPTIMISTIC = 0, 2, 3


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def is_relevant(query_label: Any, labels: Any, i: int, multi_hot: bool) -> Any:
    """Whether item i has a label in common with the query."""
    if not multi_hot:
        return query_label[0] == labels[i, 0]
    for word in range(len(query_label)):  # noqa: SIM110 (numba compiles no generator)
        if query_label[word] & labels[i, word]:
            return True
    return False


@njit(parallel=True, **_OPTIONS)  # type: ignore[untyped-decorator]
def average_precision(
    queries: Any, database: Any, query_labels: Any, database_labels: Any, multi_hot: bool, n_bits: int, cut: int,
    reach: int, ties: int, by_relevant: bool, harmonic: Any, log_factorial: Any, per_query: Any,
) -> None:  # fmt: skip
    """Fill per_query with average precisions from counts by distance; NaN where nothing is relevant."""
    n = len(database)
    for q in prange(len(queries)):
        found = np.zeros(n_bits + 1, np.int64)
        relevant = np.zeros(n_bits + 1, np.int64)
        query, label = queries[q], query_labels[q]
        for i in range(n):
            distance = np.int64(0)
            for word in range(len(query)):
                distance += popcount(query[word] ^ database[i, word])
            found[distance] += 1
            relevant[distance] += is_relevant(label, database_labels, i, multi_hot)
        total = relevant.sum()
        if total == 0:
            per_query[q] = np.nan
            continue
        divisor = min(cut, total) if by_relevant else 0
        if ties == _INDEX:
            flags = _relevance_in_order(query, label, database, database_labels, multi_hot, found, cut, reach)
            per_query[q] = _of_flags(flags, divisor)
        else:
            per_query[q] = _of_counts(found, relevant, cut, reach, ties, divisor, harmonic, log_factorial)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _of_counts(
    found: Any, relevant: Any, cut: int, reach: int, ties: int, divisor: int, harmonic: Any, log_factorial: Any
) -> Any:
    """Average precision from the items and the relevant items at each distance; divisor 0: the relevant retrieved."""
    before, hits, precisions = np.int64(0), np.int64(0), 0.0
    for distance in range(reach + 1):
        group, good = found[distance], relevant[distance]
        room = min(group, cut - before)
        if room == 0:
            if before >= cut:
                break
            continue
        if ties == _EXPECTED:
            if room < group:
                return _expected_cut(before, hits, precisions, group, good, room, divisor, harmonic, log_factorial)
            precisions += _expected_sum(before, hits, good, room, harmonic)
            hits += good
        else:
            # Relevant ones first, or behind all others of the group.
            skipped = 0 if ties == _OPTIMISTIC else group - good
            taken = max(0, min(good, room - skipped))
            start = before + skipped
            if taken > 0:
                precisions += taken + (hits - start) * (harmonic[start + taken] - harmonic[start])
            hits += taken
        before += room
    if hits == 0:
        return 0.0
    return precisions / (divisor if divisor > 0 else hits)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _expected_sum(before: int, hits: int, good: int, places: int, harmonic: Any) -> Any:
    """Expected sum of precisions at `good` relevant items placed at random among `places` after `before` items.

    (good / places) sum_t (hits + 1 + (t - 1) slope) / (before + t), slope = (good - 1) / (places - 1).
    """
    if good == 0:
        return 0.0
    slope = (good - 1) / (places - 1) if places > 1 else 0.0
    steps = harmonic[before + places] - harmonic[before]
    return good / places * (slope * places + (hits + 1 - slope * (before + 1)) * steps)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _expected_cut(
    before: int, hits: int, precisions: float, group: int, good: int, places: int, divisor: int, harmonic: Any,
    log_factorial: Any,
) -> Any:  # fmt: skip
    """Expected average precision where the cut leaves `places` of a group, whose relevant items are hypergeometric."""
    expected = 0.0
    least, most = max(0, places - (group - good)), min(good, places)
    log_all = _log_choose(log_factorial, group, places)
    for j in range(least, most + 1):
        divide = divisor if divisor > 0 else hits + j
        if divide > 0:
            probability = np.exp(
                _log_choose(log_factorial, good, j) + _log_choose(log_factorial, group - good, places - j) - log_all
            )
            expected += probability * (precisions + _expected_sum(before, hits, j, places, harmonic)) / divide
    return expected


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _log_choose(log_factorial: Any, n: int, k: int) -> Any:
    return log_factorial[n] - log_factorial[k] - log_factorial[n - k]


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _relevance_in_order(
    query: Any, label: Any, database: Any, database_labels: Any, multi_hot: bool, found: Any, cut: int, reach: int
) -> Any:
    """Return which of the first items are relevant, ties by row: a counting sort by distance."""
    starts = np.zeros(len(found) + 1, np.int64)
    for distance in range(len(found)):
        starts[distance + 1] = starts[distance] + found[distance]
    length = min(cut, starts[reach + 1])
    flags = np.zeros(length, np.bool_)
    for i in range(len(database)):
        between = np.int64(0)
        for word in range(len(query)):
            between += popcount(query[word] ^ database[i, word])
        place = starts[between]
        starts[between] += 1
        if place < length:
            flags[place] = is_relevant(label, database_labels, i, multi_hot)
    return flags


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _of_flags(flags: Any, divisor: int) -> Any:
    """Average precision of a ranking given which items are relevant; divisor 0: the relevant retrieved."""
    hits: Any = np.int64(0)
    precisions = 0.0
    for rank in range(len(flags)):
        if flags[rank]:
            hits += 1
            precisions += hits / (rank + 1)
    if hits == 0:
        return 0.0
    return precisions / (divisor if divisor > 0 else hits)


@njit(parallel=True, **_OPTIONS)  # type: ignore[untyped-decorator]
def ranked_average_precision(
    keys: Any, relevant: Any, counted: Any, cut: int, by_relevant: bool, per_query: Any
) -> None:
    """Fill per_query with average precisions of rankings by key, ties by row; only the first `counted` items count."""
    for q in prange(len(keys)):
        total = relevant[q].sum()
        if total == 0:
            per_query[q] = np.nan
            continue
        order = _smallest(keys[q], counted[q])
        per_query[q] = _of_flags(relevant[q][order], min(cut, total) if by_relevant else 0)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _smallest(keys: Any, count: int) -> Any:
    """Return the rows of the `count` smallest keys, smallest first, ties by row."""
    if count == 0:
        return np.zeros(0, np.int64)
    bound = np.partition(keys, count - 1)[count - 1]
    rows = np.flatnonzero(keys <= bound)
    return rows[np.argsort(keys[rows], kind="mergesort")][:count]
