"""Mean average precision of rankings by Hamming distance, under any policy for ties, and of rankings by embeddings.

A ranking by Hamming distance is full of ties. The expected average precision over all orders of tied items has a closed
form over the counts of items and of relevant items at each distance, so it needs no sort (the uncut case: McSherry and
Najork, "Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import describe
from h2q.evaluation import kernels
from h2q.evaluation.rankers import CodeRanker, KeyRanker, UnitDistances, make_relevance
from h2q.evaluation.rankings import DIVISORS, EMPTY, Cut, Rankings, check_choice
from h2q.evaluation.results import MeanAveragePrecision, without_empty

__all__ = [
    "AveragePrecision",
    "embeddings_mean_average_precision",
    "mean_average_precision",
    "scores_mean_average_precision",
]


@dataclass(frozen=True)
class AveragePrecision:
    """The expected average precision of the items that count.

    Attributes
    ----------
    cut : Cut
        Which items count.
    divisor : {"retrieved", "relevant"}
        See `mean_average_precision`.
    """

    cut: Cut
    divisor: str

    @property
    def cuts(self) -> Sequence[Cut]:
        """See `Measure`."""
        return (self.cut,)

    def score(self, rankings: Rankings) -> NDArray[np.float64]:
        """Return the average precision of each query; NaN if nothing in the database is relevant."""
        n_relevant = rankings.n_relevant
        divisors = np.zeros_like(n_relevant)
        if self.divisor == "relevant":
            divisors = np.minimum(self.cut.limit(rankings.n_database), n_relevant)
        result = np.empty(len(n_relevant))
        kernels.average_precision(
            rankings.items,
            rankings.relevant,
            rankings.sizes(self.cut),
            divisors,
            _harmonic(rankings.n_database),
            result,
        )
        result[n_relevant == 0] = np.nan
        return result


@lru_cache(maxsize=2)
def _harmonic(n: int) -> NDArray[np.float64]:
    """Return the harmonic numbers 0, 1, 1 + 1/2, ..., up to that of n."""
    return np.concatenate([[0.0], np.cumsum(1 / np.arange(1, n + 1))])


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
        Only the k first items count; a k beyond the database means all. Default: all.
    radius : int, optional
        Only items within this Hamming distance count. Default: all.
    ties : {"expected", "embeddings", "row", "optimistic", "pessimistic"}
        Order of items at one distance: the expectation over random orders; by the distance of the float embeddings at
        unit norm (the authors' key: 10 * Hamming + squared Euclidean distance; remaining ties are averaged over); by
        database row; relevant items first; relevant items last.
    divisor : {"retrieved", "relevant"}
        Divisor of the sum of precisions: the number of relevant items among those that count, as in most papers, or
        min(k, number of all relevant items).
    empty : {"zero", "skip"}
        Whether a query without any relevant item in the database counts as 0, or is skipped. A query whose relevant
        items all lie beyond k or the radius has 0 in either case.
    query_embeddings, database_embeddings : array-like of float, shape (n, d), optional
        Needed for ``ties="embeddings"``.

    Returns
    -------
    MeanAveragePrecision
        ``value`` from 0 to 1, ``per_query``, the options, and ``confidence_interval()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> result = mean_average_precision(database[:1], database, [1], [0, 0, 1], n_bits=2)
    >>> round(result.value, 4)  # at rank 2 or 3, each with probability 1/2
    0.4167
    """
    measure = AveragePrecision(Cut.checked(k, radius), check_choice(divisor, "divisor", DIVISORS))
    check_choice(empty, "empty", EMPTY)
    ranker = CodeRanker(
        query_codes, database_codes, query_labels, database_labels, n_bits=n_bits, ties=ties,
        query_embeddings=query_embeddings, database_embeddings=database_embeddings,
    )  # fmt: skip
    (per_query,) = ranker.measure([measure])
    return MeanAveragePrecision(
        without_empty(per_query, empty), ranker.n_queries, ranker.n_database, k, radius, ties, divisor, empty, n_bits
    )


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
    """Return the mean average precision of ranking the database by cosine similarity: the reference for codes.

    Parameters
    ----------
    query_embeddings, database_embeddings : array-like of float, shape (n, d)
        Embeddings; ties, if any, are averaged over. If `database_embeddings` and `database_labels` are both None, each
        query ranks all other queries.
    query_labels, database_labels, k, divisor, empty
        See `mean_average_precision`.

    Returns
    -------
    MeanAveragePrecision
        Its ``n_bits`` is None.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    >>> embeddings_mean_average_precision(x[:1], x, [0], [0, 1, 0]).value.__round__(4)
    0.8333
    >>> embeddings_mean_average_precision(x, None, [0, 1, 0], None).per_query
    array([0.5, 0. , 0.5])
    """
    leave_one_out = database_embeddings is None
    if leave_one_out != (database_labels is None):
        raise ValueError("database_embeddings and database_labels must both be given, or both be None")
    if leave_one_out:
        database_embeddings, database_labels = query_embeddings, query_labels
    unit = UnitDistances(query_embeddings, database_embeddings, None, None)
    relevance = make_relevance(query_labels, database_labels, len(unit.queries), len(unit.database))
    return _rank_by_key(KeyRanker(unit.rows, relevance, leave_one_out=leave_one_out), k, divisor, empty)


def scores_mean_average_precision(
    scores: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    k: int | None = None,
    divisor: str = "retrieved",
    empty: str = "zero",
) -> MeanAveragePrecision:
    """Return the mean average precision of ranking by given scores, such as those of an asymmetric search.

    Parameters
    ----------
    scores : array-like of float, shape (n_queries, n_database)
        A higher score is nearer; equal scores are averaged over.
    query_labels, database_labels, k, divisor, empty
        See `mean_average_precision`.

    Returns
    -------
    MeanAveragePrecision
        Its ``n_bits`` is None.

    Raises
    ------
    TypeError, ValueError
        If scores are not 2-D numbers or contain NaN, or another argument is not as described.

    Examples
    --------
    >>> scores_mean_average_precision([[0.9, 0.5, 0.1]], [7], [0, 7, 7]).value.__round__(4)
    0.5833
    """
    rows = np.asarray(scores)
    if rows.ndim != 2 or rows.dtype.kind not in "fiu":
        raise TypeError(f"scores must be numbers of shape (n_queries, n_database); got {describe(rows)}")
    if np.isnan(rows).any():
        raise ValueError("scores contain NaN; give items that cannot be ranked the score -inf")

    def keys(block: slice) -> NDArray[np.float64]:
        return -rows[block].astype(np.float64)

    return _rank_by_key(KeyRanker(keys, make_relevance(query_labels, database_labels, *rows.shape)), k, divisor, empty)


def _rank_by_key(ranker: KeyRanker, k: int | None, divisor: str, empty: str) -> MeanAveragePrecision:
    measure = AveragePrecision(Cut.checked(k), check_choice(divisor, "divisor", DIVISORS))
    check_choice(empty, "empty", EMPTY)
    (per_query,) = ranker.measure([measure])
    n_ranked = ranker.n_database - ranker.leave_one_out
    return MeanAveragePrecision(
        without_empty(per_query, empty), ranker.n_queries, n_ranked, k, None, "expected", divisor, empty, None
    )
