"""Fit a quantizer, encode, search and score: the one place where this is done."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.evaluation import (
    MeanAveragePrecision,
    NeighborRecall,
    embeddings_mean_average_precision,
    float_neighbors,
    mean_average_precision,
    neighbor_recall,
    scores_mean_average_precision,
)
from h2q.evaluation.results import MeanOverQueries
from h2q.hamming import AsymmetricScan, NearestScan
from h2q.quantization import EncodedItems, unpack_bits
from h2q.quantization.objectives import quantization_errors
from h2q.quantization.reduction import principal_components

__all__ = [
    "RERANKED",
    "EmbeddedFolds",
    "Score",
    "embed_folds",
    "fit_quantizer",
    "score_embeddings",
    "score_quantizer",
]

RERANKED = 5  # candidates that are re-ranked for each neighbor asked for


@dataclass(frozen=True, eq=False)
class EmbeddedFolds:
    """Embeddings to fit on, to search with and to search in, and what makes an item a right answer.

    Attributes
    ----------
    train, queries, database : ndarray of float32, shape (n, d)
        The quantizers' input. They are fitted on `train` alone.
    query_labels, database_labels : ndarray, optional
        Class ids or multi-hot rows; needed for mean average precision.
    true_neighbors : ndarray of int64, shape (n_queries, k), optional
        Rows of the database nearest to each query by the real-valued embeddings; needed for recall.
    train_labels : ndarray, optional
        Labels of `train`, for quantizers that learn from them.
    train_pairs : ndarray of int64, shape (n_pairs, 2), optional
        Rows of `train` that are similar, for quantizers that learn from them.
    real_queries, real_database : ndarray of float32, optional
        The real-valued embeddings that codes are compared with, where the quantizers get reduced ones. Default:
        `queries` and `database`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> folds = EmbeddedFolds(X[200:], X[:200], X[200:], query_labels=y[:200], database_labels=y[200:])
    >>> round(score_embeddings(folds, k=100).map_expected.value, 2)
    0.85
    """

    train: NDArray[np.float32]
    queries: NDArray[np.float32]
    database: NDArray[np.float32]
    query_labels: NDArray[Any] | None = None
    database_labels: NDArray[Any] | None = None
    true_neighbors: NDArray[np.int64] | None = None
    real_queries: NDArray[np.float32] | None = None
    real_database: NDArray[np.float32] | None = None
    train_labels: NDArray[Any] | None = None
    train_pairs: NDArray[np.int64] | None = None

    @property
    def real(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The real-valued embeddings of queries and database."""
        if self.real_queries is None or self.real_database is None:
            return self.queries, self.database
        return self.real_queries, self.real_database


@dataclass(frozen=True, eq=False)
class Score:
    """The scores of one quantizer, or of the real-valued embeddings; None where a score was not asked for.

    Attributes
    ----------
    name : str
        The quantizer, in the words of the caller.
    n_bits : int or None
        Bits of a code; None for real-valued embeddings.
    n_bytes : int
        Bytes of an item, scalars included.
    map_expected, map_embeddings : MeanAveragePrecision or None
        By labels; equal Hamming distances averaged over all orders, or ordered by the embeddings.
    map_asymmetric : MeanAveragePrecision or None
        By labels, items ranked by estimated distances.
    recall : NeighborRecall or None
        Share of the true neighbors among the nearest codes by Hamming distance.
    recall_asymmetric : NeighborRecall or None
        The same by estimated distances.
    recall_reranked : NeighborRecall or None
        The same after the first `RERANKED` k by estimated distances were re-ranked by the float embeddings: re-ranking
        by what makes neighbors true finds all that are among them.
    quantization_error_l1, quantization_error_l2 : float or None
        Mean abs(z - sgn z) and mean (z - sgn z)^2 of rotated rows scaled to norm sqrt(n_bits).
    distinct_codes : int or None
        Codes in use in the database.
    fit_seconds, encode_seconds, score_seconds : float or None
        Wall-clock time of each part.
    neighbors : ndarray of int64, shape (n_queries, k), or None
        Database rows found for each query, nearest first.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import SignQuantizer
    >>> X, y = load_digits(return_X_y=True)
    >>> folds = EmbeddedFolds(X[200:], X[:200], X[200:], query_labels=y[:200], database_labels=y[200:])
    >>> score = score_quantizer(SignQuantizer(32), folds, name="sign")
    >>> score.n_bytes, score.recall is None
    (4, True)
    """

    name: str
    n_bits: int | None
    n_bytes: int
    map_expected: MeanAveragePrecision | None = None
    map_embeddings: MeanAveragePrecision | None = None
    map_asymmetric: MeanAveragePrecision | None = None
    recall: NeighborRecall | None = None
    recall_asymmetric: NeighborRecall | None = None
    recall_reranked: NeighborRecall | None = None
    quantization_error_l1: float | None = None
    quantization_error_l2: float | None = None
    distinct_codes: int | None = None
    fit_seconds: float | None = None
    encode_seconds: float | None = None
    score_seconds: float | None = None
    neighbors: NDArray[np.int64] | None = None

    def values(self) -> dict[str, Any]:
        """Return the scores as plain numbers, for JSON: no values of single queries, no neighbors."""
        document: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "neighbors":
                document[field.name] = value.value if isinstance(value, MeanOverQueries) else value
        return document


def embed_folds(
    embeddings: NDArray[np.float32],
    labels: NDArray[Any],
    folds: Mapping[str, NDArray[np.int64]],
    *,
    k: int | None = None,
    n_components: int | None = None,
) -> EmbeddedFolds:
    """Split embeddings of all items into the folds "train", "query" and "database".

    Parameters
    ----------
    embeddings : ndarray of float32, shape (n, d)
        One row an item.
    labels : ndarray, shape (n,) or (n, n_classes)
        Class ids or multi-hot rows.
    folds : mapping of str to ndarray of int64
        The rows of each fold.
    k : int, optional
        Find this many true neighbors of each query, by cosine similarity. None: none.
    n_components : int, optional
        Give the quantizers this many principal components of the training embeddings, so that quantizers of shorter
        codes need not compute them again. None: the embeddings as they are.

    Returns
    -------
    EmbeddedFolds

    Examples
    --------
    >>> X = np.eye(8, 4, dtype=np.float32) + 1
    >>> folds = {"train": np.arange(4), "query": np.arange(4, 6), "database": np.arange(6, 8)}
    >>> embed_folds(X, np.arange(8), folds, k=1).true_neighbors.shape
    (2, 1)
    """
    train, queries, database = (
        np.ascontiguousarray(embeddings[folds[name]]) for name in ("train", "query", "database")
    )
    given = train, queries, database
    if n_components is not None and n_components < embeddings.shape[1]:
        directions = principal_components(train - train.mean(axis=0), n_components).directions
        given = train @ directions.T, queries @ directions.T, database @ directions.T
    return EmbeddedFolds(
        *given,
        query_labels=labels[folds["query"]],
        database_labels=labels[folds["database"]],
        true_neighbors=None if k is None else float_neighbors(queries, database, k),
        real_queries=queries,
        real_database=database,
        train_labels=labels[folds["train"]],
    )


def score_embeddings(
    folds: EmbeddedFolds,
    *,
    name: str = "real-valued",
    k: int | None = None,
    divisor: str = "retrieved",
    empty: str = "zero",
) -> Score:
    """Score the real-valued embeddings by labels: the reference for codes.

    Parameters
    ----------
    folds : EmbeddedFolds
        With labels.
    name : str
        Name in the result.
    k, divisor, empty
        See `h2q.evaluation.mean_average_precision`.

    Returns
    -------
    Score
        A ranking by embeddings has no ties to speak of, so both mAPs are the same.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> folds = EmbeddedFolds(X[200:], X[:200], X[200:], query_labels=y[:200], database_labels=y[200:])
    >>> score_embeddings(folds).n_bytes
    256
    """
    began = time.perf_counter()
    queries, database = folds.real
    result = embeddings_mean_average_precision(
        queries, database, folds.query_labels, folds.database_labels, k=k, divisor=divisor, empty=empty
    )
    seconds = time.perf_counter() - began
    return Score(name, None, 4 * queries.shape[1], result, result, score_seconds=seconds)


def score_quantizer(
    quantizer: Any,
    folds: EmbeddedFolds,
    *,
    name: str = "",
    k: int | None = None,
    divisor: str = "retrieved",
    empty: str = "zero",
    error_fold: str = "queries",
    depth: int | None = None,
    asymmetric: bool = False,
    metric: str = "cosine",
    n_found: int | None = None,
) -> Score:
    """Fit a quantizer on the training fold, encode queries and database, search, and score.

    Parameters
    ----------
    quantizer : BaseQuantizer
        Unfitted; fitted afterwards.
    folds : EmbeddedFolds
        Mean average precision is computed where there are labels, recall where there are true neighbors.
    name : str
        Name in the result.
    k, divisor, empty
        Of mean average precision: see `h2q.evaluation.mean_average_precision`.
    error_fold : {"queries", "database"}
        Fold that the quantization errors are measured on; neither is fitted on.
    depth : int, optional
        Number of neighbors to return. Default: `n_found`.
    asymmetric : bool
        Whether to score by estimated distances and by re-ranking, too.
    metric : {"cosine", "euclidean"}
        Distance that is estimated.
    n_found : int, optional
        Number of nearest items among which recall looks for the true neighbors. Default: the number of these.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import HouseholderQuantizer
    >>> X = load_digits().data.astype(np.float32)
    >>> folds = EmbeddedFolds(X[100:], X[:100], X[100:], true_neighbors=float_neighbors(X[:100], X[100:], 10))
    >>> score = score_quantizer(HouseholderQuantizer(16, random_state=0), folds)
    >>> score.map_expected is None, 0.2 < score.recall.value < 0.5
    (True, True)
    """
    began = time.perf_counter()
    fit_quantizer(quantizer, folds)
    fitted = time.perf_counter()
    items = quantizer.encode_items(folds.database)
    codes = quantizer.encode_queries(folds.queries), items.codes
    encoded = time.perf_counter()
    n_bits = quantizer.n_bits_
    expected, by_embeddings = _mean_average_precisions(codes, folds, n_bits, k=k, divisor=divisor, empty=empty)
    recall, neighbors = None, None
    if folds.true_neighbors is not None:
        n_found = n_found or folds.true_neighbors.shape[1]
        neighbors = _nearest_codes(*codes, max(n_found, depth or n_found))
        recall = neighbor_recall(folds.true_neighbors, neighbors[:, :n_found])
    by_estimates = _AsymmetricScores()
    if asymmetric:
        by_estimates = _asymmetric_scores(
            quantizer, items, folds, metric, n_found, k=k, divisor=divisor, empty=empty
        )  # fmt: skip
    error_l1, error_l2 = quantization_errors(quantizer.transform(getattr(folds, error_fold)))
    distinct_codes = len(np.unique(codes[1], axis=0))
    done = time.perf_counter()
    return Score(
        name, n_bits, items.codes.shape[1] + (items.scalars is not None), expected, by_embeddings,
        by_estimates.precision, recall, by_estimates.recall, by_estimates.recall_reranked, error_l1, error_l2,
        distinct_codes, fitted - began, encoded - fitted, done - encoded, neighbors,
    )  # fmt: skip


def fit_quantizer(quantizer: Any, folds: EmbeddedFolds) -> None:
    """Fit a quantizer on the training fold, with labels or pairs if there are any that it learns from.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import SignQuantizer
    >>> X = load_digits().data
    >>> quantizer = SignQuantizer(32)
    >>> fit_quantizer(quantizer, EmbeddedFolds(X[200:], X[:200], X[200:]))
    >>> quantizer.encode(X[:3]).shape
    (3, 4)
    """
    if folds.train_pairs is not None and getattr(quantizer, "whitening", None) == "auto":
        quantizer.fit(folds.train, pairs=folds.train_pairs)
    else:
        quantizer.fit(folds.train, folds.train_labels)


def _mean_average_precisions(
    codes: tuple[NDArray[np.uint8], NDArray[np.uint8]], folds: EmbeddedFolds, n_bits: int, **options: Any
) -> tuple[MeanAveragePrecision | None, MeanAveragePrecision | None]:
    """Return mAP with expected ties, and with ties broken by the embeddings; None and None without labels."""
    if folds.query_labels is None or folds.database_labels is None:
        return None, None
    labels = folds.query_labels, folds.database_labels
    queries, database = folds.real
    expected = mean_average_precision(*codes, *labels, n_bits=n_bits, ties="expected", **options)
    by_embeddings = mean_average_precision(
        *codes, *labels, n_bits=n_bits, ties="embeddings", query_embeddings=queries, database_embeddings=database,
        **options,
    )  # fmt: skip
    return expected, by_embeddings


def _nearest_codes(query_codes: NDArray[np.uint8], database_codes: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    scan = NearestScan(query_codes, min(k, len(database_codes)))
    scan.add(database_codes)
    return scan.finish().ids


@dataclass(frozen=True)
class _AsymmetricScores:
    precision: MeanAveragePrecision | None = None
    recall: NeighborRecall | None = None
    recall_reranked: NeighborRecall | None = None


def _asymmetric_scores(
    quantizer: Any, items: EncodedItems, folds: EmbeddedFolds, metric: str, n_found: int | None, **options: Any
) -> _AsymmetricScores:
    """Score items by estimated distances: all of them where there are labels, the nearest where there are neighbors."""
    weights = quantizer.asymmetric_queries(folds.queries, metric).weights
    tables = quantizer.scalar_tables(metric)
    precision, recall, reranked = None, None, None
    if folds.query_labels is not None and folds.database_labels is not None:
        signs = np.where(unpack_bits(items.codes, quantizer.n_bits_), np.float32(1), np.float32(-1))
        scores = weights @ signs.T
        if tables is not None and items.scalars is not None:
            scores = scores * tables[0][items.scalars] + tables[1][items.scalars]
        precision = scores_mean_average_precision(scores, folds.query_labels, folds.database_labels, **options)
    if folds.true_neighbors is not None and n_found is not None:
        scales, offsets = (None, None) if tables is None else tables
        scan = AsymmetricScan(weights, min(RERANKED * n_found, len(items)), scales=scales, offsets=offsets)
        scan.add(items.codes, scalars=items.scalars)
        ids = scan.finish().ids
        recall = neighbor_recall(folds.true_neighbors, ids[:, :n_found])
        reranked = neighbor_recall(folds.true_neighbors, ids)
    return _AsymmetricScores(precision, recall, reranked)
