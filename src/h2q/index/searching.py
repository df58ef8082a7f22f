"""Exact search over the segments of an index: by codes, by estimated distances, and by kept embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import bytes_per_code
from h2q.hamming.asymmetric import AsymmetricScan
from h2q.hamming.neighbors import Neighbors, RadiusNeighbors
from h2q.hamming.scans import NearestScan, RadiusScan
from h2q.index.columns import Columns
from h2q.index.prefixes import Prefix, nearest_by_prefix_and_codes, nearest_by_prefix_and_estimates
from h2q.index.segments import Segment, gather

__all__ = ["nearest_by_codes", "nearest_by_estimates", "rerank", "search_in_steps", "warm_up", "within"]

_STEP_QUERIES, _STEP_BYTES = 4096, 256 << 20


def nearest_by_codes(
    segments: Sequence[Segment],
    codes: NDArray[np.uint8],
    k: int,
    *,
    n_bits: int | None = None,
    prefix: Prefix | None = None,
) -> Neighbors:
    """Return the k items nearest to each code by Hamming distance; there must be at least k items.

    Only the first `n_bits` count, if given; with a prefix, only items that it lets through.
    """
    if prefix is None:
        scan = NearestScan(codes, k, n_bits=n_bits)
        for segment in segments:
            scan.add(segment.codes, segment.ids, segment.alive)
        return scan.finish()
    neighbors, exact = nearest_by_prefix_and_codes(segments, codes, k, prefix)
    if prefix.shortlist is None and not exact.all():
        rest = nearest_by_codes(segments, codes[~exact], k)
        neighbors.ids[~exact], neighbors.distances[~exact] = rest.ids, rest.distances
    return neighbors


def nearest_by_estimates(
    segments: Sequence[Segment],
    weights: NDArray[np.float32],
    constants: NDArray[np.float32],
    tables: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
    k: int,
) -> Neighbors:
    """Return the k items with the smallest estimated distances; there must be at least k items.

    The estimate for query q and item x with signs b is ``constants[q] - (scale[x] * <weights[q], b> + offset[x])``.

    Parameters
    ----------
    segments : sequence of Segment
        The items; with a column ``scalars`` if there are tables.
    weights, constants : ndarrays of float32, shapes (n_queries, n_bits), (n_queries,)
        See `h2q.quantization.base.BaseQuantizer.asymmetric_queries`.
    tables : (scales, offsets), ndarrays of float32, shape (256,), or None
        Scale and offset that each value of the scalars stands for; None: 1 and 0.
    k : int
        Neighbors of a query.
    """
    if tables is None:
        scan = AsymmetricScan(weights, k)
    else:
        scan = AsymmetricScan(weights, k, scales=tables[0], offsets=tables[1])
    for segment in segments:
        scalars = None if tables is None else segment.columns["scalars"]
        # Weights of a prefix are those of the first bits.
        scan.add(segment.codes[:, : bytes_per_code(weights.shape[1])], segment.ids, segment.alive, scalars)
    neighbors = scan.finish()
    distances = neighbors.distances
    if tables is None:
        # The weighted Hamming distance is (|w|_1 - <w, b>) / 2.
        distances = 2 * distances - np.abs(weights).sum(axis=1)[:, None]
    return Neighbors(neighbors.ids, constants[:, None] + distances)


def within(
    segments: Sequence[Segment], codes: NDArray[np.uint8], radius: int, limit: int | None = None
) -> RadiusNeighbors:
    """Return all items within a Hamming distance of each code, or the `limit` nearest of them."""
    if limit is None:
        scan = RadiusScan(codes, radius)
        for segment in segments:
            scan.add(segment.codes, segment.ids, segment.alive)
        return scan.finish()
    limit = min(limit, sum(len(segment) for segment in segments))
    if limit == 0:
        empty = np.zeros(0, np.int64)
        return RadiusNeighbors(np.zeros(len(codes) + 1, np.int64), empty, empty.astype(np.int32))
    nearest = nearest_by_codes(segments, codes, limit)
    near = nearest.distances <= radius
    offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(near, axis=1))])
    return RadiusNeighbors(offsets, nearest.ids[near], nearest.distances[near])


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
    metric : {"cosine", "euclidean", "inner_product"}
        The distance: 1 - cosine (1 if an embedding is zero), squared Euclidean, or the negative inner product.
    """
    kept = np.empty((ids.size, embeddings.shape[1]), np.float32)
    gather(segments, "embeddings", ids.ravel(), kept)
    candidates = kept.reshape(*ids.shape, -1)
    if metric == "euclidean":
        differences = candidates - embeddings[:, None]
        distances = np.einsum("qcd,qcd->qc", differences, differences)
    else:
        distances = -np.einsum("qcd,qd->qc", candidates, embeddings)
    if metric == "cosine":
        norms = np.linalg.norm(candidates, axis=2) * np.linalg.norm(embeddings, axis=1)[:, None]
        distances = 1 + np.divide(distances, norms, out=np.zeros_like(distances), where=norms > 0)
    order = np.lexsort((ids, distances), axis=-1)[:, :k]
    return Neighbors(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))


def search_in_steps(
    segments: Sequence[Segment],
    queries: NDArray[Any],
    k: int,
    *,
    quantizer: Any,
    scoring: str,
    metric: str = "cosine",
    candidates: int | None = None,
    n_bits: int | None = None,
    prefix: Prefix | None = None,
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
        Encodes embeddings, or prepares them for asymmetric scoring.
    scoring : {"hamming", "asymmetric"}
        Distance of queries and codes.
    metric : {"cosine", "euclidean", "inner_product"}
        Distance that asymmetric scoring estimates, and that re-ranking computes.
    candidates : int, optional
        Number of items to re-rank by the embeddings that the index keeps.
    n_bits : int, optional
        Score by the first bits of the codes. Default: all.
    prefix : Prefix, optional
        Score only the items that are near by the first bits.
    step_bytes : int
        Working memory.
    """
    if k == 0:
        in_bits = scoring == "hamming" and candidates is None
        empty = np.zeros((len(queries), 0), np.int32 if in_bits else np.float32)
        return Neighbors(np.zeros((len(queries), 0), np.int64), empty)
    n_candidates = k if candidates is None else candidates
    n_features = 0 if candidates is None else queries.shape[1]
    # Ids, distances and their order, kept and new; twice the embeddings of the candidates, or the codes let through.
    per_query = n_candidates * (64 + 8 * n_features)
    if prefix is not None:
        width = segments[0].codes.shape[1]
        per_query += prefix.size(n_candidates, sum(len(segment) for segment in segments)) * (64 + 2 * width)
    step = max(1, min(_STEP_QUERIES, step_bytes // per_query))
    parts = []
    # No queries are one step, too: it gives the shapes.
    for start in range(0, max(len(queries), 1), step):
        block = queries[start : start + step]
        if scoring == "asymmetric":
            prepared = quantizer.asymmetric_queries(block, metric, n_bits=n_bits)
            estimates = prepared.weights, prepared.constants, quantizer.scalar_tables(metric), n_candidates
            if prefix is None:
                neighbors = nearest_by_estimates(segments, *estimates)
            else:
                codes = quantizer.encode_queries(block)
                neighbors = nearest_by_prefix_and_estimates(segments, codes, *estimates, prefix)
        else:
            codes = block if block.dtype == np.uint8 else quantizer.encode_queries(block)
            neighbors = nearest_by_codes(segments, codes, n_candidates, n_bits=n_bits, prefix=prefix)
        if candidates is not None:
            neighbors = rerank(segments, block, neighbors.ids, k, metric)
        parts.append(neighbors)
    ids = np.concatenate([part.ids for part in parts])
    return Neighbors(ids, np.concatenate([part.distances for part in parts]))


def warm_up(segments: Sequence[Segment], n_bits: int, quantizer: Any) -> None:
    """Load or compile the kernels for segments like these, by a search in one row."""
    tables = None if quantizer is None else quantizer.scalar_tables()
    for segment in segments[:1]:
        names = [name for name in segment.columns if name != "embeddings"]
        # Slices, not copies: kernels are compiled anew for read-only arrays, which queries are not.
        row = [Segment(Columns({name: segment.columns[name][:1] for name in names}))]
        query = np.array(row[0].codes)
        nearest_by_codes(row, query, 1)
        within(row, query, 0)
        nearest_by_estimates(row, np.ones((1, n_bits), np.float32), np.zeros(1, np.float32), tables, 1)
