"""The scalar byte beside a refined code: a scale and an offset, 4 bits each, that make asymmetric scores unbiased."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_smoother", "quantize_scalars", "scalar_levels", "scalar_ranges"]

_NEIGHBORS, _ANCHORS, _SHRINKAGE = 30, 2000, 0.1
_OUTSIDE = 0.005  # share of scalars beyond either end of their range


def fit_smoother(centered: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """Return the symmetric matrix A, (d, d), with which c A predicts the mean of the nearest neighbors of a row c.

    A shares the eigenvectors of the rows' covariance; its eigenvalues are fitted by ridge regression over sampled rows.

    Parameters
    ----------
    centered : ndarray of float32, shape (n, d)
        Unit-norm rows minus their mean.
    generator : numpy.random.Generator
        Draws the rows.
    """
    n, d = centered.shape
    n_neighbors = min(_NEIGHBORS, n - 1)
    anchors = generator.choice(n, min(_ANCHORS, n), replace=False)
    variances, directions = np.linalg.eigh((centered.T @ centered).astype(np.float64) / n)
    if n_neighbors < 1:
        return np.zeros((d, d), np.float32)
    squares = np.einsum("ij,ij->i", centered, centered)
    products, moments = np.zeros(d), np.zeros(d)
    for start in range(0, len(anchors), 256):
        part = anchors[start : start + 256]
        distances = squares - 2 * (centered[part] @ centered.T)
        distances[np.arange(len(part)), part] = np.inf
        nearest = np.argpartition(distances, n_neighbors - 1, axis=1)[:, :n_neighbors]
        p, t = centered[part] @ directions, centered[nearest].mean(axis=1) @ directions
        products += (p * t).sum(axis=0)
        moments += (p * p).sum(axis=0)
    ridge = _SHRINKAGE * variances.mean() * len(anchors)
    smoother: NDArray[np.float32] = ((directions * (products / (moments + ridge))) @ directions.T).astype(np.float32)
    return smoother


def scalar_ranges(scales: NDArray[np.float32], offsets: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the ranges of the logarithm of the scale and of the offset, (2, 2): almost all of the items lie inside.

    Examples
    --------
    >>> scalar_ranges(np.exp(np.linspace(0, 1, 101)), np.linspace(-1, 1, 101)).round(2)
    array([[ 0.  ,  1.  ],
           [-0.99,  0.99]], dtype=float32)
    """
    ends = [_OUTSIDE, 1 - _OUTSIDE]
    logarithms = np.log(scales[scales > 0])
    return np.array([np.quantile(logarithms, ends), np.quantile(offsets, ends)], np.float32)


def quantize_scalars(
    scales: NDArray[np.float32], offsets: NDArray[np.float32], ranges: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Return one byte an item: the scale on a logarithmic grid (upper 4 bits), the offset on a linear one (lower 4).

    Examples
    --------
    >>> ranges = np.array([[0, 1], [-1, 1]], np.float32)
    >>> quantize_scalars(np.array([1, 9], np.float32), np.array([-1, 0.2], np.float32), ranges).tolist()
    [0, 249]
    """
    logarithms = np.log(np.maximum(scales, np.finfo(np.float32).tiny))
    levels = []
    for values, (low, high) in zip((logarithms, offsets), ranges, strict=True):
        share = (values - low) / max(high - low, np.finfo(np.float32).tiny)
        levels.append(np.rint(np.clip(share, 0, 1) * 15).astype(np.uint8))
    scalars: NDArray[np.uint8] = levels[0] << np.uint8(4) | levels[1]
    return scalars


def scalar_levels(ranges: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scale and the offset that each value of the byte stands for, both (256,).

    Examples
    --------
    >>> scales, offsets = scalar_levels(np.array([[0, 1], [-1, 1]], np.float32))
    >>> scales[[0, 249]].round(3), offsets[[0, 249]].round(3)
    (array([1.   , 2.718], dtype=float32), array([-1. ,  0.2], dtype=float32))
    """
    (low, high), (smallest, largest) = ranges.astype(np.float64)
    steps = np.arange(16) / 15
    scales = np.repeat(np.exp(low + (high - low) * steps), 16).astype(np.float32)
    offsets = np.tile(smallest + (largest - smallest) * steps, 16).astype(np.float32)
    return scales, offsets
