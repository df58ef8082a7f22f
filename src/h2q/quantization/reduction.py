"""Principal components, for codes shorter than the embeddings and for whitening."""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

__all__ = ["PrincipalComponents", "principal_components"]

_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class PrincipalComponents:
    """Directions of largest variance.

    Attributes
    ----------
    directions : ndarray of float32, shape (k, d)
        Orthonormal rows, in order of decreasing variance; zeros from `rank` on.
    variances : ndarray of float64, shape (k,)
        Mean square of the rows along each direction; zeros from `rank` on.
    rank : int
        Number of the k directions whose variance exceeds rounding errors.
    """

    directions: NDArray[np.float32]
    variances: NDArray[np.float64]
    rank: int


def principal_components(Z: NDArray[np.float32], k: int) -> PrincipalComponents:
    """Return the k directions of largest mean square of rows, without subtracting the mean.

    Parameters
    ----------
    Z : ndarray of float32, shape (n, d)
        Rows.
    k : int
        The number of directions, at most d.

    Returns
    -------
    PrincipalComponents
        The sign of each direction makes its largest entry positive, so that results do not depend on LAPACK's choice.

    Examples
    --------
    >>> components = principal_components(np.array([[3, 0, 0], [-3, 0, 0]], dtype=np.float32), 2)
    >>> components.directions, components.variances, components.rank
    (array([[1., 0., 0.],
           [0., 0., 0.]], dtype=float32), array([9., 0.]), 1)
    """
    n, d = Z.shape
    if n < d:
        _, singular_values, rows = scipy.linalg.svd(Z.astype(np.float64), full_matrices=False)
        variances = np.zeros(d)
        variances[:n] = singular_values**2 / n
        directions = np.zeros((k, d))
        directions[: min(n, k)] = rows[:k]
        variances = variances[:k]
    else:
        moments = np.zeros((d, d))
        for start in range(0, n, _CHUNK_ROWS):
            part = Z[start : start + _CHUNK_ROWS]
            moments += part.T @ part
        variances, columns = scipy.linalg.eigh(moments / n, subset_by_index=[d - k, d - 1])
        variances, directions = variances[::-1].copy(), columns[:, ::-1].T.copy()
    # Variances within float32 rounding count as zero: rounding errors would choose their directions.
    negligible = variances <= variances[0] * np.finfo(np.float32).eps
    variances[negligible], directions[negligible] = 0, 0
    largest = directions[np.arange(k), np.abs(directions).argmax(axis=1)]
    directions = directions * np.where(largest < 0, -1, 1)[:, None] + 0.0  # + 0.0 turns -0.0 into 0.0
    return PrincipalComponents(directions.astype(np.float32), variances, int(k - negligible.sum()))
