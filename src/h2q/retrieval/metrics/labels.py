"""Relevance from labels: the same class, or at least one label in common."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_labels
from h2q.retrieval.popcount import as_words

__all__ = ["Relevance"]


@dataclass(frozen=True)
class Relevance:
    """Labels of queries and database in the form that compiled loops compare.

    Attributes
    ----------
    queries, database : ndarray of uint64, shape (n, words)
        Class ids in one word, or packed multi-hot rows.
    multi_hot : bool
        Whether a common bit makes an item relevant; otherwise equal words do.
    """

    queries: NDArray[np.uint64]
    database: NDArray[np.uint64]
    multi_hot: bool

    @classmethod
    def from_labels(cls, query_labels: Any, database_labels: Any, n_queries: int, n_database: int) -> "Relevance":
        """Check labels and pack them.

        >>> relevance = Relevance.from_labels([1], [0, 1, 1], 1, 3)
        >>> relevance.rows(slice(0, 1))
        array([[False,  True,  True]])
        """
        queries = as_labels(query_labels, n_queries, "query_labels")
        database = as_labels(database_labels, n_database, "database_labels")
        if queries.ndim != database.ndim:
            raise ValueError(
                f"query_labels and database_labels must be of one kind; got shapes {queries.shape} and "
                f"{database.shape}: both class ids or both multi-hot rows"
            )
        if queries.ndim == 1:
            return cls(queries.astype(np.uint64)[:, None], database.astype(np.uint64)[:, None], False)
        if queries.shape[1] != database.shape[1]:
            raise ValueError(
                f"query_labels and database_labels must have as many classes; got {queries.shape[1]} and "
                f"{database.shape[1]}"
            )
        return cls(as_words(np.packbits(queries, axis=1)), as_words(np.packbits(database, axis=1)), True)

    def rows(self, some: slice) -> NDArray[np.bool_]:
        """Return which items are relevant to some queries, bool of shape (n_some, n_database)."""
        if not self.multi_hot:
            return np.equal(self.queries[some], self.database[:, 0])
        common = np.zeros((len(self.queries[some]), len(self.database)), np.bool_)
        for word in range(self.database.shape[1]):
            common |= (self.queries[some, word][:, None] & self.database[:, word]) != 0
        return common
