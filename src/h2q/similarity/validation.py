"""The score that early stopping and checkpoints follow: how well held-out embeddings rank."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from h2q.evaluation import embeddings_mean_average_precision

__all__ = ["Score", "Validation", "cosine_mean_average_precision"]

Score: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32] | None, NDArray[Any], NDArray[Any] | None], float]
"""(query embeddings, database embeddings, query labels, database labels) to a number from 0 to 1, higher is better.
Without a database (None), the queries are searched in one another, each leaving itself out."""


def cosine_mean_average_precision(
    query_embeddings: NDArray[np.float32],
    database_embeddings: NDArray[np.float32] | None,
    query_labels: NDArray[Any],
    database_labels: NDArray[Any] | None,
) -> float:
    """Return the mean average precision over whole rankings by cosine similarity; queries without a match count 0.

    Parameters
    ----------
    query_embeddings : ndarray of float32, shape (m, k)
        Real-valued embeddings.
    database_embeddings : ndarray of float32, shape (n, k), or None
        The items that are ranked. None: the queries themselves, each left out of its own ranking.
    query_labels, database_labels : ndarray
        Class ids (m,) and (n,), or multi-hot rows (m, c) and (n, c); relevant means a label in common.

    Returns
    -------
    float
        From 0 to 1.

    Raises
    ------
    ValueError
        If the database is a copy of the queries.

    Examples
    --------
    >>> embeddings = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
    >>> cosine_mean_average_precision(embeddings, None, np.array([0, 0, 1, 1]), None)
    1.0
    """
    if database_embeddings is None or database_labels is None:
        database, database_labels = None, None
    elif np.array_equal(query_embeddings, database_embeddings):
        raise ValueError(
            "database_embeddings are the query embeddings, so each query would find itself; pass None for the database "
            "and its labels: then each query is left out of its own ranking"
        )
    else:
        database = _with_direction(database_embeddings)
    queries = _with_direction(query_embeddings)
    return embeddings_mean_average_precision(queries, database, query_labels, database_labels).value


def _with_direction(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return embeddings with one more dimension, in which rows of zeros point: orthogonal to all others."""
    zero = ~embeddings.any(axis=1, keepdims=True)
    return np.hstack([embeddings, zero.astype(np.float32)])


@dataclass(frozen=True)
class Validation:
    """The validation after each epoch: how well held-out items find items with a label in common.

    Attributes
    ----------
    inputs : Any
        Queries: features (n, d) for a head, images for a backbone.
    labels : ndarray
        Labels of the queries.
    database : Any, optional
        The items that are ranked, for instance the training fold. None: the queries themselves, each left out of its
        own ranking; this needs no second set, and memorized training items do not raise it.
    database_labels : ndarray, optional
        Labels of the database.
    score : callable
        A `Score`; with a database, `h2q.evaluation.embeddings_mean_average_precision` fits with a wrapper that picks
        ``.value``.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> round(Validation(X[:500], y[:500]).evaluate(lambda pixels: pixels.astype(np.float32)), 2)
    0.72
    """

    inputs: Any
    labels: NDArray[Any]
    database: Any = None
    database_labels: NDArray[Any] | None = None
    score: Score = cosine_mean_average_precision

    def evaluate(self, embed: Callable[[Any], NDArray[np.float32]]) -> float:
        """Return the score of the inputs as `embed` maps them to embeddings."""
        queries = embed(self.inputs)
        if self.database is None or self.database_labels is None:
            return float(self.score(queries, None, self.labels, None))
        return float(self.score(queries, embed(self.database), self.labels, self.database_labels))
