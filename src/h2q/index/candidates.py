"""The second step of a search: candidates that an engine gave, ordered by estimated or exact distances."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index.columns import Columns
from h2q.index.neighbors import Neighbors
from h2q.index.searching import rerank
from h2q.index.segments import Segment
from h2q.quantization.scoring import EncodedItems

__all__ = ["rank_by_embeddings", "rank_by_estimates"]

_STEP_BYTES = 256 << 20


def rank_by_estimates(
    ids: NDArray[Any],
    k: int,
    queries: NDArray[np.float32],
    quantizer: Any,
    metric: str,
    read: Callable[[NDArray[Any]], EncodedItems],
) -> Neighbors:
    """Return the k of each query's candidates with the smallest estimated distances; ties go to the lower id.

    Parameters
    ----------
    ids : ndarray, shape (n_queries, n_candidates)
        Candidates of each query.
    k : int
        At most n_candidates.
    queries : ndarray of float32, shape (n_queries, d)
        Float queries.
    quantizer : fitted quantizer
        Prepares the queries; see `h2q.quantization.base.BaseQuantizer.asymmetric_queries`.
    metric : {"cosine", "euclidean", "inner_product"}
        Distance that is estimated.
    read : callable
        ``read(ids)`` gives codes and scalars of items.

    Returns
    -------
    Neighbors
        Ids and float32 distances, shape (n_queries, k).
    """
    items, rows = np.unique(ids, return_inverse=True)
    rows = rows.reshape(ids.shape)
    encoded = read(items)
    prepared, tables = quantizer.asymmetric_queries(queries, metric), quantizer.scalar_tables(metric)
    n_bits = prepared.weights.shape[1]
    distances = np.empty(ids.shape, np.float32)
    for query, candidates in enumerate(rows):
        signs = 2 * np.unpackbits(encoded.codes[candidates], axis=1, count=n_bits).astype(np.float32) - 1
        products = signs @ prepared.weights[query]
        if tables is not None and encoded.scalars is not None:
            scalars = encoded.scalars[candidates]
            products = tables[0][scalars] * products + tables[1][scalars]
        distances[query] = prepared.constants[query] - products
    order = np.lexsort((rows, distances), axis=-1)[:, :k]
    return Neighbors(items[np.take_along_axis(rows, order, 1)], np.take_along_axis(distances, order, 1))


def rank_by_embeddings(
    ids: NDArray[Any],
    k: int,
    queries: NDArray[np.float32],
    metric: str,
    read: Callable[[NDArray[Any]], NDArray[np.float32]],
) -> Neighbors:
    """Return the k of each query's candidates that are nearest by their embeddings; ties go to the lower id.

    Parameters
    ----------
    ids, k, queries, metric
        As in `rank_by_estimates`.
    read : callable
        ``read(ids)`` gives the embeddings of items.
    """
    step = max(1, _STEP_BYTES // (8 * ids.shape[1] * queries.shape[1]))
    parts = []
    for start in range(0, max(len(ids), 1), step):
        block = ids[start : start + step]
        items, rows = np.unique(block, return_inverse=True)
        columns: dict[str, NDArray[Any]] = {"ids": np.arange(len(items)), "codes": np.zeros((len(items), 1), np.uint8)}
        segment = Segment(Columns(columns | {"embeddings": read(items)}))
        ranked = rerank([segment], queries[start : start + step], rows.reshape(block.shape), k, metric)
        parts.append(Neighbors(items[ranked.ids], ranked.distances))
    ids = np.concatenate([part.ids for part in parts])
    return Neighbors(ids, np.concatenate([part.distances for part in parts]))
