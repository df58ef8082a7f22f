"""ITQ: alternate between codes and the orthogonal matrix that fits them best.

Source: Gong, Lazebnik, Gordo, Perronnin, "Iterative Quantization" (TPAMI 2013). With B = sgn(X U), the U that minimizes
the Frobenius norm of B - X U is the orthogonal Procrustes solution: the polar factor of X^T B.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from h2q.quantization.threads import SMALL, in_order, one_thread_if_small

__all__ = ["ProcrustesResult", "alternate", "cross_product", "polar_factor", "random_rotation"]

_CHUNK_BYTES = 8 << 20


@dataclass(frozen=True)
class ProcrustesResult:
    """A rotation and its course.

    Attributes
    ----------
    rotation : ndarray of shape (k, k)
        The orthogonal matrix.
    error : float
        The L2 quantization error at `rotation`.
    loss_curve : tuple of float
        The L2 quantization error at the start and after each iteration that lowered it.
    """

    rotation: NDArray[np.float32]
    error: float
    loss_curve: tuple[float, ...]


def random_rotation(k: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Draw an orthogonal k x k matrix from the uniform (Haar) distribution, of either determinant.

    >>> U = random_rotation(3, np.random.default_rng(0))
    >>> bool(np.abs(U.T @ U - np.eye(3)).max() < 1e-6)
    True
    """
    Q, R = np.linalg.qr(generator.standard_normal((k, k)))
    return (Q * np.copysign(1, np.diag(R))).astype(np.float32)


def polar_factor(M: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the orthogonal matrix U nearest to M: it maximizes trace(U^T M).

    >>> polar_factor(np.diag([3.0, 0.1]))
    array([[1., 0.],
           [0., 1.]])
    """
    left, _, right = np.linalg.svd(M)
    result: NDArray[np.floating] = left @ right
    return result


def cross_product(X: NDArray[np.float32], U: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """Return mean abs(X U) and X^T sgn(X U), chunk by chunk.

    >>> cross_product(np.array([[1, -2]], dtype=np.float32), np.eye(2, dtype=np.float32))
    (1.5, array([[ 1., -1.],
           [-2.,  2.]], dtype=float32))
    """
    n, k = X.shape
    rows = max(1, _CHUNK_BYTES // (4 * k))
    parts = [X[start : start + rows] for start in range(0, n, rows)]
    products = (
        in_order(partial(_cross_product, part, U) for part in parts)
        if k >= SMALL
        else (_cross_product(part, U) for part in parts)
    )
    total, product = next(products)
    for more, matrix in products:
        total += more
        product += matrix
    return total / (n * k), product


def _cross_product(X: NDArray[np.float32], U: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """Return sum abs(X U) and X^T sgn(X U)."""
    Z = X @ U
    signs = np.copysign(np.float32(1), Z)
    return float(np.vdot(signs, Z)), X.T @ signs


def alternate(
    X: NDArray[np.float32],
    U: NDArray[np.float32],
    *,
    max_iter: int,
    tol: float,
    advance: Callable[[int], None] = lambda steps: None,
) -> ProcrustesResult:
    """Alternate between signs and the Procrustes solution until the error stops falling.

    Parameters
    ----------
    X : ndarray of float32, shape (n, k)
        Rows of norm sqrt(k).
    U : ndarray of float32, shape (k, k)
        The orthogonal matrix to start from.
    max_iter : int
        Maximum number of iterations.
    tol : float
        Stop once an iteration lowers the error by less than this.
    advance : callable
        Called after each iteration, for a progress bar.

    Returns
    -------
    ProcrustesResult
        The best rotation; the error never rises from one iteration to the next.
    """
    with one_thread_if_small(X.shape[1]):
        # ||z - sgn z||^2 = ||z||^2 + k - 2 |z|_1, and a rotation does not change the first term.
        constant = float(np.vdot(X, X)) / X.size + 1
        mean_absolute, product = cross_product(X, U)
        curve = [constant - 2 * mean_absolute]
        for _ in range(max_iter):
            candidate = polar_factor(product).astype(np.float32)
            mean_absolute, product = cross_product(X, candidate)
            error = constant - 2 * mean_absolute
            advance(1)
            gain = curve[-1] - error
            if gain > 0:
                U = candidate
                curve.append(error)
            if gain < tol:
                break
        return ProcrustesResult(U, curve[-1], tuple(curve))
