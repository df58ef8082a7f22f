"""What numbers over cells say: differences cell by cell, wins, a sign test, and what of a loss is given back."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

__all__ = ["Comparison", "compare", "count_wins", "given_back", "mean_and_deviation"]

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Comparison:
    """A quantizer against a baseline, over the cells that both have.

    Attributes
    ----------
    n_cells : int
        Those cells.
    n_better, n_worse : int
        Cells in which the quantizer is strictly above, or below.
    mean, largest, smallest : float
        Of the differences, in the unit of the scores.
    p_value : float
        Two-sided sign test over the cells that differ: how likely so uneven a count is if both were equally good. Cells
        of one network count as independent.
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
        """The share of cells that improve, 0 to 1."""
        return self.n_better / self.n_cells


def compare(values: Mapping[Key, float], baseline: Mapping[Key, float]) -> Comparison | None:
    """Compare scores with those of a baseline, cell by cell; None where they share no cell.

    Examples
    --------
    >>> result = compare({1: 0.5, 2: 0.75, 3: 0.5}, {1: 0.25, 2: 0.5, 3: 0.5, 4: 0.0})
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
    return Comparison(
        len(shared), better, worse, float(difference.mean()), float(difference.max()), float(difference.min()), p_value
    )


def given_back(values: Mapping[Key, float], lost: Mapping[Key, float], whole: Mapping[Key, float]) -> float | None:
    """Return which share of what is lost is given back, over the cells that all three have.

    That is (mean of `values` - mean of `lost`) / (mean of `whole` - mean of `lost`): a ratio of means, since ratios of
    single cells explode where little is lost. None where nothing is lost.

    Examples
    --------
    >>> given_back({1: 0.75}, {1: 0.5}, {1: 1.0})
    0.5
    """
    shared = [key for key in values if key in lost and key in whole]
    loss = sum(whole[key] - lost[key] for key in shared)
    return sum(values[key] - lost[key] for key in shared) / loss if loss > 0 else None


def count_wins(scores: Mapping[str, Mapping[Key, float]]) -> dict[str, float]:
    """Return in how many cells each contender is the best, over the cells that all have; a draw is shared.

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
    """Return the mean and the standard deviation (of a sample, n - 1); None for a single value.

    Examples
    --------
    >>> mean_and_deviation([1.0, 3.0])
    (2.0, 1.4142135623730951)
    """
    array = np.array(list(values))
    return float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else None
