"""Normalized discounted cumulative gain (nDCG), where relevance has grades: the number of labels in common.

Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 2002. Its expectation over random
orders of tied items needs only the mean gain of each group of ties (McSherry and Najork, ECIR 2008).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.evaluation.rankers import CodeRanker
from h2q.evaluation.rankings import EMPTY, GAINS, Cut, Rankings, check_choice
from h2q.evaluation.results import NormalizedDiscountedCumulativeGain, without_empty

__all__ = ["NormalizedGain", "ndcg"]


@dataclass(frozen=True)
class NormalizedGain:
    """The expected discounted gain of the first items, divided by that of the best ranking.

    Attributes
    ----------
    cut : Cut
        Which items count.
    """

    cut: Cut

    @property
    def cuts(self) -> Sequence[Cut]:
        """See `Measure`."""
        return (self.cut,)

    def score(self, rankings: Rankings) -> NDArray[np.float64]:
        """Return the value of each query; NaN where nothing in the database is relevant."""
        discounts = _cumulative_discounts(rankings.n_database)
        mean_gain = rankings.gain / np.maximum(rankings.items, 1)
        discounted = discounts[rankings.before + rankings.taken(self.cut)] - discounts[rankings.before]
        best_first = rankings.by_grade[:, ::-1]
        ends = np.minimum(np.cumsum(best_first, axis=1), self.cut.limit(rankings.n_database))
        best = np.diff(discounts[ends], axis=1, prepend=0) @ rankings.gains[::-1]
        return np.where(best > 0, (mean_gain * discounted).sum(axis=1) / np.where(best > 0, best, 1), np.nan)


@lru_cache(maxsize=2)
def _cumulative_discounts(n: int) -> NDArray[np.float64]:
    """Return the sums of the discounts 1 / log2(1 + rank) of the first 0, 1, ..., n ranks."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, n + 2)))])


def ndcg(
    query_codes: Any,
    database_codes: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    n_bits: int,
    k: int | None = None,
    gain: str = "exponential",
    ties: str = "expected",
    empty: str = "zero",
    query_embeddings: Any = None,
    database_embeddings: Any = None,
) -> NormalizedDiscountedCumulativeGain:
    """Return the nDCG of the first k items by Hamming distance; an item's grade is the number of labels in common.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels, n_bits, ties, query_embeddings, database_embeddings
        See `mean_average_precision`. With class ids the grades are 0 and 1.
    k : int, optional
        Only the k first items count; beyond the database all do. Default: all.
    gain : {"exponential", "linear"}
        What an item of grade g is worth: 2**g - 1, or g.
    empty : {"zero", "skip"}
        A query without any relevant item in the database counts as 0, or not at all.

    Returns
    -------
    NormalizedDiscountedCumulativeGain
        ``value`` from 0 to 1, ``per_query``, the options, and ``confidence_interval()``.

    Raises
    ------
    TypeError, ValueError
        If codes, labels, embeddings or an option are not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8) << 6
    >>> tags = [[1, 0, 0], [0, 0, 1], [1, 1, 0]]
    >>> ndcg(database[:1], database, [[1, 1, 0]], tags, n_bits=2).value.__round__(4)
    0.6885
    """
    cut = Cut.checked(k)
    check_choice(gain, "gain", GAINS)
    check_choice(empty, "empty", EMPTY)
    ranker = CodeRanker(
        query_codes, database_codes, query_labels, database_labels, n_bits=n_bits, ties=ties, gain=gain,
        query_embeddings=query_embeddings, database_embeddings=database_embeddings,
    )  # fmt: skip
    (per_query,) = ranker.measure([NormalizedGain(cut)])
    return NormalizedDiscountedCumulativeGain(
        without_empty(per_query, empty), ranker.n_queries, ranker.n_database, k, ties, gain, empty, n_bits
    )
