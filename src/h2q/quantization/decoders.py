"""Linear decoders of codes: an embedding y is approximated by V^T b, for signs b and a decoder V of shape (k, d)."""

import numpy as np
from numpy.typing import NDArray

from h2q.quantization.objectives import OBJECTIVES, scale_rows
from h2q.quantization.reduction import principal_components
from h2q.quantization.sgd import Schedule, learn_rotation

__all__ = ["fit_decoder", "start_decoder"]

_RIDGE = 1e-3
_MEAN_SIGN = np.float32((2 / np.pi) ** 0.5)  # mean absolute value of a standard normal variable


def start_decoder(targets: NDArray[np.float32], k: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return the first decoder, (k, d): H²Q's rotation of the k leading principal components, bits at their scale.

    Parameters
    ----------
    targets : ndarray of float32, shape (n, d)
        Centered rows of equal norm.
    k : int
        Bits, at most d.
    generator : numpy.random.Generator
        Draws the batches of the descent.
    """
    directions = principal_components(targets, k).directions
    reduced = scale_rows(targets @ directions.T).astype(np.float32)
    batch_size = min(len(reduced), max(128, min(4 * k, 1024)))
    schedule = Schedule(15, 20 if k > 128 else 40, batch_size, batch_size / 128)
    rotation = learn_rotation(reduced, OBJECTIVES["l2"], schedule, generator).rotation
    rows = rotation.T @ directions
    sizes = np.sqrt(np.square(targets @ rows.T).mean(axis=0, dtype=np.float64)).astype(np.float32)
    return np.ascontiguousarray(_MEAN_SIGN * sizes[:, None] * rows)


def fit_decoder(
    bits: NDArray[np.bool_], targets: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the linear decoder, (k, d), of least weighted squared error, with a small ridge.

    Examples
    --------
    >>> bits = np.array([[True, True], [True, False], [False, True], [False, False]])
    >>> fit_decoder(bits, np.array([[3, 1], [1, 1], [-1, -1], [-3, -1]], np.float32), np.ones(4)).round(2)
    array([[2., 1.],
           [1., 0.]], dtype=float32)
    """
    signs = np.where(bits, np.float32(1), np.float32(-1))
    weighted = signs * weights.astype(np.float32)[:, None]
    gram = (weighted.T @ signs).astype(np.float64) + _RIDGE * len(bits) * np.eye(bits.shape[1])
    rows: NDArray[np.float32] = np.linalg.solve(gram, (weighted.T @ targets).astype(np.float64)).astype(np.float32)
    return rows
