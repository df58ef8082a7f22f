"""How good embeddings are while they are being trained: the score that early stopping and checkpoints follow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Score", "Validation", "cosine_mean_average_precision"]

Score: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[Any], NDArray[Any]], float]
"""(query embeddings, database embeddings, query labels, database labels) to a number from 0 to 1, higher is better."""

_QUERIES_AT_ONCE = 256


def cosine_mean_average_precision(
    query_embeddings: NDArray[np.float32],
    database_embeddings: NDArray[np.float32],
    query_labels: NDArray[Any],
    database_labels: NDArray[Any],
) -> float:
    """Return the mean average precision over whole rankings by cosine similarity; queries without a match count 0.

    If the database *is* the query array, each query is left out of its own ranking.

    Parameters
    ----------
    query_embeddings, database_embeddings : ndarray of float32, shapes (m, k) and (n, k)
        The real-valued embeddings.
    query_labels, database_labels : ndarray
        Class ids (m,) and (n,), or multi-hot rows (m, c) and (n, c); relevant means a label in common.

    Returns
    -------
    float
        From 0 to 1.

    Examples
    --------
    >>> embeddings = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], dtype=np.float32)
    >>> cosine_mean_average_precision(embeddings, embeddings, np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    1.0
    """
    queries, database = (
        torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(rows)))
        for rows in (query_embeddings, database_embeddings)
    )
    leave_out = database_embeddings is query_embeddings
    ranks = torch.arange(1, len(database) + 1 - leave_out)
    total = 0.0
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        similarity = queries[start : start + _QUERIES_AT_ONCE] @ database.T
        if leave_out:
            similarity[torch.arange(len(similarity)), torch.arange(start, start + len(similarity))] = -torch.inf
        ranking = similarity.argsort(dim=1, descending=True, stable=True)[:, : len(ranks)]
        labels = query_labels[start : start + _QUERIES_AT_ONCE]
        matches = _matches(labels, database_labels).gather(1, ranking).double()
        precision = (matches.cumsum(1) / ranks * matches).sum(1) / matches.sum(1).clamp(min=1)
        total += float(precision.sum())
    return total / len(queries)


def _matches(query_labels: NDArray[Any], database_labels: NDArray[Any]) -> torch.Tensor:
    """Which pairs have a label in common, (m, n)."""
    if query_labels.ndim == 1:
        return torch.from_numpy(query_labels[:, None] == database_labels)
    return torch.from_numpy(query_labels.astype(np.float32) @ database_labels.T.astype(np.float32) > 0)


@dataclass(frozen=True)
class Validation:
    """What training is judged by after each epoch: how well held-out items find items with a label in common.

    Attributes
    ----------
    inputs : Any
        The queries: features (n, d) for a head, images for a backbone.
    labels : ndarray
        Their labels.
    database : Any, optional
        What they are searched in, for instance the training fold. None: the queries themselves, each leaving itself
        out, which needs no second set and is not flattered by what was learned by heart.
    database_labels : ndarray, optional
        Its labels.
    score : callable
        A `Score`; `h2q.evaluation.embeddings_mean_average_precision` fits with a wrapper that picks ``.value``.
    """

    inputs: Any
    labels: NDArray[Any]
    database: Any = None
    database_labels: NDArray[Any] | None = None
    score: Score = cosine_mean_average_precision

    def evaluate(self, embed: Callable[[Any], NDArray[np.float32]]) -> float:
        """Return the score of the embeddings that `embed` makes of the inputs."""
        queries = embed(self.inputs)
        if self.database is None or self.database_labels is None:
            return float(self.score(queries, queries, self.labels, self.labels))
        return float(self.score(queries, embed(self.database), self.labels, self.database_labels))
