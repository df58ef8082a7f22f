"""Builds rankings, of codes under a policy for ties or of any keys, for a block of queries at a time, on threads."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes, as_embeddings, check_n_bits
from h2q.evaluation import kernels
from h2q.evaluation.labels import Relevance
from h2q.evaluation.rankings import GAINS, TIES, Cut, Measure, Rankings, check_choice
from h2q.hamming.kernels import distance_rows
from h2q.hamming.threads import run_jobs, threads_for
from h2q.hamming.words import as_words
from h2q.progress import progress_bar

__all__ = ["CodeRanker", "KeyRanker", "Ranker", "UnitDistances", "gains_of", "make_relevance"]

Result = TypeVar("Result")
_STEP, _FARTHEST = 10.0, 4.5  # the authors' key: weight of a bit; more than the largest squared distance, 4
_ORDERED_PAIRS = 1 << 18  # pairs in a job if items are ordered by row: they stay in the cache
_COUNTED_PAIRS = 1 << 26  # pairs in a job if items are only counted: it ends in a tenth of a second
_COUNTERS = 1 << 22  # counters in a job
_TILE_ITEMS = 1 << 13


class Ranker(ABC):
    """Ranks a database for a block of queries at a time.

    Attributes
    ----------
    block_pairs : int
        Pairs of a query and an item in one job, at most.
    block_queries : int
        Queries in one job, at most.
    """

    block_pairs = 1 << 22
    block_queries = 64

    def __init__(self, relevance: Relevance, gain: str | None = None) -> None:
        self.relevance, self.gains = relevance, gains_of(gain, relevance)
        self.n_queries, self.n_database = len(relevance.queries), len(relevance.database)
        self.n_grades = len(self.gains)

    @abstractmethod
    def rank(self, block: slice, cuts: Sequence[Cut]) -> Rankings:
        """Rank the database for a block of queries, at least as far as the cuts reach."""

    def measure(self, measures: Sequence[Measure], *, progress: bool = False) -> list[NDArray[np.float64]]:
        """Return the scores of all queries under each measure, from one pass over the database."""
        cuts = [cut for measure in measures for cut in measure.cuts]
        with progress_bar("ranking", self.n_queries, enabled=progress) as advance:

            def score(block: slice) -> list[NDArray[np.float64]]:
                rankings = self.rank(block, cuts)
                advance(block.stop - block.start)
                return [measure.score(rankings) for measure in measures]

            blocks = self._each_block(score)
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    def _each_block(self, job: Callable[[slice], Result]) -> list[Result]:
        """Return the results of `job` for each block of queries, computed by several threads."""
        threads = threads_for(self.n_queries * self.n_database)
        fair = -(-self.n_queries // (4 * threads))
        size = max(1, min(self.block_queries, self.block_pairs // self.n_database, fair))
        blocks = [slice(start, min(start + size, self.n_queries)) for start in range(0, self.n_queries, size)]
        return run_jobs(lambda number: job(blocks[number]), len(blocks), threads)

    def _grades(self, block: slice) -> NDArray[np.int64]:
        """Return the grade of each item for a block of queries, shape (n_block, n_database)."""
        return self.relevance.grades(block, self.n_grades)

    def _rank_by_keys(
        self, block: slice, keys: NDArray[np.float64], length: int, bounds: NDArray[np.float64] | None = None,
        by_distance: NDArray[np.int64] | None = None,
    ) -> Rankings:  # fmt: skip
        """Rank by keys, smallest first; equal keys are ties.

        The rankings are complete for the first `length` items. Each query's first `length` keys must not exceed its
        bound, so that the items beyond need not be sorted.
        """
        grades = self._grades(block)
        items, relevant = np.zeros((2, len(keys), length), np.int64)
        gain = np.zeros((len(keys), length))
        for q, key in enumerate(keys):
            order = _nearest_order(key, length, np.inf if bounds is None else bounds[q])
            starts = _starts_of_groups(key[order])
            n_groups = min(len(starts), length)
            items[q, :n_groups] = np.diff(starts, append=len(order))[:n_groups]
            relevant[q, :n_groups] = np.add.reduceat((grades[q, order] > 0).astype(np.int64), starts)[:n_groups]
            gain[q, :n_groups] = np.add.reduceat(self.gains[grades[q, order]], starts)[:n_groups]
        by_grade = np.stack([np.bincount(row, minlength=self.n_grades) for row in grades])
        return Rankings(items, relevant, gain, self.gains, by_grade, by_distance, self.n_database)


def _starts_of_groups(ordered: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return where runs of equal keys begin.

    >>> _starts_of_groups(np.array([1.0, 1.0, 2.0, 5.0, 5.0]))
    array([0, 2, 3])
    """
    return np.flatnonzero(np.concatenate([[True], ordered[1:] > ordered[:-1]]))


def _nearest_order(key: NDArray[np.float64], length: int, bound: float) -> NDArray[np.int64]:
    """Return the rows of at least the `length` smallest keys, smallest first; these must not exceed the bound."""
    near = np.flatnonzero(key <= bound)
    keys = key[near]
    if len(near) > 2 * length:
        near = near[keys <= np.partition(keys, length - 1)[length - 1]]
        keys = key[near]
    return np.asarray(near[np.argsort(keys)])


class CodeRanker(Ranker):
    """Rankings by Hamming distance.

    Parameters
    ----------
    query_codes, database_codes : array-like of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    query_labels, database_labels : array-like
        Class ids or multi-hot rows.
    n_bits : int
        Bits of a code.
    ties : str
        One of `TIES`.
    query_embeddings, database_embeddings : array-like of float, shape (n, d), or None
        For the ties "embeddings".
    gain : {"exponential", "linear", None}
        Gain of an item by grade; None: 1 for every relevant item.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    """

    def __init__(
        self, query_codes: Any, database_codes: Any, query_labels: Any, database_labels: Any, *, n_bits: int, ties: str,
        query_embeddings: Any = None, database_embeddings: Any = None, gain: str | None = None,
    ) -> None:  # fmt: skip
        self.n_bits, self.ties = check_n_bits(n_bits), check_choice(ties, "ties", TIES)
        queries = as_codes(query_codes, self.n_bits, "query_codes")
        database = as_codes(database_codes, self.n_bits, "database_codes")
        relevance = make_relevance(query_labels, database_labels, len(queries), len(database))
        super().__init__(relevance, gain)
        self._queries, self._database = as_words(queries), as_words(database)
        counters = (self.n_bits + 1) * self.n_grades ** (1 if ties == "expected" else 2)
        self.block_queries = max(1, min(self.block_queries, _COUNTERS // counters))
        self._unit = None
        if ties == "embeddings":
            self._unit = UnitDistances(query_embeddings, database_embeddings, len(queries), len(database))
        else:
            self.block_pairs = _ORDERED_PAIRS if ties == "row" else _COUNTED_PAIRS

    def rank(self, block: slice, cuts: Sequence[Cut]) -> Rankings:
        """See `Ranker.rank`."""
        counts = self.count(block)
        if self.ties not in ("embeddings", "row"):
            return self._rank_by_counts(counts)
        by_distance = counts.sum(axis=2)
        length = max(1, *(cut.sizes(len(counts), self.n_database, by_distance).max() for cut in cuts))
        if self._unit is None:
            return self._rank_by_row(block, length, counts)
        # The first `length` items are within this distance, and the embeddings add less than a bit.
        reach = (by_distance.cumsum(axis=1) < length).sum(axis=1)
        keys = self._authors_keys(block, self._unit)
        return self._rank_by_keys(block, keys, length, _STEP * reach + _FARTHEST, by_distance)

    def count(self, block: slice) -> NDArray[np.int64]:
        """Return the number of items by distance and grade, shape (n_block, n_bits + 1, n_grades)."""
        queries, labels = self._queries[block], self.relevance.queries[block]
        counts = np.zeros((len(queries), self.n_bits + 1, self.n_grades), np.int64)
        kernels.count_grades(queries, self._database, labels, *self._labels, counts)
        return counts

    def count_all(self) -> NDArray[np.int64]:
        """Return the number of pairs of a query and an item by distance and grade, shape (n_bits + 1, n_grades)."""
        return np.asarray(np.sum(self._each_block(lambda block: self.count(block).sum(axis=0)), axis=0))

    @property
    def _labels(self) -> tuple[NDArray[np.uint64], bool]:
        return self.relevance.database, self.relevance.multi_hot

    def _rank_by_counts(self, counts: NDArray[np.int64]) -> Rankings:
        """Rank by distance, and within it not at all, or by grade; only the numbers of items are needed."""
        if self.ties == "expected":
            groups = counts
        else:
            # A group for each distance and grade, in the order of the grades or in the reverse.
            groups = np.eye(self.n_grades, dtype=np.int64) * counts[:, :, :, None]
            if self.ties == "optimistic":
                groups = groups[:, :, ::-1]
            groups = groups.reshape(len(counts), -1, self.n_grades)
        items, relevant, gain = groups.sum(axis=2), groups[:, :, 1:].sum(axis=2), groups @ self.gains
        by_distance, by_grade = counts.sum(axis=2), counts.sum(axis=1)
        return Rankings(items, relevant, gain, self.gains, by_grade, by_distance, self.n_database)

    def _rank_by_row(self, block: slice, length: int, counts: NDArray[np.int64]) -> Rankings:
        """Rank by distance, then by row of the database; each item is a group."""
        by_distance, by_grade = counts.sum(axis=2), counts.sum(axis=1)
        grades = np.zeros((len(counts), length), np.int64)
        kernels.grades_in_order(
            self._queries[block], self._database, self.relevance.queries[block], *self._labels, by_distance,
            self.n_grades - 1, grades,
        )  # fmt: skip
        relevant, gain = (grades > 0).astype(np.int64), self.gains[grades]
        return Rankings(np.ones_like(grades), relevant, gain, self.gains, by_grade, by_distance, self.n_database)

    def _authors_keys(self, block: slice, unit: "UnitDistances") -> NDArray[np.float64]:
        """Return the key of the paper's authors: 10 * Hamming distance + squared distance of unit-norm embeddings."""
        hamming = np.empty((len(self._queries[block]), self.n_database), np.int32)
        distance_rows(self._queries[block], self._database, hamming)
        keys = unit.rows(block)
        keys += _STEP * hamming
        return keys


class KeyRanker(Ranker):
    """Rankings by any key.

    Parameters
    ----------
    keys : callable
        Takes a slice of the queries; returns their keys, float64 of shape (n_block, n_database), smallest first.
    relevance : Relevance
        The labels.
    leave_one_out : bool
        Whether queries and database are the same items: each query is left out of its own ranking.
    """

    def __init__(
        self, keys: Callable[[slice], NDArray[np.float64]], relevance: Relevance, *, leave_one_out: bool = False
    ) -> None:
        super().__init__(relevance)
        self._keys, self.leave_one_out = keys, leave_one_out

    def rank(self, block: slice, cuts: Sequence[Cut]) -> Rankings:
        """See `Ranker.rank`."""
        length = max(cut.limit(self.n_database) for cut in cuts)
        keys = self._keys(block)
        if self.leave_one_out:
            keys[_own_items(block)] = np.inf  # comes last, where an irrelevant item changes no mean
        return self._rank_by_keys(block, keys, length)

    def _grades(self, block: slice) -> NDArray[np.int64]:
        grades = super()._grades(block)
        if self.leave_one_out:
            grades[_own_items(block)] = 0
        return grades


def _own_items(block: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of a block's queries in an array of shape (n_block, n_database)."""
    rows = np.arange(block.start, block.stop)
    return rows - block.start, rows


def make_relevance(query_labels: Any, database_labels: Any, n_queries: int, n_database: int) -> Relevance:
    """Return the checked labels of queries and database, neither of which may be empty."""
    if n_queries == 0 or n_database == 0:
        raise ValueError(f"queries and database must not be empty; got {n_queries} queries and {n_database} items")
    return Relevance.from_labels(query_labels, database_labels, n_queries, n_database)


def gains_of(gain: str | None, relevance: Relevance) -> NDArray[np.float64]:
    """Return the gains of items with 0, 1, ... labels in common; 0 and 1 if `gain` is None.

    >>> gains_of("exponential", Relevance.from_labels([[1, 1, 0]], [[1, 0, 1]], 1, 1))
    array([0., 1., 3.])
    """
    if gain is None:
        return np.array([0.0, 1.0])
    grades = np.arange(relevance.n_grades, dtype=np.float64)
    return grades if check_choice(gain, "gain", GAINS) == "linear" else 2**grades - 1


class UnitDistances:
    """Squared Euclidean distances of embeddings scaled to unit norm, from 0 to 4, in float64.

    In float32, near neighbors would change places, which moves average precision in the seventh decimal.
    """

    def __init__(self, queries: Any, database: Any, n_queries: int | None, n_database: int | None) -> None:
        if queries is None or database is None:
            raise ValueError('ties="embeddings" needs query_embeddings and database_embeddings')
        self.queries = _checked_rows(queries, "query_embeddings", n_queries)
        self.database = _checked_rows(database, "database_embeddings", n_database)
        if self.queries.shape[1] != self.database.shape[1]:
            raise ValueError(
                f"query_embeddings have {self.queries.shape[1]} features and database_embeddings "
                f"{self.database.shape[1]}; pass embeddings of one model"
            )

    def rows(self, block: slice) -> NDArray[np.float64]:
        """Return the squared distances of a block of queries to all items, shape (n_block, n_database)."""
        queries = _unit(self.queries[block])
        result = np.empty((len(queries), len(self.database)))
        for start in range(0, len(self.database), _TILE_ITEMS):
            tile = slice(start, start + _TILE_ITEMS)
            np.matmul(-2 * queries, _unit(self.database[tile]).T, out=result[:, tile])
        result += 2
        return result


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    return np.asarray(exact / np.linalg.norm(exact, axis=1, keepdims=True))


def _checked_rows(embeddings: Any, name: str, n: int | None) -> NDArray[np.float32]:
    rows = as_embeddings(embeddings, name)
    if n is not None and len(rows) != n:
        raise ValueError(f"{name} must have {n} rows, one for each code; got {len(rows)}")
    return rows
