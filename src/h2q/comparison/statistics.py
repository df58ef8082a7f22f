"""Paired comparisons: over queries by the bootstrap, over the cells of an experiment by a sign test."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from h2q.evaluation.results import MeanOverQueries

__all__ = [
    "CellComparison",
    "QueryComparison",
    "compare_cells",
    "compare_cells_by_query",
    "compare_queries",
    "count_wins",
    "mean_and_deviation",
    "recovered_share",
]

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class QueryComparison:
    """The difference between two means over the same queries.

    Attributes
    ----------
    difference : float
        Mean of the first minus mean of the second.
    low, high : float
        Bootstrap percentile interval of the difference, over queries.

    Examples
    --------
    >>> QueryComparison(difference=0.02, low=-0.01, high=0.05).is_better
    False
    """

    difference: float
    low: float
    high: float

    @property
    def is_better(self) -> bool:
        """Whether the first is above the second beyond the interval."""
        return self.low > 0

    @property
    def is_worse(self) -> bool:
        """Whether the first is below the second beyond the interval."""
        return self.high < 0


def compare_queries(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    *,
    level: float = 0.95,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> QueryComparison:
    """Compare two scores of the same queries, paired: each resample draws the same queries for both.

    Parameters
    ----------
    first, second : ndarray of float64, shape (n_queries,)
        Score of each query, NaN where the query is skipped; a query skipped by one is skipped in both.
    level, n_resamples, random_state
        See `h2q.evaluation.results.MeanOverQueries.confidence_interval`.

    Returns
    -------
    QueryComparison
        NaN where all queries are skipped. The interval covers which queries were drawn, not the seeds of a fit.

    Raises
    ------
    ValueError
        If the shapes differ, or an option is out of range.

    Examples
    --------
    >>> comparison = compare_queries(np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.6, 0.8]))
    >>> round(comparison.difference, 6), comparison.is_better
    (0.1, True)
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"first and second must have one score a query; got {np.shape(first)} and {np.shape(second)}")
    differences = MeanOverQueries(np.asarray(first) - np.asarray(second), len(first))
    low, high = differences.confidence_interval(level, n_resamples=n_resamples, random_state=random_state)
    return QueryComparison(differences.value, low, high)


def compare_cells_by_query(
    first: Mapping[Key, NDArray[np.float64]],
    second: Mapping[Key, NDArray[np.float64]],
    *,
    query_set: Callable[[Key], Hashable],
    level: float = 0.95,
    n_resamples: int = 1000,
    random_state: int = 0,
) -> QueryComparison | None:
    """Compare two scores of the same queries over the cells that both have, paired within each cell.

    A resample draws the same queries for all cells that share them, and other ones for each set of queries.

    Parameters
    ----------
    first, second : mapping of Key to ndarray of float64, shape (n_queries,)
        For each cell the score of each query, NaN where the query is skipped.
    query_set : callable
        Maps the key of a cell to its set of queries, for instance its data set and seed.
    level : float
        Of the interval.
    n_resamples, random_state : int
        Resamples, and the seed that draws them.

    Returns
    -------
    QueryComparison or None
        The mean difference over cells with its interval; None if they share no cell.

    Examples
    --------
    >>> queries = np.linspace(0, 1, 50)
    >>> first, second = {0: queries + 0.1, 1: queries + 0.1}, {0: queries, 1: queries}
    >>> result = compare_cells_by_query(first, second, query_set=lambda cell: cell)
    >>> round(result.difference, 6), round(result.low, 6), round(result.high, 6)
    (0.1, 0.1, 0.1)
    """
    by_set: dict[Hashable, list[NDArray[np.float64]]] = defaultdict(list)
    for key in first:
        if key in second:
            by_set[query_set(key)].append(first[key] - second[key])
    n_cells = sum(map(len, by_set.values()))
    if not n_cells:
        return None
    generator = np.random.default_rng(random_state)
    difference, resampled = 0.0, np.zeros(n_resamples)
    for cells in by_set.values():
        mean = np.nanmean(cells, axis=0)
        mean = mean[~np.isnan(mean)]
        share = len(cells) / n_cells
        difference += share * mean.mean()
        resampled += share * mean[generator.integers(len(mean), size=(n_resamples, len(mean)))].mean(axis=1)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return QueryComparison(float(difference), float(low), float(high))


@dataclass(frozen=True)
class CellComparison:
    """A quantizer against a baseline, over the cells that both have.

    Attributes
    ----------
    n_cells : int
        Shared cells.
    n_better, n_worse : int
        Cells in which the quantizer is strictly above, or below.
    mean, largest, smallest : float
        Of the differences, in the unit of the scores.
    p_value : float
        Two-sided sign test over the cells that differ: probability of so uneven a count if both were equally good.
        Cells that share a network count as independent.

    Examples
    --------
    >>> compare_cells({1: 0.5, 2: 0.75}, {1: 0.25, 2: 0.75}).share_better
    0.5
    """

    n_cells: int
    n_better: int
    n_worse: int
    mean: float
    largest: float
    smallest: float
    p_value: float

    @property
    def share_better(self) -> float:
        """Share of the cells that improve, 0 to 1."""
        return self.n_better / self.n_cells


def compare_cells(values: Mapping[Key, float], baseline: Mapping[Key, float]) -> CellComparison | None:
    """Compare scores with those of a baseline, cell by cell; None if they share no cell.

    Examples
    --------
    >>> result = compare_cells({1: 0.5, 2: 0.75, 3: 0.5}, {1: 0.25, 2: 0.5, 3: 0.5, 4: 0.0})
    >>> result.n_cells, result.n_better, result.largest, result.p_value
    (3, 2, 0.25, 0.5)
    """
    from scipy.stats import binomtest

    shared = [key for key in values if key in baseline]
    if not shared:
        return None
    difference = np.array([values[key] - baseline[key] for key in shared])
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    p_value = float(binomtest(better, better + worse).pvalue) if better + worse else 1.0
    return CellComparison(
        len(shared), better, worse, float(difference.mean()), float(difference.max()), float(difference.min()), p_value
    )


def recovered_share(values: Mapping[Key, float], lost: Mapping[Key, float], whole: Mapping[Key, float]) -> float | None:
    """Return the share of a loss that is recovered, over the cells that all three have.

    This is (mean of `values` - mean of `lost`) / (mean of `whole` - mean of `lost`): a ratio of means, because ratios
    of single cells explode where little is lost. None where nothing is lost.

    Examples
    --------
    >>> recovered_share({1: 0.75}, {1: 0.5}, {1: 1.0})
    0.5
    """
    shared = [key for key in values if key in lost and key in whole]
    loss = sum(whole[key] - lost[key] for key in shared)
    return sum(values[key] - lost[key] for key in shared) / loss if loss > 0 else None


def count_wins(scores: Mapping[str, Mapping[Key, float]]) -> dict[str, float]:
    """Return the number of cells in which each contender is best, over the cells that all have; a draw is shared.

    Examples
    --------
    >>> count_wins({"a": {1: 0.5, 2: 0.5}, "b": {1: 0.25, 2: 0.5}})
    {'a': 1.5, 'b': 0.5}
    """
    wins: Counter[str] = Counter()
    shared = set.intersection(*(set(values) for values in scores.values())) if scores else set()
    for key in shared:
        best = max(values[key] for values in scores.values())
        winners = [name for name, values in scores.items() if values[key] == best]
        for name in winners:
            wins[name] += 1 / len(winners)  # type: ignore[assignment]  # a Counter may hold shares
    return {name: wins[name] for name in scores}


def mean_and_deviation(values: Iterable[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation (divisor n - 1); None for a single value.

    Examples
    --------
    >>> mean_and_deviation([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    array = np.array(list(values))
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None
