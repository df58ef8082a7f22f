"""Asymmetric scoring: float queries against codes, by one linear estimate for every quantizer.

A code b of signs stands for the embedding ``mean + scale * decoder^T b``. So every inner product with a query is linear
in the code, and the estimated distance of query q and item x is

    constants[q] - (scale[x] * <weights[q], b[x]> + offset[x])

where scale and offset come from an optional byte beside the code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["METRICS", "AsymmetricQueries", "EncodedItems", "linear_queries"]

METRICS = ("cosine", "euclidean", "inner_product")
_EQUAL_NORMS = 0.01  # norms that spread less count as one


@dataclass(frozen=True)
class EncodedItems:
    """What an index stores of embeddings.

    Attributes
    ----------
    codes : ndarray of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    scalars : ndarray of uint8, shape (n,), or None
        One byte an item, the row of `BaseQuantizer.scalar_tables`; None: scale 1 and offset 0.
    fingerprint : str or None
        Names the quantizer that made them, so that an index of another one refuses them; None: unknown.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import RefinedQuantizer
    >>> items = RefinedQuantizer(n_bytes=5, random_state=0).fit(load_digits().data).encode_items(load_digits().data)
    >>> items.codes.shape, items.scalars.shape
    ((1797, 4), (1797,))
    """

    codes: NDArray[np.uint8]
    scalars: NDArray[np.uint8] | None = None
    fingerprint: str | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.codes)


@dataclass(frozen=True)
class AsymmetricQueries:
    """Float queries, prepared for codes.

    Attributes
    ----------
    weights : ndarray of float32, shape (n_queries, n_bits)
        Weight of each bit; the bit counts as +1 or -1.
    constants : ndarray of float32, shape (n_queries,)
        Part of the distance that is the same for all items.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import ITQQuantizer
    >>> quantizer = ITQQuantizer(16, n_init=1, random_state=0).fit(load_digits().data)
    >>> queries = quantizer.asymmetric_queries(load_digits().data[:5])
    >>> queries.weights.shape, queries.constants.shape
    ((5, 16), (5,))
    """

    weights: NDArray[np.float32]
    constants: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.constants)


def linear_queries(
    queries: NDArray[np.float32],
    mean: NDArray[np.float32],
    decoder: NDArray[np.float32],
    spread: NDArray[np.float32],
    metric: str,
) -> AsymmetricQueries:
    """Return weights and constants for items ``mean + decoder^T b``.

    An inner product <q, x> is <q, m> + <q - m, x - m> + <m, x - m>. If all items have the same norm, the last term is
    left out: it follows from the others, and its estimate from a code adds more noise than it tells.

    Parameters
    ----------
    queries : ndarray of float32, shape (n_queries, d)
        Float queries.
    mean : ndarray of float32, shape (d,)
        Mean m of the items.
    decoder : ndarray of float32, shape (n_bits, d)
        Linear decoder of centered items.
    spread : ndarray of float32, shape (2,)
        Mean squared distance of the items to the mean; standard deviation of their norms over the mean norm.
    metric : {"cosine", "euclidean", "inner_product"}
        Distance to estimate: 1 - cosine, the squared Euclidean distance, or the negative inner product. For the cosine,
        items are taken to have the root mean square norm of the rows that were fitted (1 if these have unit norm).

    Returns
    -------
    AsymmetricQueries
        The estimated distance is ``constants[q] - <weights[q], b>``.

    Examples
    --------
    >>> mean, decoder = np.zeros(2, np.float32), np.eye(2, dtype=np.float32)
    >>> linear_queries(np.array([[3, 4]], np.float32), mean, decoder, np.array([2, 0], np.float32), "euclidean")
    AsymmetricQueries(weights=array([[6., 8.]], dtype=float32), constants=array([27.], dtype=float32))
    """
    variance, norm_spread = spread
    if metric == "euclidean":
        centered = queries - mean
        squares: NDArray[np.float32] = np.einsum("ij,ij->i", centered, centered) + variance
        return AsymmetricQueries(np.matmul(np.float32(2) * centered, decoder.T), squares)
    square = mean @ mean + variance  # of the items' root mean square norm
    if metric == "cosine":
        queries = queries * (np.sqrt(square) / np.linalg.norm(queries, axis=1, keepdims=True))
    constants: NDArray[np.float32] = -np.matmul(queries, mean)
    if metric == "cosine" or norm_spread < _EQUAL_NORMS:
        queries = queries - mean
    weights: NDArray[np.float32] = np.matmul(queries, decoder.T)
    if metric == "cosine":
        weights, constants = weights / square, 1 + constants / square
    return AsymmetricQueries(weights, constants)
