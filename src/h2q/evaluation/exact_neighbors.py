"""Recall of the float neighbors: how many of the true nearest embeddings a search over codes finds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_embeddings, check_integer, check_metric
from h2q.evaluation.results import NeighborRecall

__all__ = ["float_neighbors", "neighbor_recall"]

_CHUNK_ENTRIES = 1 << 24


def float_neighbors(queries: Any, database: Any, k: int, metric: str = "cosine") -> NDArray[np.int64]:
    """Return the exact k nearest embeddings of each query, nearest first, ties by row.

    Parameters
    ----------
    queries : array-like of float, shape (n_queries, d)
        Embeddings.
    database : array-like of float, shape (n, d)
        Embeddings.
    k : int
        From 1 to n.
    metric : {"cosine", "euclidean"}
        What makes embeddings near.

    Returns
    -------
    ndarray of int64, shape (n_queries, k)
        Rows of the database.

    Raises
    ------
    TypeError, ValueError
        If embeddings are not of one width, or k or metric are out of range.

    Examples
    --------
    >>> float_neighbors([[1.0, 0.0]], [[0.0, 1.0], [2.0, 1.0], [1.0, 0.1]], k=2)
    array([[2, 1]])
    """
    cosine = check_metric(metric) == "cosine"
    items = as_embeddings(database, "database", allow_zero_rows=not cosine)
    asked = as_embeddings(queries, "queries", n_features=items.shape[1], allow_zero_rows=not cosine)
    k = check_integer(k, "k", low=1, high=len(items))
    norms = np.sqrt(np.einsum("ij,ij->i", items, items))
    # What does not depend on the item changes no order: the query's norm, and its square.
    squares, scale = (np.zeros_like(norms), 1 / norms) if cosine else (norms**2, np.ones_like(norms))
    error = 4 * items.shape[1] * np.finfo(np.float32).eps * (norms * scale).max()
    farthest = 0.0 if cosine else norms.max()
    result = np.empty((len(asked), k), np.int64)
    step = max(1, _CHUNK_ENTRIES // len(items))
    for start in range(0, len(asked), step):
        keys = squares - 2 * (asked[start : start + step] @ items.T) * scale
        for q, key in enumerate(keys, start):
            # All that may be among the nearest for what float32 can tell; float64 then tells exactly.
            margin = error * (np.linalg.norm(asked[q]) + farthest)
            near = np.flatnonzero(key <= np.partition(key, k - 1)[k - 1] + margin)
            exact = _distances(asked[q].astype(np.float64), items[near].astype(np.float64), cosine)
            result[q] = near[np.argsort(exact, kind="stable")[:k]]
    return result


def _distances(query: NDArray[np.float64], items: NDArray[np.float64], cosine: bool) -> NDArray[np.float64]:
    """Return what orders items by distance, computed alike for each row, so that equal items are equally near."""
    if cosine:
        return np.asarray(-(items * query).sum(axis=1) / np.sqrt((items * items).sum(axis=1)))
    return np.asarray(((items - query) ** 2).sum(axis=1))


def neighbor_recall(true_ids: Any, found_ids: Any) -> NeighborRecall:
    """Return the share of each query's true neighbors among the items found.

    Parameters
    ----------
    true_ids : array-like of int, shape (n_queries, k)
        The true neighbors, for instance from `float_neighbors`.
    found_ids : array-like of int, shape (n_queries, m)
        Ids that a search returned.

    Returns
    -------
    NeighborRecall
        ``value`` from 0 to 1; with m = k it is recall@k.

    Raises
    ------
    ValueError
        If they are not 2-D with as many rows, or empty.

    Examples
    --------
    >>> neighbor_recall([[1, 2]], [[2, 3]]).value
    0.5
    """
    truth, retrieved = np.asarray(true_ids), np.asarray(found_ids)
    if truth.ndim != 2 or retrieved.ndim != 2 or len(truth) != len(retrieved) or 0 in truth.shape:
        raise ValueError(
            f"true_ids and found_ids must be (n_queries, k) and (n_queries, m); got {truth.shape} and {retrieved.shape}"
        )
    per_query = np.array([np.isin(a, b).mean() for a, b in zip(truth, retrieved, strict=True)])
    return NeighborRecall(per_query, len(truth), truth.shape[1], retrieved.shape[1])
