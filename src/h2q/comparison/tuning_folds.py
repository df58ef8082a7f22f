"""The rows that a quantizer is chosen on: some held out as queries, the others fitted on and searched."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_embeddings, as_labels
from h2q.comparison.scoring import EmbeddedFolds
from h2q.evaluation import float_neighbors
from h2q.quantization.similar_rows import PairedRows, as_pairs, class_ids

__all__ = ["Truth", "tuning_folds"]

Truth = Literal["neighbors", "labels", "pairs"]
_MOST_ROWS = 20_000
_QUERY_SHARE = 0.2


def tuning_folds(
    X: Any, labels: Any, pairs: Any, k: int, metric: str, n_queries: int, seed: int
) -> tuple[EmbeddedFolds, Truth]:
    """Draw at most 20,000 rows, hold queries out, and say what their right answers are.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Embeddings, with a shape.
    labels, pairs, k, metric, n_queries
        See `h2q.comparison.tune`.
    seed : int
        Draws the rows.

    Returns
    -------
    EmbeddedFolds
        With true neighbors or, given labels, with labels. The items searched are those fitted on.
    Truth
        "neighbors", "labels" or "pairs".

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or too few rows are left to search.
    """
    if labels is not None and pairs is not None:
        raise ValueError("labels and pairs are two ways to say which items are similar; give one")
    n = X.shape[0]
    generator = np.random.default_rng(seed)
    known = None if labels is None else _known_labels(labels, n)
    paired = None if pairs is None else PairedRows(as_pairs(pairs, n))
    if n > _MOST_ROWS:
        kept = np.sort(generator.choice(n, _MOST_ROWS, replace=False))
        X = X.iloc[kept] if hasattr(X, "iloc") else X[kept]
        known, paired = None if known is None else known[kept], None if paired is None else paired.take(kept)
    rows = as_embeddings(X)
    if known is not None:
        return _label_folds(rows, known, n_queries, generator), "labels"
    if paired is not None:
        return _pair_folds(rows, paired.pairs, k, n_queries, generator), "pairs"
    queries, others = _hold_out(np.arange(len(rows)), len(rows), n_queries, generator)
    _check_left(len(others), k)
    neighbors = float_neighbors(rows[queries], rows[others], k, metric)
    return EmbeddedFolds(rows[others], rows[queries], rows[others], true_neighbors=neighbors), "neighbors"


def _hold_out(
    candidates: NDArray[np.int64], n: int, n_queries: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows drawn of the candidates as queries, at most a fifth of these, and all other rows of n."""
    n_queries = max(1, min(n_queries, int(_QUERY_SHARE * len(candidates))))
    queries = np.sort(generator.choice(candidates, n_queries, replace=False))
    return queries, np.setdiff1d(np.arange(n), queries)


def _check_left(n_left: int, k: int) -> None:
    if n_left < k:
        raise ValueError(
            f"k is {k}, and {n_left} rows are left to search after queries are held out; lower k, or give more rows"
        )


def _known_labels(labels: Any, n: int) -> NDArray[Any]:
    """Return class ids, or multi-hot rows where some rows have no label."""
    array = class_ids(labels, "labels")
    if array.ndim == 1 and array.dtype.kind == "i" and len(array) and array.min() == -1:
        known = np.flatnonzero(array >= 0)
        rows = np.zeros((len(array), int(array.max()) + 1), np.bool_)
        rows[known, array[known]] = True
        array = rows
    array = as_labels(array, n)
    n_classes = len(np.unique(array)) if array.ndim == 1 else int(array.any(axis=0).sum())
    if n_classes < 2:
        raise ValueError(
            f"labels hold {n_classes} class(es): a choice by labels needs at least two; leave labels out to choose by "
            "float neighbors"
        )
    return array


def _label_folds(
    rows: NDArray[np.float32], labels: NDArray[Any], n_queries: int, generator: np.random.Generator
) -> EmbeddedFolds:
    has_label = np.ones(len(rows), np.bool_) if labels.ndim == 1 else np.asarray(labels.any(axis=1))
    queries, others = _hold_out(np.flatnonzero(has_label), len(rows), n_queries, generator)
    searched = others[has_label[others]]  # of the others nobody knows whether they are right
    return EmbeddedFolds(
        rows[others], rows[queries], rows[searched], labels[queries], labels[searched], train_labels=labels[others]
    )


def _pair_folds(
    rows: NDArray[np.float32], pairs: NDArray[np.int64], k: int, n_queries: int, generator: np.random.Generator
) -> EmbeddedFolds:
    """Hold the first items of some pairs out; the second ones are searched for."""
    firsts, others = _hold_out(np.unique(pairs[:, 0]), len(rows), n_queries, generator)
    _check_left(len(others), k)
    is_query = np.zeros(len(rows), np.bool_)
    is_query[firsts] = True
    asked = pairs[is_query[pairs[:, 0]] & ~is_query[pairs[:, 1]]]
    known = PairedRows(pairs[~is_query[pairs].any(axis=1)]).take(others).pairs
    if len(asked) == 0 or len(known) < 2:
        raise ValueError(
            f"pairs must leave some to choose by and some to learn from; of {len(pairs)} pairs among the rows used, "
            f"{len(asked)} and {len(known)} are left: pass more"
        )
    return EmbeddedFolds(
        rows[others], rows[asked[:, 0]], rows[others],
        true_neighbors=np.searchsorted(others, asked[:, 1])[:, None], train_pairs=known,
    )  # fmt: skip
