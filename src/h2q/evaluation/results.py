"""Results that carry the options they were computed with."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe
from h2q.evaluation.summaries import Summarized

__all__ = [
    "Interval",
    "MeanAtCut",
    "MeanAveragePrecision",
    "MeanOverQueries",
    "NeighborRecall",
    "NormalizedDiscountedCumulativeGain",
    "Precision",
    "PrecisionRecallCurve",
    "Recall",
    "without_empty",
]

_BLOCK_DRAWS = 1 << 20


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def without_empty(per_query: NDArray[np.float64], empty: str) -> NDArray[np.float64]:
    """Return the values of queries, with NaN, the value of an empty query, replaced by 0 if `empty` is "zero"."""
    return np.where(np.isnan(per_query), 0.0, per_query) if empty == "zero" else per_query


@dataclass(frozen=True, eq=False, repr=False)
class MeanOverQueries(Summarized):
    """A mean over queries.

    Attributes
    ----------
    per_query : ndarray of float64, shape (n_queries,)
        The value of each query, NaN if it is skipped.
    n_queries : int
        Number of queries, including those that are skipped.
    """

    per_query: NDArray[np.float64]
    n_queries: int

    def summary(self) -> dict[str, Any]:
        """Return the value, then the options."""
        return {"value": self.value, **super().summary()}

    @property
    def value(self) -> float:
        """The mean over the queries that are not skipped; NaN if all are."""
        scored = self.per_query[~np.isnan(self.per_query)]
        return float(scored.mean()) if len(scored) else float("nan")

    def confidence_interval(self, level: float = 0.95, *, n_resamples: int = 1000, random_state: int = 0) -> Interval:
        """Return the bootstrap percentile interval of the mean over queries.

        It shows how much the value depends on the choice of queries, not on the seed of a training.

        Parameters
        ----------
        level : float
            Confidence level, between 0 and 1.
        n_resamples : int
            Number of samples of queries, drawn with replacement.
        random_state : int
            Seed of the draws.

        Returns
        -------
        Interval
            low and high; NaN if all queries are skipped.

        Raises
        ------
        TypeError, ValueError
            If an option is out of range.

        Examples
        --------
        >>> result = MeanOverQueries(np.array([0.0, 1.0, 1.0, np.nan]), 4)
        >>> result.confidence_interval()
        Interval(low=0.0, high=1.0)
        """
        if not isinstance(level, (int, float)) or not 0 < level < 1:
            raise ValueError(f"level must be a number between 0 and 1; got {describe(level)}")
        n_resamples = check_integer(n_resamples, "n_resamples", low=1)
        scored = self.per_query[~np.isnan(self.per_query)]
        n = len(scored)
        if n == 0:
            return Interval(float("nan"), float("nan"))
        generator = np.random.default_rng(random_state)
        rows = max(1, _BLOCK_DRAWS // n)
        means = np.concatenate(
            [
                scored[generator.integers(0, n, (min(rows, n_resamples - start), n))].mean(axis=1)
                for start in range(0, n_resamples, rows)
            ]
        )
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        return Interval(float(low), float(high))


@dataclass(frozen=True, eq=False, repr=False)
class MeanAveragePrecision(MeanOverQueries):
    """Mean average precision, from 0 to 1, and the options it was computed with.

    Attributes
    ----------
    n_database : int
        Number of items ranked.
    k : int or None
        Number of first items that count; None: all.
    radius : int or None
        Only items within this Hamming distance count; None: all.
    ties : str
        Order of items at equal distance.
    divisor : str
        Divisor of the sum of precisions.
    empty : str
        Treatment of queries without any relevant item in the database.
    n_bits : int or None
        Bits of the codes; None for a ranking by embeddings or scores.

    Examples
    --------
    >>> from h2q.evaluation import mean_average_precision
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> mean_average_precision(codes[:1], codes, [1], [0, 1, 1], n_bits=8)
    MeanAveragePrecision(value=0.5833, n_queries=1, n_database=3, ties='expected',
    divisor='retrieved', empty='zero', n_bits=8)
    """

    n_database: int
    k: int | None
    radius: int | None
    ties: str
    divisor: str
    empty: str
    n_bits: int | None


@dataclass(frozen=True, eq=False, repr=False)
class MeanAtCut(MeanOverQueries):
    """A share of items at a cut of the ranking, from 0 to 1, and the options it was computed with.

    Attributes
    ----------
    n_database : int
        Number of items ranked.
    k : int or None
        Number of first items that count; None: all.
    radius : int or None
        Only items within this Hamming distance count; None: all.
    ties : str
        Order of items at equal distance.
    empty : str
        Treatment of queries that have no value.
    n_bits : int
        Bits of the codes.
    """

    n_database: int
    k: int | None
    radius: int | None
    ties: str
    empty: str
    n_bits: int


@dataclass(frozen=True, eq=False, repr=False)
class Precision(MeanAtCut):
    """The share of relevant items among those that count; a query for which no item counts has no value.

    Examples
    --------
    >>> from h2q.evaluation import precision
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> precision(codes[:1], codes, [1], [0, 1, 1], n_bits=8, k=2).value
    0.5
    """


@dataclass(frozen=True, eq=False, repr=False)
class Recall(MeanAtCut):
    """The share of the relevant items that count; a query without relevant items in the database has no value.

    Examples
    --------
    >>> from h2q.evaluation import recall
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> recall(codes[:1], codes, [1], [0, 1, 1], n_bits=8, radius=2).value
    1.0
    """


@dataclass(frozen=True, eq=False, repr=False)
class NormalizedDiscountedCumulativeGain(MeanOverQueries):
    """nDCG, from 0 to 1, and the options it was computed with.

    Attributes
    ----------
    n_database : int
        Number of items ranked.
    k : int or None
        Number of first items that count; None: all.
    ties : str
        Order of items at equal distance.
    gain : str
        Gain of an item with g labels in common: 2**g - 1 ("exponential") or g ("linear").
    empty : str
        Treatment of queries without any relevant item in the database.
    n_bits : int
        Bits of the codes.

    Examples
    --------
    >>> from h2q.evaluation import ndcg
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> round(ndcg(codes[:1], codes, [1], [1, 0, 1], n_bits=8).value, 4)
    0.9197
    """

    n_database: int
    k: int | None
    ties: str
    gain: str
    empty: str
    n_bits: int


@dataclass(frozen=True, eq=False, repr=False)
class PrecisionRecallCurve(Summarized):
    """Precision and recall at each cut, averaged over queries.

    Attributes
    ----------
    cuts : ndarray of int64, shape (n_cuts,)
        The first k items, or the items within a Hamming radius.
    precision, recall : ndarray of float64, shape (n_cuts,)
        Means over queries, from 0 to 1.
    precision_per_query, recall_per_query : ndarray of float64, shape (n_queries, n_cuts)
        The value of each query, NaN if it is skipped.
    by : {"rank", "radius"}
        Meaning of `cuts`.
    n_queries, n_database : int
        Number of queries, and of items ranked.
    ties : str
        Order of items at equal distance.
    empty : str
        Treatment of queries without relevant items, or with no item within a radius.
    n_bits : int
        Bits of the codes.

    Examples
    --------
    >>> from h2q.evaluation import precision_recall_curve
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> curve = precision_recall_curve(codes[:1], codes, [1], [1, 0, 1], n_bits=8)
    >>> curve.cuts, curve.recall
    (array([1, 2, 3]), array([0.5, 0.5, 1. ]))
    """

    cuts: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    precision_per_query: NDArray[np.float64]
    recall_per_query: NDArray[np.float64]
    by: str
    n_queries: int
    n_database: int
    ties: str
    empty: str
    n_bits: int

    def summary(self) -> dict[str, Any]:
        """Return the number of cuts and their range, then the options."""
        cuts = f"{len(self.cuts)} from {self.cuts.min()} to {self.cuts.max()}"
        return {"cuts": cuts, **super().summary()}


@dataclass(frozen=True, eq=False, repr=False)
class NeighborRecall(MeanOverQueries):
    """The share of the true neighbors that a search returned, from 0 to 1.

    Attributes
    ----------
    k : int
        Number of true neighbors of each query.
    n_found : int
        Number of items that the search returned for each query.

    Examples
    --------
    >>> from h2q.evaluation import neighbor_recall
    >>> neighbor_recall([[0, 1], [2, 3]], [[1, 7], [3, 2]]).value
    0.75
    """

    k: int
    n_found: int
