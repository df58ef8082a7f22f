"""Mean average precision of rankings by Hamming distance, with every way to treat ties, and of rankings by embeddings.

A ranking by Hamming distance is full of ties. The expected average precision over all orders of tied items has a closed
form over the counts of items and of relevant items at each distance, so it needs no sort (the uncut case: McSherry and
Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from h2q.checks import as_codes, as_embeddings, check_integer, check_n_bits
from h2q.errors import describe
from h2q.retrieval.hamming import distances
from h2q.retrieval.metrics import kernels
from h2q.retrieval.metrics.labels import Relevance
from h2q.retrieval.metrics.results import MeanAveragePrecision
from h2q.retrieval.popcount import as_words

__all__ = ["embeddings_mean_average_precision", "mean_average_precision"]

TIES = ("expected", "float", "index", "optimistic", "pessimistic")
_CHUNK_ENTRIES = 1 << 24


def mean_average_precision(
    query_codes: Any,
    database_codes: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    n_bits: int,
    k: int | None = None,
    radius: int | None = None,
    ties: str = "expected",
    divisor: str = "retrieved",
    empty: str = "zero",
    query_embeddings: Any = None,
    database_embeddings: Any = None,
) -> MeanAveragePrecision:
    """Return the mean average precision of ranking the database by Hamming distance.

    Parameters
    ----------
    query_codes, database_codes : array-like of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    query_labels, database_labels : array-like
        Class ids (n,) or multi-hot rows (n, classes); an item is relevant if it has a label in common with the query.
    n_bits : int
        Bits of a code.
    k : int, optional
        Only the k first items count; beyond the database all do. Default: all.
    radius : int, optional
        Only items within this Hamming distance count. Default: all.
    ties : {"expected", "float", "index", "optimistic", "pessimistic"}
        Order of items at one distance: the expectation over random orders; by the distance of the float embeddings at
        unit norm (the key of the paper's authors: 10 * Hamming + squared Euclidean distance); by database row;
        relevant ones first; relevant ones last.
    divisor : {"retrieved", "relevant"}
        Divide the sum of precisions by the relevant items among those that count, the field's habit, or by
        min(k, all relevant items).
    empty : {"zero", "skip"}
        A query without any relevant item in the database counts as 0, or not at all.
    query_embeddings, database_embeddings : array-like of float, shape (n, d), optional
        Needed for ``ties="float"``.

    Returns
    -------
    MeanAveragePrecision
        ``value`` from 0 to 1, ``per_query``, the options, and ``confidence_interval()``.

    Raises
    ------
    TypeError, ValueError
        If codes, labels, embeddings or an option are not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> result = mean_average_precision(database[:1], database, [1], [0, 0, 1], n_bits=2)
    >>> round(result.value, 4)  # at rank 2 or 3, each with probability 1/2
    0.4167
    """
    n_bits = check_n_bits(n_bits)
    queries = as_codes(query_codes, n_bits, "query_codes")
    database = as_codes(database_codes, n_bits, "database_codes")
    _check_options(ties, divisor, empty, len(queries), len(database))
    relevance = Relevance.from_labels(query_labels, database_labels, len(queries), len(database))
    cut = len(database) if k is None else min(check_integer(k, "k", low=1), len(database))
    reach = n_bits if radius is None else min(check_integer(radius, "radius", low=0), n_bits)
    if ties == "float":
        keys = _FloatKeys(query_embeddings, database_embeddings, len(queries), len(database))
        per_query = _by_sorting(queries, database, relevance, keys, cut, reach, divisor)
    else:
        per_query = np.empty(len(queries))
        steps = np.arange(1, len(database) + 1)
        harmonic = np.concatenate([[0.0], np.cumsum(1 / steps)])
        log_factorial = gammaln(np.arange(len(database) + 1) + 1.0) if ties == "expected" else np.zeros(1)
        words = as_words(queries), as_words(database)
        kernels.average_precision(
            *words, relevance.queries, relevance.database, relevance.multi_hot, n_bits, cut, reach, TIES.index(ties),
            divisor == "relevant", harmonic, log_factorial, per_query,
        )  # fmt: skip
    if empty == "zero":
        per_query = np.where(np.isnan(per_query), 0.0, per_query)
    return MeanAveragePrecision(per_query, len(queries), len(database), k, radius, ties, divisor, empty, n_bits)


def embeddings_mean_average_precision(
    query_embeddings: Any,
    database_embeddings: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    k: int | None = None,
    divisor: str = "retrieved",
    empty: str = "zero",
) -> MeanAveragePrecision:
    """Return the mean average precision of ranking the database by cosine similarity: what codes are measured against.

    Parameters
    ----------
    query_embeddings, database_embeddings : array-like of float, shape (n, d)
        Embeddings; equal similarities go by database row.
    query_labels, database_labels, k, divisor, empty
        See `mean_average_precision`.

    Returns
    -------
    MeanAveragePrecision
        Its ``ties`` is "index" and its ``n_bits`` None.

    Raises
    ------
    TypeError, ValueError
        If embeddings, labels or an option are not as described.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> embeddings_mean_average_precision(x[:1], x, [0], [0, 1, 0]).value.__round__(4)
    0.8333
    """
    keys = _FloatKeys(query_embeddings, database_embeddings, None, None)
    n_queries, n_database = len(keys.queries), len(keys.database)
    _check_options("index", divisor, empty, n_queries, n_database)
    relevance = Relevance.from_labels(query_labels, database_labels, n_queries, n_database)
    cut = n_database if k is None else min(check_integer(k, "k", low=1), n_database)
    per_query = _by_sorting(None, None, relevance, keys, cut, 0, divisor)
    if empty == "zero":
        per_query = np.where(np.isnan(per_query), 0.0, per_query)
    return MeanAveragePrecision(per_query, n_queries, n_database, k, None, "index", divisor, empty, None)


def _check_options(ties: str, divisor: str, empty: str, n_queries: int, n_database: int) -> None:
    for name, value, known in (
        ("ties", ties, TIES),
        ("divisor", divisor, ("retrieved", "relevant")),
        ("empty", empty, ("zero", "skip")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {describe(value)}")
    if n_queries == 0 or n_database == 0:
        raise ValueError(f"there must be queries and a database; got {n_queries} queries and {n_database} items")


class _FloatKeys:
    """Squared Euclidean distances of embeddings at unit norm, from 0 to 4."""

    def __init__(self, queries: Any, database: Any, n_queries: int | None, n_database: int | None) -> None:
        if queries is None or database is None:
            raise ValueError('ties="float" needs query_embeddings and database_embeddings')
        self.queries = _unit_rows(queries, "query_embeddings", n_queries)
        self.database = _unit_rows(database, "database_embeddings", n_database)
        if self.queries.shape[1] != self.database.shape[1]:
            raise ValueError(
                f"query_embeddings have {self.queries.shape[1]} features and database_embeddings "
                f"{self.database.shape[1]}; pass embeddings of one model"
            )

    def rows(self, some: slice) -> NDArray[np.float32]:
        """Return the squared distances of some queries to all items."""
        squared: NDArray[np.float32] = 2 - 2 * (self.queries[some] @ self.database.T)
        return np.maximum(squared, 0, out=squared)


def _unit_rows(embeddings: Any, name: str, n: int | None) -> NDArray[np.float32]:
    rows = as_embeddings(embeddings, name)
    if n is not None and len(rows) != n:
        raise ValueError(f"{name} must have {n} rows, one a code; got {len(rows)}")
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def _by_sorting(
    queries: NDArray[np.uint8] | None,
    database: NDArray[np.uint8] | None,
    relevance: Relevance,
    keys: _FloatKeys,
    cut: int,
    reach: int,
    divisor: str,
) -> NDArray[np.float64]:
    """Average precision of rankings by Hamming distance (where there are codes), then float distance, then row."""
    n_queries, n_database = len(keys.queries), len(keys.database)
    per_query = np.empty(n_queries)
    step = max(1, _CHUNK_ENTRIES // n_database)
    for start in range(0, n_queries, step):
        some = slice(start, start + step)
        key = keys.rows(some).astype(np.float64)
        counted = np.full(len(key), cut)
        if queries is not None and database is not None:
            hamming = distances(queries[some], database)
            key += 10.0 * hamming
            counted = np.minimum((hamming <= reach).sum(axis=1), cut)
        kernels.ranked_average_precision(
            key, relevance.rows(some), counted, cut, divisor == "relevant", per_query[some]
        )
    return per_query
