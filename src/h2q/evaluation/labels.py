"""Relevance from labels: the same class, or labels in common."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_labels
from h2q.evaluation import kernels
from h2q.hamming.words import as_words

__all__ = ["Relevance"]


@dataclass(frozen=True, eq=False)
class Relevance:
    """Labels of queries and database in the form that compiled loops compare.

    Attributes
    ----------
    queries, database : ndarray of uint64, shape (n, words)
        Class ids in one word, or packed multi-hot rows.
    multi_hot : bool
        Whether a common bit makes an item relevant; otherwise equal words do.
    n_grades : int
        One more than the most labels that an item can have in common with a query.
    """

    queries: NDArray[np.uint64]
    database: NDArray[np.uint64]
    multi_hot: bool
    n_grades: int

    @classmethod
    def from_labels(cls, query_labels: Any, database_labels: Any, n_queries: int, n_database: int) -> "Relevance":
        """Check labels and pack them.

        >>> relevance = Relevance.from_labels([1], [0, 1, 1], 1, 3)
        >>> relevance.grades(slice(0, 1), 2)
        array([[0, 1, 1]])
        """
        queries = as_labels(query_labels, n_queries, "query_labels")
        database = as_labels(database_labels, n_database, "database_labels")
        if queries.ndim != database.ndim:
            raise ValueError(
                f"query_labels and database_labels must be of one kind; got shapes {queries.shape} and "
                f"{database.shape}: both class ids or both multi-hot rows"
            )
        if queries.ndim == 1:
            return cls(queries.astype(np.uint64)[:, None], database.astype(np.uint64)[:, None], False, 2)
        if queries.shape[1] != database.shape[1]:
            raise ValueError(
                f"query_labels and database_labels must have as many classes; got {queries.shape[1]} and "
                f"{database.shape[1]}"
            )
        query_words, words = (as_words(np.packbits(labels, axis=1)) for labels in (queries, database))
        return cls(query_words, words, True, 1 + max(1, int(queries.sum(axis=1).max(initial=0))))

    def grades(self, some: slice, n_grades: int) -> NDArray[np.int64]:
        """Return how many labels items have in common with some queries, at most ``n_grades - 1``.

        Shape (n_some, n_database).
        """
        queries = self.queries[some]
        result = np.empty((len(queries), len(self.database)), np.int64)
        kernels.grade_rows(queries, self.database, self.multi_hot, n_grades - 1, result)
        return result
