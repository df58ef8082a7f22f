"""Exact search over the segments of an index: by codes, by weighted codes, and by kept embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.hamming.asymmetric import AsymmetricScan
from h2q.hamming.neighbors import Neighbors, RadiusNeighbors
from h2q.hamming.scans import NearestScan, RadiusScan
from h2q.index.segments import Segment, gather

__all__ = ["nearest_by_codes", "nearest_by_weights", "rerank", "search_in_steps", "within"]

_STEP_QUERIES, _STEP_BYTES = 4096, 256 << 20


def nearest_by_codes(segments: Sequence[Segment], codes: NDArray[np.uint8], k: int) -> Neighbors:
    """Return the k items nearest to each code by Hamming distance; there must be at least k items."""
    scan = NearestScan(codes, k)
    for segment in segments:
        scan.add(segment.codes, segment.ids, segment.alive)
    return scan.finish()


def nearest_by_weights(segments: Sequence[Segment], weights: NDArray[np.float32], k: int) -> Neighbors:
    """Return the k items nearest to each rotated query by the sum of abs(weight) over the bits that differ."""
    scan = AsymmetricScan(weights, k)
    for segment in segments:
        scan.add(segment.codes, segment.ids, segment.alive)
    return scan.finish()


def within(segments: Sequence[Segment], codes: NDArray[np.uint8], radius: int) -> RadiusNeighbors:
    """Return all items within a Hamming distance of each code."""
    scan = RadiusScan(codes, radius)
    for segment in segments:
        scan.add(segment.codes, segment.ids, segment.alive)
    return scan.finish()


def rerank(
    segments: Sequence[Segment], embeddings: NDArray[np.float32], ids: NDArray[np.int64], k: int, metric: str
) -> Neighbors:
    """Return the k of each query's candidates that are nearest by the embeddings that the index keeps.

    Parameters
    ----------
    segments : sequence of Segment
        The items, with a column ``embeddings``.
    embeddings : ndarray of float32, shape (n_queries, d)
        The queries.
    ids : ndarray of int64, shape (n_queries, n_candidates)
        Candidates of each query.
    k : int
        At most n_candidates.
    metric : {"cosine", "euclidean"}
        The distance: 1 - cosine (1 where an embedding is zero), or Euclidean.
    """
    kept = np.empty((ids.size, embeddings.shape[1]), np.float32)
    gather(segments, "embeddings", ids.ravel(), kept)
    candidates = kept.reshape(*ids.shape, -1)
    if metric == "cosine":
        products = np.einsum("qcd,qd->qc", candidates, embeddings)
        norms = np.linalg.norm(candidates, axis=2) * np.linalg.norm(embeddings, axis=1)[:, None]
        distances = 1 - np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    else:
        distances = np.linalg.norm(candidates - embeddings[:, None], axis=2)
    return _sorted(ids, distances, k)


def search_in_steps(
    segments: Sequence[Segment],
    queries: NDArray[Any],
    k: int,
    *,
    quantizer: Any,
    scoring: str,
    candidates: int | None = None,
    metric: str = "cosine",
    step_bytes: int = _STEP_BYTES,
) -> Neighbors:
    """Search for some queries at a time, as many as fit in `step_bytes` of working memory.

    Parameters
    ----------
    segments : sequence of Segment
        The items.
    queries : ndarray of shape (n_queries, bytes or d)
        Codes (uint8), or embeddings (float32), which asymmetric scoring and re-ranking need.
    k : int
        Neighbors of a query; at most the number of items.
    quantizer : fitted quantizer or None
        Encodes or rotates embeddings.
    scoring : {"hamming", "asymmetric"}
        The distance.
    candidates : int, optional
        Re-rank so many items by the embeddings that the index keeps.
    metric : {"cosine", "euclidean"}
        The distance of re-ranking.
    step_bytes : int
        Working memory.
    """
    if k == 0:
        in_bits = scoring == "hamming" and candidates is None
        empty = np.zeros((len(queries), 0), np.int32 if in_bits else np.float32)
        return Neighbors(np.zeros((len(queries), 0), np.int64), empty)
    n_candidates = k if candidates is None else candidates
    n_features = 0 if candidates is None else queries.shape[1]
    # Ids, distances and their order, kept and new; twice the embeddings of the candidates.
    step = max(1, min(_STEP_QUERIES, step_bytes // (n_candidates * (64 + 8 * n_features))))
    parts = []
    # No queries are one step, too: it gives the shapes.
    for start in range(0, max(len(queries), 1), step):
        some = queries[start : start + step]
        if scoring == "asymmetric":
            neighbors = nearest_by_weights(segments, quantizer.transform(some), n_candidates)
        else:
            codes = some if some.dtype == np.uint8 else quantizer.encode(some)
            neighbors = nearest_by_codes(segments, codes, n_candidates)
        if candidates is not None:
            neighbors = rerank(segments, some, neighbors.ids, k, metric)
        parts.append(neighbors)
    ids = np.concatenate([part.ids for part in parts])
    return Neighbors(ids, np.concatenate([part.distances for part in parts]))


def _sorted(ids: NDArray[np.int64], distances: NDArray[np.float32], k: int) -> Neighbors:
    """Return the k nearest of each row, by distance and then id."""
    order = np.lexsort((ids, distances), axis=-1)[:, :k]
    return Neighbors(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))
