"""Rankings as groups of tied items, which is all that any metric needs.

A policy for ties splits the groups of equal Hamming distance further, by relevance, by row, or by the distance of the
embeddings; what stays tied is averaged over. So there is one formula for each metric, not one for each policy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import describe

__all__ = ["DIVISORS", "EMPTY", "GAINS", "TIES", "Cut", "Measure", "Rankings", "check_choice"]

DIVISORS = ("retrieved", "relevant")
GAINS = ("exponential", "linear")
EMPTY = ("zero", "skip")
TIES = ("expected", "embeddings", "row", "optimistic", "pessimistic")


def check_choice(value: Any, name: str, known: tuple[str, ...]) -> str:
    """Return an option that takes one of a few words.

    >>> check_choice("none", "empty", ("zero", "skip"))
    Traceback (most recent call last):
    ...
    ValueError: empty must be one of 'zero', 'skip'; got 'none' (str)
    """
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {describe(value)}")
    return value


@dataclass(frozen=True)
class Cut:
    """Which items count: the first k, and of these those within a Hamming radius; None: no such limit."""

    k: int | None = None
    radius: int | None = None

    @classmethod
    def checked(cls, k: Any = None, radius: Any = None) -> "Cut":
        """Return a cut of what a user gave.

        >>> Cut.checked(0)
        Traceback (most recent call last):
        ...
        ValueError: k must be at least 1; got 0
        """
        return cls(
            None if k is None else check_integer(k, "k", low=1),
            None if radius is None else check_integer(radius, "radius", low=0),
        )

    def limit(self, n_database: int) -> int:
        """Return how many items count at most."""
        return n_database if self.k is None else min(self.k, n_database)

    def sizes(self, n_queries: int, n_database: int, by_distance: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Return how many items count for each query; by_distance holds the items at each distance."""
        sizes = np.full(n_queries, self.limit(n_database))
        if self.radius is None or by_distance is None:
            return sizes
        return np.asarray(np.minimum(sizes, by_distance[:, : self.radius + 1].sum(axis=1)))


@dataclass(frozen=True, eq=False)
class Rankings:
    """The rankings of some queries.

    Attributes
    ----------
    items, relevant : ndarray of int64, shape (n_queries, n_groups)
        Items, and relevant items, in each group of ties; the nearest group comes first, empty ones may be anywhere.
    gain : ndarray, shape (n_queries, n_groups)
        Sum of the gains of these items.
    gains : ndarray of float64, shape (n_grades,)
        What an item of each grade, the number of labels in common, is worth; 0 and 1 where no gain was asked for.
    by_grade : ndarray of int64, shape (n_queries, n_grades)
        Items of the whole database by grade.
    by_distance : ndarray of int64, shape (n_queries, n_bits + 1), or None
        Items of the whole database by Hamming distance, where there is one.
    n_database : int
        Items in the database.
    """

    items: NDArray[np.int64]
    relevant: NDArray[np.int64]
    gain: NDArray[Any]
    gains: NDArray[np.float64]
    by_grade: NDArray[np.int64]
    by_distance: NDArray[np.int64] | None
    n_database: int

    @cached_property
    def ends(self) -> NDArray[np.int64]:
        """Items before the first group, and up to the end of each, shape (n_queries, 1 + n_groups)."""
        return _running_sums(self.items)

    @property
    def before(self) -> NDArray[np.int64]:
        """Items before each group, shape (n_queries, n_groups)."""
        return self.ends[:, :-1]

    @property
    def n_relevant(self) -> NDArray[np.int64]:
        """Relevant items in the database, shape (n_queries,)."""
        return np.asarray(self.by_grade[:, 1:].sum(axis=1))

    def sizes(self, cut: Cut) -> NDArray[np.int64]:
        """Return how many items count for each query."""
        return cut.sizes(len(self.items), self.n_database, self.by_distance)

    def taken(self, cut: Cut) -> NDArray[np.int64]:
        """Return how many items of each group count, shape (n_queries, n_groups)."""
        return np.asarray(np.clip(self.sizes(cut)[:, None] - self.before, 0, self.items))

    def hits(self, cuts: Sequence[Cut]) -> NDArray[np.float64]:
        """Return the expected number of relevant items among those that count, shape (n_queries, n_cuts).

        Inside a group it grows linearly, since each of its items is as likely to come first.
        """
        rows = zip(self.sizes_of(cuts), self.ends, _running_sums(self.relevant), strict=True)
        return np.stack([np.interp(sizes, ends, hits) for sizes, ends, hits in rows])

    def sizes_of(self, cuts: Sequence[Cut]) -> NDArray[np.int64]:
        """Return how many items count for each query and cut, shape (n_queries, n_cuts)."""
        return np.stack([self.sizes(cut) for cut in cuts], axis=1)


def _running_sums(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of the first 0, 1, ... entries of each row."""
    sums = np.zeros((len(counts), counts.shape[1] + 1), np.int64)
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    return sums


class Measure(Protocol):
    """What is computed from rankings."""

    @property
    def cuts(self) -> Sequence[Cut]:
        """What it looks at, so that rankings are known that far."""

    def score(self, rankings: Rankings) -> NDArray[np.float64]:
        """Return a value, or a row of values, for each query; NaN where it has none."""
