"""Fit a quantizer, encode, search and score: the one place where this is done."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
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
)
from h2q.index import BinaryIndex
from h2q.quantization.objectives import quantization_errors
from h2q.quantization.reduction import principal_components

__all__ = ["EmbeddedFolds", "Score", "embed_folds", "score_embeddings", "score_quantizer"]


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
    real_queries, real_database : ndarray of float32, optional
        The real-valued embeddings that codes are compared with, where the quantizers get reduced ones. Default:
        `queries` and `database`.
    """

    train: NDArray[np.float32]
    queries: NDArray[np.float32]
    database: NDArray[np.float32]
    query_labels: NDArray[Any] | None = None
    database_labels: NDArray[Any] | None = None
    true_neighbors: NDArray[np.int64] | None = None
    real_queries: NDArray[np.float32] | None = None
    real_database: NDArray[np.float32] | None = None

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
        Bytes of an item.
    map_expected, map_embeddings : MeanAveragePrecision or None
        By labels; equal Hamming distances averaged over all orders, or ordered by the embeddings.
    recall : NeighborRecall or None
        Share of the true neighbors found.
    quantization_error_l1, quantization_error_l2 : float or None
        Mean abs(z - sgn z) and mean (z - sgn z)^2 of rotated rows scaled to norm sqrt(n_bits).
    distinct_codes : int or None
        Codes in use in the database.
    fit_seconds, encode_seconds, score_seconds : float or None
        Wall-clock time of each part.
    neighbors : ndarray of int64, shape (n_queries, k), or None
        Database rows found for each query, nearest first.
    """

    name: str
    n_bits: int | None
    n_bytes: int
    map_expected: MeanAveragePrecision | None = None
    map_embeddings: MeanAveragePrecision | None = None
    recall: NeighborRecall | None = None
    quantization_error_l1: float | None = None
    quantization_error_l2: float | None = None
    distinct_codes: int | None = None
    fit_seconds: float | None = None
    encode_seconds: float | None = None
    score_seconds: float | None = None
    neighbors: NDArray[np.int64] | None = None

    def values(self) -> dict[str, Any]:
        """Return the scores as plain numbers, for JSON: no values of single queries, no neighbors."""
        return {
            "name": self.name,
            "n_bits": self.n_bits,
            "n_bytes": self.n_bytes,
            "map_expected": None if self.map_expected is None else self.map_expected.value,
            "map_embeddings": None if self.map_embeddings is None else self.map_embeddings.value,
            "recall": None if self.recall is None else self.recall.value,
            "quantization_error_l1": self.quantization_error_l1,
            "quantization_error_l2": self.quantization_error_l2,
            "distinct_codes": self.distinct_codes,
            "fit_seconds": self.fit_seconds,
            "encode_seconds": self.encode_seconds,
            "score_seconds": self.score_seconds,
        }


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
        Number of neighbors to return. Default: the number of true neighbors.

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
    quantizer.fit(folds.train)
    fitted = time.perf_counter()
    codes = quantizer.encode(folds.queries), quantizer.encode(folds.database)
    encoded = time.perf_counter()
    n_bits = quantizer.n_bits_
    expected, by_embeddings = _mean_average_precisions(codes, folds, n_bits, k=k, divisor=divisor, empty=empty)
    recall, neighbors = None, None
    if folds.true_neighbors is not None:
        k_true = folds.true_neighbors.shape[1]
        neighbors = _search(*codes, n_bits, max(k_true, depth or k_true))
        recall = neighbor_recall(folds.true_neighbors, neighbors[:, :k_true])
    error_l1, error_l2 = quantization_errors(quantizer.transform(getattr(folds, error_fold)))
    distinct_codes = len(np.unique(codes[1], axis=0))
    done = time.perf_counter()
    return Score(
        name, n_bits, codes[0].shape[1], expected, by_embeddings, recall, error_l1, error_l2, distinct_codes,
        fitted - began, encoded - fitted, done - encoded, neighbors,
    )  # fmt: skip


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


def _search(
    query_codes: NDArray[np.uint8], database_codes: NDArray[np.uint8], n_bits: int, k: int
) -> NDArray[np.int64]:
    index = BinaryIndex(n_bits)
    index.add(database_codes)
    return np.asarray(index.search(query_codes, k).ids)
