"""Compiled loops of the metrics, over codes and labels as 64-bit words. They release the interpreter lock."""

from typing import Any

import numpy as np
from numba import njit

from h2q.hamming.kernels import distance
from h2q.hamming.words import popcount

__all__ = ["average_precision", "count_grades", "grade_rows", "grades_in_order"]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_TILE = 1024  # items laid out word by word, in the first-level cache
_LANES = 4  # copies of the counters: an increment does not wait for the previous one
_NEGLIGIBLE = 1e-20  # of the probability of the likeliest outcome


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def count_grades(
    queries: Any, database: Any, query_labels: Any, database_labels: Any, multi_hot: bool, counts: Any
) -> None:
    """Add the items at each distance and of each grade to counts (n_queries, n_bits + 1, n_grades).

    The grade of an item is the number of labels in common with the query, the last grade standing for all above it;
    class ids have grades 0 and 1.
    """
    n, n_words = database.shape
    n_queries, n_distances, n_grades = counts.shape
    code_planes = np.zeros((n_words, _TILE), np.uint64)
    label_planes = np.zeros((database_labels.shape[1], _TILE), np.uint64)
    keys, grades = np.zeros(_TILE, np.int64), np.zeros(_TILE, np.int64)
    lanes = np.zeros((n_queries, _LANES, n_distances * n_grades), np.uint32)
    for start in range(0, n, _TILE):
        length = min(_TILE, n - start)
        _fill_planes(database, start, length, code_planes)
        _fill_planes(database_labels, start, length, label_planes)
        for q in range(n_queries):
            keys[:] = 0
            for word in range(n_words):
                plane, asked = code_planes[word], queries[q, word]
                for i in range(_TILE):
                    keys[i] += popcount(plane[i] ^ asked)
            if multi_hot:
                grades[:] = 0
                for word in range(len(label_planes)):
                    plane, asked = label_planes[word], query_labels[q, word]
                    for i in range(_TILE):
                        grades[i] += popcount(plane[i] & asked)
                for i in range(_TILE):
                    keys[i] = keys[i] * n_grades + min(grades[i], n_grades - 1)
            else:
                plane, asked = label_planes[0], query_labels[q, 0]
                for i in range(_TILE):
                    keys[i] = keys[i] * n_grades + (plane[i] == asked)
            lane = lanes[q]
            whole = length - length % _LANES
            for i in range(0, whole, _LANES):
                for offset in range(_LANES):
                    lane[offset, keys[i + offset]] += 1
            for i in range(whole, length):
                lane[0, keys[i]] += 1
    for q in range(n_queries):
        for offset in range(_LANES):
            for key in range(n_distances * n_grades):
                counts[q, key // n_grades, key % n_grades] += lanes[q, offset, key]


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _fill_planes(words: Any, start: int, length: int, planes: Any) -> None:
    """Transpose rows: word w of row i goes to planes[w, i]."""
    for word in range(len(planes)):
        for i in range(length):
            planes[word, i] = words[start + i, word]


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def grades_in_order(
    queries: Any, database: Any, query_labels: Any, database_labels: Any, multi_hot: bool, by_distance: Any,
    highest: int, ordered: Any,
) -> None:  # fmt: skip
    """Fill ordered (n_queries, length) with the grades of the nearest items, ties by row: a counting sort.

    by_distance (n_queries, n_bits + 1) holds the number of items at each distance.
    """
    length = ordered.shape[1]
    places = np.empty(by_distance.shape[1], np.int64)
    for q in range(len(queries)):
        before = 0
        for d in range(len(places)):
            places[d] = before
            before += by_distance[q, d]
        for i in range(len(database)):
            d = distance(queries[q], database, i)
            place = places[d]
            places[d] += 1
            if place < length:
                ordered[q, place] = min(_grade(query_labels[q], database_labels, i, multi_hot), highest)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def grade_rows(query_labels: Any, database_labels: Any, multi_hot: bool, highest: int, result: Any) -> None:
    """Fill result (n_queries, n) with the grades of all items, in the order of their rows."""
    for q in range(len(query_labels)):
        for i in range(len(database_labels)):
            result[q, i] = min(_grade(query_labels[q], database_labels, i, multi_hot), highest)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _grade(query_label: Any, labels: Any, i: int, multi_hot: bool) -> int:
    """Return the number of labels that item i has in common with the query."""
    if not multi_hot:
        return int(query_label[0] == labels[i, 0])
    common = 0
    for word in range(len(query_label)):
        common += popcount(query_label[word] & labels[i, word])
    return common


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def average_precision(items: Any, relevant: Any, cuts: Any, divisors: Any, harmonic: Any, per_query: Any) -> None:
    """Fill per_query with the expected average precision over all orders inside the groups of tied items.

    items and relevant (n_queries, groups) count a group's items and its relevant items, nearest group first; only the
    first cuts[q] items count. A divisor of 0 stands for the relevant items among those. harmonic[n] = 1 + ... + 1/n.
    """
    for q in range(len(items)):
        per_query[q] = _average_precision(items[q], relevant[q], cuts[q], divisors[q], harmonic)


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _average_precision(items: Any, relevant: Any, cut: int, divisor: int, harmonic: Any) -> Any:
    before, hits, precisions = 0, 0, 0.0
    for group in range(len(items)):
        size, good = items[group], relevant[group]
        places = min(size, cut - before)
        if places < size:
            if places > 0:
                return _expected_cut(before, hits, precisions, size, good, places, divisor, harmonic)
            break
        precisions += _expected_sum(before, hits, good, places, harmonic)
        hits += good
        before += places
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
    before: int, hits: int, precisions: float, size: int, good: int, places: int, divisor: int, harmonic: Any
) -> Any:
    """Expected average precision where the cut leaves `places` of a group, whose relevant items are hypergeometric.

    Probabilities are computed from that of the likeliest outcome by ratios of neighbors: factorials would lose digits.
    """
    least, most = max(0, places - (size - good)), min(good, places)
    likeliest = min(max((places + 1) * (good + 1) // (size + 2), least), most)
    # Irrelevant items outside the cut, for j relevant ones inside: left_out + j.
    left_out = size - good - places
    total, expected = 0.0, 0.0
    weight = 1.0
    for j in range(likeliest, most + 1):
        if weight < _NEGLIGIBLE:
            break
        total += weight
        expected += weight * _outcome(before, hits, precisions, j, places, divisor, harmonic)
        weight *= (good - j) * (places - j) / ((j + 1) * (left_out + j + 1))
    weight = 1.0
    for j in range(likeliest, least, -1):
        weight *= j * (left_out + j) / ((good - j + 1) * (places - j + 1))
        if weight < _NEGLIGIBLE:
            break
        total += weight
        expected += weight * _outcome(before, hits, precisions, j - 1, places, divisor, harmonic)
    return expected / total


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _outcome(before: int, hits: int, precisions: float, good: int, places: int, divisor: int, harmonic: Any) -> Any:
    """Average precision where the cut group holds `good` relevant items in its places."""
    divide = divisor if divisor > 0 else hits + good
    if divide == 0:
        return 0.0
    return (precisions + _expected_sum(before, hits, good, places, harmonic)) / divide
