"""Who makes rankings: of codes under a policy for ties, or of any keys; a block of queries at a time, on threads."""

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
_STEP, _FARTHEST = 10.0, 4.5  # of the authors' key: a bit's worth; more than the largest squared distance, 4
_ORDERED_PAIRS = 1 << 18  # where every item is a group of its own: in the cache
_COUNTED_PAIRS = 1 << 26  # where items are only counted: a job of a tenth of a second can be interrupted
_COUNTERS = 1 << 22  # of one job
_TILE_ITEMS = 1 << 13


class Ranker(ABC):
    """Queries, a database and labels, from which rankings are made for a block of queries at a time.

    Attributes
    ----------
    block_pairs : int
        Pairs of a query and an item that one job looks at: its arrays are as long where items are sorted.
    block_queries : int
        Queries that one job looks at, at most.
    """

    block_pairs = 1 << 22
    block_queries = 64

    def __init__(self, relevance: Relevance, gain: str | None = None) -> None:
        self.relevance, self.gains = relevance, gains_of(gain, relevance)
        self.n_queries, self.n_database = len(relevance.queries), len(relevance.database)
        self.n_grades = len(self.gains)

    @abstractmethod
    def rank(self, some: slice, cuts: Sequence[Cut]) -> Rankings:
        """Rank the database for some queries, at least as far as these cuts reach."""

    def measure(self, measures: Sequence[Measure], *, progress: bool = False) -> list[NDArray[np.float64]]:
        """Return what each measure gives for all queries, in one pass over the database for each block of queries."""
        cuts = [cut for one in measures for cut in one.cuts]
        with progress_bar("ranking", self.n_queries, enabled=progress) as advance:

            def score(some: slice) -> list[NDArray[np.float64]]:
                rankings = self.rank(some, cuts)
                advance(some.stop - some.start)
                return [one.score(rankings) for one in measures]

            blocks = self._each_block(score)
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    def _each_block(self, job: Callable[[slice], Result]) -> list[Result]:
        """Return what `job` gives for each block of queries, computed by several threads."""
        threads = threads_for(self.n_queries * self.n_database)
        block = max(
            1, min(self.block_queries, self.block_pairs // self.n_database, -(-self.n_queries // (4 * threads)))
        )
        blocks = [slice(start, min(start + block, self.n_queries)) for start in range(0, self.n_queries, block)]
        return run_jobs(lambda number: job(blocks[number]), len(blocks), threads)

    def _groups_of_keys(
        self, keys: NDArray[np.float64], some: slice, length: int, bounds: NDArray[np.float64],
        by_grade: NDArray[np.int64] | None = None, by_distance: NDArray[np.int64] | None = None,
    ) -> Rankings:  # fmt: skip
        """Rank by keys, smallest first; equal keys are ties.

        Only the first `length` items are sure to be there, whose keys are up to the bound of the query.
        """
        grades = self.relevance.grades(some, self.n_grades)
        items, good = np.zeros((2, len(keys), length), np.int64)
        gain = good if self.n_grades == 2 else np.zeros((len(keys), length))
        for q, key in enumerate(keys):
            order = _nearest_order(key, length, bounds[q])
            ordered = key[order]
            starts = np.flatnonzero(np.concatenate([[True], ordered[1:] > ordered[:-1]]))
            # A group that begins behind the first `length` items is of no use.
            n_groups = min(len(starts), length)
            items[q, :n_groups] = np.diff(starts, append=len(order))[:n_groups]
            good[q, :n_groups] = np.add.reduceat((grades[q, order] > 0).astype(np.int64), starts)[:n_groups]
            if self.n_grades > 2:
                gain[q, :n_groups] = np.add.reduceat(self.gains[grades[q, order]], starts)[:n_groups]
        if by_grade is None:
            by_grade = np.stack([np.bincount(row, minlength=self.n_grades) for row in grades])
        return Rankings(items, good, gain, self.gains, by_grade, by_distance, self.n_database)


def _nearest_order(key: NDArray[np.float64], length: int, bound: float) -> NDArray[np.int64]:
    """Return the rows of the `length` smallest keys, perhaps of more, smallest first; these are up to the bound."""
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
        What an item of a grade is worth, if that is asked for.

    Raises
    ------
    TypeError, ValueError
        If one of these is not as described.
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

    def rank(self, some: slice, cuts: Sequence[Cut]) -> Rankings:
        """See `Ranker.rank`."""
        counts = self.count(some)
        by_distance, by_grade = counts.sum(axis=2), counts.sum(axis=1)
        if self.ties in ("embeddings", "row"):
            sizes = [cut.sizes(len(counts), self.n_database, by_distance).max() for cut in cuts]
            length = max(1, *sizes)
            if self._unit is not None:
                # All items up to this distance are needed; those beyond it need not be looked at.
                reach = (by_distance.cumsum(axis=1) < length).sum(axis=1)
                keys = self._keys(some, self._unit)
                return self._groups_of_keys(keys, some, length, _STEP * reach + _FARTHEST, by_grade, by_distance)
            return self._rows_in_order(some, length, by_distance, by_grade)
        if self.ties == "expected":
            groups = counts[:, :, None]
        else:
            groups = np.eye(self.n_grades, dtype=np.int64) * counts[:, :, :, None]
            if self.ties == "optimistic":
                groups = groups[:, :, ::-1]
        groups = groups.reshape(len(counts), -1, self.n_grades)
        items, relevant = groups.sum(axis=2), groups[:, :, 1:].sum(axis=2)
        return Rankings(items, relevant, groups @ self.gains, self.gains, by_grade, by_distance, self.n_database)

    def count(self, some: slice) -> NDArray[np.int64]:
        """Return the items at each distance and of each grade, shape (n_some, n_bits + 1, n_grades)."""
        queries, labels = self._queries[some], self.relevance.queries[some]
        counts = np.zeros((len(queries), self.n_bits + 1, self.n_grades), np.int64)
        kernels.count_grades(queries, self._database, labels, *self._labels, counts)
        return counts

    def count_all(self) -> NDArray[np.int64]:
        """Return the pairs of all queries and items at each distance and of each grade, (n_bits + 1, n_grades)."""
        return np.asarray(np.sum(self._each_block(lambda some: self.count(some).sum(axis=0)), axis=0))

    @property
    def _labels(self) -> tuple[NDArray[np.uint64], bool]:
        return self.relevance.database, self.relevance.multi_hot

    def _keys(self, some: slice, unit: "UnitDistances") -> NDArray[np.float64]:
        """Return the key of the paper's authors: 10 * Hamming distance + squared distance of unit-norm embeddings."""
        hamming = np.empty((len(self._queries[some]), self.n_database), np.int32)
        distance_rows(self._queries[some], self._database, hamming)
        keys = unit.rows(some)
        keys += _STEP * hamming
        return keys

    def _rows_in_order(
        self, some: slice, length: int, by_distance: NDArray[np.int64], by_grade: NDArray[np.int64]
    ) -> Rankings:
        grades = np.zeros((len(by_distance), length), np.int64)
        kernels.grades_in_order(
            self._queries[some], self._database, self.relevance.queries[some], *self._labels, by_distance,
            self.n_grades - 1, grades,
        )  # fmt: skip
        relevant = (grades > 0).astype(np.int64)
        gain = relevant if self.n_grades == 2 else self.gains[grades]
        return Rankings(np.ones_like(grades), relevant, gain, self.gains, by_grade, by_distance, self.n_database)


class KeyRanker(Ranker):
    """Rankings by any key.

    Parameters
    ----------
    keys : callable
        From a slice of the queries to their keys, float64 of shape (n_some, n_database), smallest first.
    relevance : Relevance
        The labels.
    """

    def __init__(self, keys: Callable[[slice], NDArray[np.float64]], relevance: Relevance) -> None:
        super().__init__(relevance)
        self._keys = keys

    def rank(self, some: slice, cuts: Sequence[Cut]) -> Rankings:
        """See `Ranker.rank`."""
        length = max(cut.limit(self.n_database) for cut in cuts)
        keys = self._keys(some)
        return self._groups_of_keys(keys, some, length, np.full(len(keys), np.inf))


def make_relevance(query_labels: Any, database_labels: Any, n_queries: int, n_database: int) -> Relevance:
    """Check that there is something to rank, and the labels."""
    if n_queries == 0 or n_database == 0:
        raise ValueError(f"there must be queries and a database; got {n_queries} queries and {n_database} items")
    return Relevance.from_labels(query_labels, database_labels, n_queries, n_database)


def gains_of(gain: str | None, relevance: Relevance) -> NDArray[np.float64]:
    """Return what an item with 0, 1, ... labels in common is worth; 0 and 1 where no gain is asked for.

    >>> gains_of("exponential", Relevance.from_labels([[1, 1, 0]], [[1, 0, 1]], 1, 1))
    array([0., 1., 3.])
    """
    if gain is None:
        return np.array([0.0, 1.0])
    grades = np.arange(relevance.n_grades, dtype=np.float64)
    return grades if check_choice(gain, "gain", GAINS) == "linear" else 2**grades - 1


class UnitDistances:
    """Squared Euclidean distances of embeddings at unit norm, from 0 to 4, in float64.

    In float32 near neighbors would change places, which moves average precision in the seventh decimal.
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

    def rows(self, some: slice) -> NDArray[np.float64]:
        """Return the squared distances of some queries to all items, shape (n_some, n_database)."""
        queries = _unit(self.queries[some])
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
        raise ValueError(f"{name} must have {n} rows, one a code; got {len(rows)}")
    return rows
