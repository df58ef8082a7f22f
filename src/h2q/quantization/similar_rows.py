"""What labels say to stage two: how embeddings vary within a class, and whether to scale that variation away.

Directions in which similar items differ tell nothing about similarity, and cost bits. With the scatter S of the
differences between similar items, rows are multiplied by S^(-power / 2) before the rotation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import AllowZeroRows, as_embeddings, as_labels
from h2q.checks.arrays import as_array
from h2q.errors import describe
from h2q.quantization.sampling import is_batches, sample_rows

__all__ = [
    "POWERS",
    "HeldOut",
    "LabeledRows",
    "PairedRows",
    "as_pairs",
    "as_similar_rows",
    "average_precisions",
    "best_power",
    "class_ids",
    "pair_scatter",
    "sample_similar_rows",
    "scatter_power",
    "within_class_scatter",
]

POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FLOOR = 0.01  # smallest eigenvalue of the scatter, as a share of the mean one
_HELD_OUT, _MOST_QUERIES, _MOST_ITEMS = 0.2, 500, 5_000


def within_class_scatter(rows: NDArray[np.float32], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the mean of (x - m)(x - m)^T over items x and their classes, with m the mean of the class.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, d)
        Embeddings.
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes)
        Class ids or multi-hot rows; an item of several classes counts in each.

    Returns
    -------
    ndarray of float64, shape (d, d)
        Zeros if no item has a class.

    Examples
    --------
    >>> within_class_scatter(np.array([[0, 1], [2, 1], [5, 0], [5, 4]], np.float32), np.array([0, 0, 1, 1]))
    array([[0.5, 0. ],
           [0. , 2. ]])
    """
    members = _members(labels)
    scatter = np.zeros((rows.shape[1], rows.shape[1]))
    for positions in members:
        differences = rows[positions].astype(np.float64)
        differences -= differences.mean(axis=0)
        scatter += differences.T @ differences
    return scatter / max(1, sum(len(positions) for positions in members))


def _members(labels: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Return the positions of the items of each class."""
    if labels.ndim == 2:
        return [np.flatnonzero(column) for column in labels.T if column.any()]
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def pair_scatter(rows: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of (x - y)(x - y)^T / 2 over pairs: the scatter around the mean of each pair, unbiased.

    Parameters
    ----------
    rows : ndarray of float32, shape (n, d)
        Embeddings.
    pairs : ndarray of int64, shape (n_pairs, 2)
        Rows of similar items.

    Examples
    --------
    >>> pair_scatter(np.array([[0, 1], [2, 1]], np.float32), np.array([[0, 1]]))
    array([[2., 0.],
           [0., 0.]])
    """
    differences = rows[pairs[:, 0]].astype(np.float64) - rows[pairs[:, 1]]
    return differences.T @ differences / (2 * len(pairs))


def scatter_power(scatter: NDArray[np.float64], power: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the symmetric matrix S^(-power / 2), and its inverse.

    Small eigenvalues of S, which few rows determine badly, are raised to 1% of their mean.

    Parameters
    ----------
    scatter : ndarray of float64, shape (d, d)
        Symmetric, positive semi-definite. It is divided by its mean eigenvalue first, so that rows keep their scale.
    power : float
        0: the identity. 1: rows vary alike in all directions within a class.

    Examples
    --------
    >>> scatter_power(np.diag([0.4, 1.6]), 1.0)[0].round(3)
    array([[1.581, 0.   ],
           [0.   , 0.791]], dtype=float32)
    """
    variances, directions = np.linalg.eigh(scatter)
    mean = variances.mean()
    if not mean > 0:
        return np.eye(len(scatter), dtype=np.float32), np.eye(len(scatter), dtype=np.float32)
    scales = np.maximum(variances / mean, _FLOOR) ** (-power / 2)
    forward, backward = ((directions * factors) @ directions.T for factors in (scales, 1 / scales))
    return forward.astype(np.float32), backward.astype(np.float32)


def average_precisions(distances: NDArray[np.integer], relevant: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the average precision of each query, in expectation over the order of items at equal distance.

    Parameters
    ----------
    distances : ndarray of int, shape (n_queries, n)
        Not negative.
    relevant : ndarray of bool, shape (n_queries, n)
        Whether an item is a right answer.

    Returns
    -------
    ndarray of float64, shape (n_queries,)
        NaN for a query without right answers. The formula is that of `h2q.evaluation.mean_average_precision`, which
        lies above this package and cuts rankings, too.

    Examples
    --------
    >>> average_precisions(np.array([[0, 1, 1]]), np.array([[False, True, False]])).round(4)
    array([0.4167])
    """
    n_queries, n = distances.shape
    width = int(distances.max(initial=0)) + 1
    cells = (distances + width * np.arange(n_queries)[:, None]).ravel()
    shape = (n_queries, width)
    items = np.bincount(cells, minlength=n_queries * width).reshape(shape)
    hits = np.bincount(cells[relevant.ravel()], minlength=n_queries * width).reshape(shape)
    before, hits_before = np.cumsum(items, axis=1) - items, np.cumsum(hits, axis=1) - hits
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])
    # Place t of a group holds a hit with probability hits / items, after (t - 1) slope hits of the group on average.
    slope = (hits - 1) / np.maximum(items - 1, 1)
    sums = slope * items + (hits_before + 1 - slope * (before + 1)) * (harmonic[before + items] - harmonic[before])
    totals = (hits / np.maximum(items, 1) * sums).sum(axis=1)
    n_relevant = hits.sum(axis=1)
    return np.where(n_relevant > 0, totals / np.maximum(n_relevant, 1), np.nan)


def best_power(precisions: Mapping[float, NDArray[np.float64]]) -> float:
    """Return the power of the highest mean, if it is above power 0 by more than the standard error; else 0.

    Parameters
    ----------
    precisions : mapping of float to ndarray of float64, shape (n_queries,)
        Average precision of the same queries with each power, 0 among them; NaN where a query has no right answers.

    Examples
    --------
    >>> best_power({0.0: np.array([0.5, 0.6, 0.7]), 0.5: np.array([0.6, 0.7, 0.8]), 1.0: np.array([0.9, 0.1, 0.8])})
    0.5
    >>> best_power({0.0: np.array([0.5]), 1.0: np.array([0.9])})
    0.0
    """
    best = max(precisions, key=lambda power: float(np.nanmean(precisions[power])))
    gains = precisions[best] - precisions[0.0]
    gains = gains[~np.isnan(gains)]
    if len(gains) < 2:  # a single query has no standard error
        return 0.0
    return best if gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)) else 0.0


@dataclass(frozen=True)
class HeldOut:
    """Rows set apart to judge a fit by.

    Attributes
    ----------
    scatter : ndarray of float64, shape (d, d)
        Scatter of the similar rows that are not set apart.
    fitted : ndarray of int64
        Rows to fit a rotation on.
    queries, items : ndarray of int64
        Rows to search with, and rows to search.
    relevant : ndarray of bool, shape (n_queries, n_items)
        Whether an item is similar to a query.
    """

    scatter: NDArray[np.float64]
    fitted: NDArray[np.int64]
    queries: NDArray[np.int64]
    items: NDArray[np.int64]
    relevant: NDArray[np.bool_]

    def judge(self, z_queries: NDArray[np.float32], z_items: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the average precision of each query by the codes of rotated rows."""
        signs = [np.where(z > 0, np.float32(1), np.float32(-1)) for z in (z_queries, z_items)]
        n_bits = z_queries.shape[1]
        distances = np.rint((n_bits - signs[0] @ signs[1].T) / 2).astype(np.int64)
        distances[self.queries[:, None] == self.items] = n_bits + 1  # a query is no answer to itself
        return average_precisions(distances, self.relevant)


@dataclass(frozen=True)
class LabeledRows:
    """Rows are similar if they share a label.

    Attributes
    ----------
    labels : ndarray of int64, shape (n,), or of bool, shape (n, n_classes)
        Class ids or multi-hot rows.
    """

    labels: NDArray[Any]

    def scatter(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the scatter within classes, (d, d)."""
        return within_class_scatter(rows, self.labels)

    def take(self, rows: NDArray[np.int64]) -> "LabeledRows":
        """Return the labels of some of the rows."""
        return LabeledRows(self.labels[rows])

    def hold_out(self, rows: NDArray[np.float32], generator: np.random.Generator) -> HeldOut:
        """Set a fifth of the rows apart as queries, at most 500."""
        order = generator.permutation(len(rows))
        n_queries = min(max(1, round(_HELD_OUT * len(rows))), _MOST_QUERIES)
        queries, others = np.sort(order[:n_queries]), np.sort(order[n_queries : n_queries + _MOST_ITEMS])
        scatter = self.take(order[n_queries:]).scatter(rows[order[n_queries:]])
        return HeldOut(scatter, others, queries, others, _share_a_label(self.labels[queries], self.labels[others]))


@dataclass(frozen=True)
class PairedRows:
    """Rows are similar if they are a pair.

    Attributes
    ----------
    pairs : ndarray of int64, shape (n_pairs, 2)
        Rows of similar items.
    """

    pairs: NDArray[np.int64]

    def scatter(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the scatter within pairs, (d, d)."""
        return pair_scatter(rows, self.pairs)

    def take(self, rows: NDArray[np.int64]) -> "PairedRows":
        """Return the pairs of which both rows are among these, sorted, ones."""
        places = np.searchsorted(rows, self.pairs).clip(max=len(rows) - 1)
        return PairedRows(places[(rows[places] == self.pairs).all(axis=1)])

    def hold_out(self, rows: NDArray[np.float32], generator: np.random.Generator) -> HeldOut:
        """Set a fifth of the pairs apart, at most 500: the first row of each searches for the second."""
        order = generator.permutation(len(self.pairs))
        n_held_out = min(max(1, round(_HELD_OUT * len(order))), _MOST_QUERIES)
        held_out = self.pairs[order[:n_held_out]]
        scatter = pair_scatter(rows, self.pairs[order[n_held_out:]])
        fitted = np.sort(generator.permutation(len(rows))[:_MOST_ITEMS])
        queries, query_places = np.unique(held_out[:, 0], return_inverse=True)
        items = np.union1d(fitted, held_out[:, 1])
        relevant = np.zeros((len(queries), len(items)), np.bool_)
        relevant[query_places, np.searchsorted(items, held_out[:, 1])] = True
        return HeldOut(scatter, fitted, queries, items, relevant)


def _share_a_label(queries: NDArray[Any], items: NDArray[Any]) -> NDArray[np.bool_]:
    if queries.ndim == 1:
        return np.asarray(queries[:, None] == items)
    return np.asarray(queries.astype(np.float32) @ items.T.astype(np.float32) > 0)


def sample_similar_rows(
    X: Any, y: Any, pairs: Any, max_samples: int, generator: np.random.Generator, *, allow_zero_rows: AllowZeroRows
) -> tuple[NDArray[np.float32], LabeledRows | PairedRows]:
    """Return at most `max_samples` rows of an array, and what is known of their similarity.

    Raises
    ------
    TypeError, ValueError
        See `h2q.checks.as_embeddings` and `as_similar_rows`; or if `X` is an iterable of batches.
    """
    if is_batches(X):
        raise TypeError(
            "X must be one array where labels or pairs are given, whose rows they are for; got an iterable of batches: "
            "pass an array or a memory map"
        )
    if len(getattr(X, "shape", ())) != 2:
        X = as_embeddings(X, allow_zero_rows=allow_zero_rows)
    n = X.shape[0]
    if n <= max_samples:
        return sample_rows(X, n, generator, allow_zero_rows=allow_zero_rows), as_similar_rows(y, pairs, n)
    kept = np.sort(generator.choice(n, max_samples, replace=False))
    rows = sample_rows(X.iloc[kept] if hasattr(X, "iloc") else X[kept], n, generator, allow_zero_rows=allow_zero_rows)
    return rows, as_similar_rows(y, pairs, n).take(kept)


def as_similar_rows(y: Any, pairs: Any, n: int) -> LabeledRows | PairedRows:
    """Check what is known of the similarity of n rows: either labels or pairs.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_classes), or None
        Class ids, names of classes, or multi-hot rows.
    pairs : array-like of int, shape (n_pairs, 2), or None
        Rows of similar items.
    n : int
        Number of rows.

    Raises
    ------
    TypeError, ValueError
        If both are given, or one is not as described, or tells nothing: one class only, no two items of a class, or
        fewer than two pairs.

    Examples
    --------
    >>> as_similar_rows([0, 0, 1], None, 3)
    LabeledRows(labels=array([0, 0, 1]))
    >>> as_similar_rows(None, [[0, 2], [1, 3]], 3)
    Traceback (most recent call last):
    ...
    ValueError: pairs must be rows of X, from 0 to 2; got 3
    """
    if y is not None and pairs is not None:
        raise ValueError("y and pairs are two ways to say which items are similar; give one")
    if pairs is not None:
        return PairedRows(as_pairs(pairs, n))
    labels = as_labels(class_ids(y, "y"), n, "y")
    counts = np.unique(labels, return_counts=True)[1] if labels.ndim == 1 else labels.sum(axis=0)
    counts = counts[counts > 0]
    if len(counts) < 2 or counts.max() < 2:
        what = "one class only" if len(counts) < 2 else "no two items of the same class"
        raise ValueError(
            f"y holds {what}: similarity cannot be learned from it; pass labels of at least two classes with two items "
            "in one of them, or whitening=0"
        )
    return LabeledRows(labels)


def class_ids(labels: Any, name: str) -> NDArray[Any]:
    """Return labels as an array; names of classes become class ids.

    >>> class_ids(["dog", "cat", "dog"], "labels")
    array([1, 0, 1])
    """
    array: NDArray[Any] = as_array(labels, name)
    if array.ndim == 1 and array.dtype.kind in "OUS":
        array = np.unique(array, return_inverse=True)[1]
    return array


def as_pairs(pairs: Any, n: int) -> NDArray[np.int64]:
    """Return pairs of rows as int64, (n_pairs, 2): whole numbers from 0 to n - 1, at least two pairs.

    Raises
    ------
    TypeError, ValueError
        If they are not.
    """
    array = as_array(pairs, "pairs")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"pairs must have shape (n_pairs, 2), two rows of X that are similar; got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"pairs must be whole numbers, rows of X; got {describe(array)}")
    if len(array) < 2:
        raise ValueError(f"pairs must be at least two, one to learn from and one to choose by; got {len(array)}")
    for row in (array.min(), array.max()):
        if not 0 <= row < n:
            raise ValueError(f"pairs must be rows of X, from 0 to {n - 1}; got {row}")
    if (array[:, 0] == array[:, 1]).any():
        raise ValueError("pairs must be of different items; got one of an item with itself")
    return array.astype(np.int64)
