"""Distances of a few codes to each query, such as the candidates that a scan of prefixes leaves."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from h2q.hamming.threads import run_jobs, threads_for
from h2q.hamming.words import as_words

__all__ = ["candidate_distances", "candidate_products"]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_ROWS = 16  # queries of a job


def candidate_distances(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return the Hamming distance of each query to its own codes.

    Parameters
    ----------
    queries : ndarray of uint8, shape (n_queries, bytes)
        Packed codes.
    codes : ndarray of uint8, shape (n_queries, n_candidates, bytes)
        Packed codes of each query's candidates.

    Returns
    -------
    ndarray of int32, shape (n_queries, n_candidates)
        Bits that differ.

    Examples
    --------
    >>> candidate_distances(np.array([[0b11]], np.uint8), np.array([[[0b11], [0b100]]], np.uint8))
    array([[0, 3]], dtype=int32)
    """
    n, n_candidates, width = codes.shape
    words = as_words(codes.reshape(n * n_candidates, width))
    words = words.reshape(n, n_candidates, words.shape[1])
    counts = np.bitwise_count(words ^ as_words(np.ascontiguousarray(queries))[:, None])
    distances: NDArray[np.int32] = counts.sum(axis=2, dtype=np.int32)
    return distances


def candidate_products(weights: NDArray[np.float32], codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the inner product of each query's weights with the signs of its own codes.

    Parameters
    ----------
    weights : ndarray of float32, shape (n_queries, n_bits)
        Weight of each bit; the bit counts as +1 or -1.
    codes : ndarray of uint8, shape (n_queries, n_candidates, bytes)
        Packed codes of each query's candidates; bits beyond n_bits do not count.

    Returns
    -------
    ndarray of float32, shape (n_queries, n_candidates)
        Inner products.

    Examples
    --------
    >>> candidate_products(np.array([[1, 2, 4]], np.float32), np.array([[[0b11100000], [0b01000000]]], np.uint8))
    array([[ 7., -3.]], dtype=float32)
    """
    products = np.empty(codes.shape[:2], np.float32)

    def fill(job: int) -> None:
        part = slice(job * _ROWS, (job + 1) * _ROWS)
        _products(weights[part], codes[part], products[part])

    run_jobs(fill, -(-len(weights) // _ROWS), threads_for(codes.size))
    return products


@njit(**_OPTIONS)  # type: ignore[untyped-decorator]
def _products(weights: Any, codes: Any, products: Any) -> None:
    """Fill products (n_queries, n_candidates) from a table of what each value of each byte adds."""
    n_bits = weights.shape[1]
    n_bytes = (n_bits + 7) // 8
    table = np.empty((n_bytes, 256), np.float32)
    for q in range(len(weights)):
        for byte in range(n_bytes):
            total = np.float32(0)
            for j in range(8 * byte, min(8 * byte + 8, n_bits)):
                total -= weights[q, j]
            table[byte, 0] = total
            for bit in range(8):
                j = 8 * byte + 7 - bit
                twice = np.float32(2) * weights[q, j] if j < n_bits else np.float32(0)
                for value in range(1 << bit):
                    table[byte, value + (1 << bit)] = table[byte, value] + twice
        for i in range(codes.shape[1]):
            total = np.float32(0)
            for byte in range(n_bytes):
                total += table[byte, codes[q, i, byte]]
            products[q, i] = total
