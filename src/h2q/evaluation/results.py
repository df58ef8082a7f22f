"""Results that carry the options they were computed with."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe

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
    """Return values of queries, those that have none (NaN) as 0 if `empty` is "zero"."""
    return np.where(np.isnan(per_query), 0.0, per_query) if empty == "zero" else per_query


@dataclass(frozen=True, eq=False)
class MeanOverQueries:
    """A mean over queries.

    Attributes
    ----------
    per_query : ndarray of float64, shape (n_queries,)
        The value of each query, NaN where it is skipped.
    n_queries : int
        Queries asked, skipped ones included.
    """

    per_query: NDArray[np.float64]
    n_queries: int

    @property
    def value(self) -> float:
        """The mean over the queries that are not skipped; NaN where all are."""
        scored = self.per_query[~np.isnan(self.per_query)]
        return float(scored.mean()) if len(scored) else float("nan")

    def confidence_interval(self, level: float = 0.95, *, n_resamples: int = 1000, random_state: int = 0) -> Interval:
        """Return the bootstrap percentile interval of the mean over queries.

        It tells how much the value depends on which queries were drawn, not on seeds of a training.

        Parameters
        ----------
        level : float
            Between 0 and 1.
        n_resamples : int
            How often queries are drawn anew, with replacement.
        random_state : int
            Seed of the draws.

        Returns
        -------
        Interval
            low and high; NaN where all queries are skipped.

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


@dataclass(frozen=True, eq=False)
class MeanAveragePrecision(MeanOverQueries):
    """Mean average precision, from 0 to 1, and how it was computed.

    Attributes
    ----------
    n_database : int
        Items ranked.
    k : int or None
        Items that count from the top of each ranking; None: all.
    radius : int or None
        Only items within this Hamming distance count; None: all.
    ties : str
        How equal distances were ordered.
    divisor : str
        What the sum of precisions was divided by.
    empty : str
        What became of queries without any relevant item in the database.
    n_bits : int or None
        Bits of the codes; None for a ranking by embeddings or scores.
    """

    n_database: int
    k: int | None
    radius: int | None
    ties: str
    divisor: str
    empty: str
    n_bits: int | None


@dataclass(frozen=True, eq=False)
class MeanAtCut(MeanOverQueries):
    """What a cut of the ranking holds, from 0 to 1, and how it was computed.

    Attributes
    ----------
    n_database : int
        Items ranked.
    k : int or None
        Items that count from the top of each ranking; None: all.
    radius : int or None
        Only items within this Hamming distance count; None: all.
    ties : str
        How equal distances were ordered.
    empty : str
        What became of queries that have no value.
    n_bits : int
        Bits of the codes.
    """

    n_database: int
    k: int | None
    radius: int | None
    ties: str
    empty: str
    n_bits: int


@dataclass(frozen=True, eq=False)
class Precision(MeanAtCut):
    """The share of relevant items among those that count; a query for which no item counts has no value."""


@dataclass(frozen=True, eq=False)
class Recall(MeanAtCut):
    """The share of the relevant items that count; a query without relevant items in the database has no value."""


@dataclass(frozen=True, eq=False)
class NormalizedDiscountedCumulativeGain(MeanOverQueries):
    """nDCG, from 0 to 1, and how it was computed.

    Attributes
    ----------
    n_database : int
        Items ranked.
    k : int or None
        Items that count from the top of each ranking; None: all.
    ties : str
        How equal distances were ordered.
    gain : str
        What an item with g labels in common is worth: 2**g - 1 ("exponential") or g ("linear").
    empty : str
        What became of queries without any relevant item in the database.
    n_bits : int
        Bits of the codes.
    """

    n_database: int
    k: int | None
    ties: str
    gain: str
    empty: str
    n_bits: int


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall at every cut, means over queries.

    Attributes
    ----------
    cuts : ndarray of int64, shape (n_cuts,)
        The first k items, or the items within a Hamming radius.
    precision, recall : ndarray of float64, shape (n_cuts,)
        Means over queries, from 0 to 1.
    precision_per_query, recall_per_query : ndarray of float64, shape (n_queries, n_cuts)
        The value of each query, NaN where it is skipped.
    by : {"rank", "radius"}
        What `cuts` are.
    n_queries, n_database : int
        How much was asked and ranked.
    ties : str
        How equal distances were ordered.
    empty : str
        What became of queries without relevant items, and with none within a radius.
    n_bits : int
        Bits of the codes.
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


@dataclass(frozen=True, eq=False)
class NeighborRecall(MeanOverQueries):
    """The share of the true neighbors that a search found, from 0 to 1.

    Attributes
    ----------
    k : int
        True neighbors of each query.
    n_found : int
        Items that the search gave for each query.
    """

    k: int
    n_found: int
