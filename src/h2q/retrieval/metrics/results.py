"""Results that carry the options they were computed with."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "MeanAveragePrecision", "MeanOverQueries", "NeighborRecall"]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
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

        >>> result = MeanOverQueries(np.array([0.0, 1.0, 1.0, np.nan]), 4)
        >>> result.confidence_interval()
        Interval(low=0.0, high=1.0)
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1; got {level}")
        scored = self.per_query[~np.isnan(self.per_query)]
        if len(scored) == 0:
            return Interval(float("nan"), float("nan"))
        generator = np.random.default_rng(random_state)
        means = [scored[generator.integers(0, len(scored), len(scored))].mean() for _ in range(n_resamples)]
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
        return Interval(float(low), float(high))


@dataclass(frozen=True)
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
        Bits of the codes; None for a ranking by embeddings.
    """

    n_database: int
    k: int | None
    radius: int | None
    ties: str
    divisor: str
    empty: str
    n_bits: int | None


@dataclass(frozen=True)
class NeighborRecall(MeanOverQueries):
    """The share of the true neighbours that a search found, from 0 to 1.

    Attributes
    ----------
    k : int
        True neighbours of each query.
    n_found : int
        Items that the search gave for each query.
    """

    k: int
    n_found: int
