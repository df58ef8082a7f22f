"""Orthogonal matrices as products of Householder reflections, in compact WY form.

A matrix V of shape (k, m), m <= k, whose columns v_1 ... v_m are scaled to unit norm, stands for

    U = H_1 H_2 ... H_m = I - V S^-1 V^T,      H_j = I - 2 v_j v_j^T,      S = I / 2 + striu(V^T V)

Every orthogonal k x k matrix is such a product. So a rotation costs one Gram matrix and one triangular inverse instead
of m reflections one after another, and it can be learned by gradient descent on V, without constraints.

Source: Schwengber et al., "Deep Hashing via Householder Quantization" (arXiv 2311.04207), section 3; the compact WY
form is Schreiber and Van Loan (1989), with S in place of its inverse as in Joffrain et al. (2006).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import get_lapack_funcs

from h2q.errors import describe

__all__ = ["CompactWY", "apply", "compact_wy", "from_matrix", "gradient", "to_matrix"]

Float = TypeVar("Float", np.float32, np.float64)

_LAPACK_SIZE = 64  # from here on, halves and matrix products are faster than LAPACK's triangular inverse


@dataclass(frozen=True)
class CompactWY:
    """The factors of ``U = I - V T V^T``: what `to_matrix`, `apply` and `gradient` share.

    Attributes
    ----------
    reflections : ndarray of shape (k, m)
        V, columns of unit norm.
    norms : ndarray of shape (m,)
        The norms that the columns had.
    inverse : ndarray of shape (m, m)
        T = S^-1, upper triangular.
    """

    reflections: NDArray[np.floating]
    norms: NDArray[np.floating]
    inverse: NDArray[np.floating]

    def to_matrix(self) -> NDArray[np.floating]:
        """Return U, of shape (k, k)."""
        V, T = self.reflections, self.inverse
        U: NDArray[np.floating] = (V @ -T) @ V.T
        U.flat[:: len(U) + 1] += 1
        return U

    def apply(self, X: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return X U, of shape (n, k), without forming U."""
        V, T = self.reflections, self.inverse
        rotated: NDArray[np.floating] = X - ((X @ V) @ T) @ V.T
        return rotated

    def gradient(self, A: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return dL/dV, of shape (k, m), given A = dL/dU, of shape (k, k)."""
        V, T = self.reflections, self.inverse
        Q = V @ T
        AP = A @ (V @ T.T)
        N = np.triu(Q.T @ AP, 1)
        N += N.T
        dV: NDArray[np.floating] = V @ N
        dV -= AP
        dV -= A.T @ Q
        # Only the direction of a column matters: remove the component along it.
        dV -= V * np.einsum("ij,ij->j", V, dV)
        dV /= self.norms
        return dV


def compact_wy(V: NDArray[Float]) -> CompactWY:
    """Scale the columns of V to unit norm and invert S.

    Parameters
    ----------
    V : ndarray of float32 or float64, shape (k, m), m <= k
        Reflections as columns; only their directions matter.

    Returns
    -------
    CompactWY
        The factors, in V's precision.

    Raises
    ------
    TypeError
        If V is not float32 or float64.
    ValueError
        If V is not (k, m) with m <= k, or has a column that is zero or not finite.

    Examples
    --------
    >>> compact_wy(np.array([[2.0], [0.0]])).to_matrix()
    array([[-1.,  0.],
           [ 0.,  1.]])
    """
    _check_dtype(V, "V")
    if V.ndim != 2 or V.shape[1] > V.shape[0]:
        raise ValueError(f"V must be (k, m) with m <= k, reflections as columns; got shape {V.shape}")
    norms = np.sqrt(np.einsum("ij,ij->j", V, V))
    good = np.isfinite(norms) & (norms > 0)
    if not good.all():
        bad = np.flatnonzero(~good)
        raise ValueError(
            f"V has {len(bad)} column(s) that are zero or not finite (first: column {bad[0]}): a reflection needs a "
            "direction; draw these columns again"
        )
    V = V / norms
    S: NDArray[Any] = np.triu(V.T @ V, 1)
    S.flat[:: len(S) + 1] = 0.5
    return CompactWY(V, norms, _invert_upper(S))


def _check_dtype(matrix: Any, name: str) -> None:
    if not isinstance(matrix, np.ndarray) or matrix.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name} must be an array of float32 or float64; got {describe(matrix)}")


def _double_precision(V: NDArray[Float]) -> CompactWY:
    """Return the factors in float64: where reflections are nearly parallel, S^-1 enlarges rounding errors."""
    _check_dtype(V, "V")
    return compact_wy(V.astype(np.float64, copy=False))


def _invert_upper(S: NDArray[Any]) -> NDArray[Any]:
    """Invert an upper triangular matrix, by halves while it is large.

    Uses matrix products of NumPy's BLAS: SciPy has another BLAS, whose threads would compete for the cores.
    """
    m = len(S)
    if m <= _LAPACK_SIZE:
        if m == 0:
            return S
        (trtri,) = get_lapack_funcs(("trtri",), (S,))
        inverse, _ = trtri(S.T, lower=1)  # S.T is in Fortran order: no copy
        return np.ascontiguousarray(inverse.T)
    half = m // 2
    inverse = np.zeros_like(S)
    inverse[:half, :half] = left = _invert_upper(S[:half, :half])
    inverse[half:, half:] = right = _invert_upper(S[half:, half:])
    inverse[:half, half:] = -(left @ S[:half, half:]) @ right
    return inverse


def to_matrix(V: NDArray[Float]) -> NDArray[Float]:
    """Return the orthogonal matrix ``U = H_1 H_2 ... H_m`` that reflections stand for.

    Parameters
    ----------
    V : ndarray of float32 or float64, shape (k, m), m <= k
        Reflections as columns; only their directions matter. m = 0 gives the identity.

    Returns
    -------
    ndarray of V's dtype, shape (k, k)
        U, with det U = (-1)^m.

    Raises
    ------
    TypeError, ValueError
        See `compact_wy`.

    Examples
    --------
    >>> to_matrix(np.eye(2))
    array([[-1.,  0.],
           [ 0., -1.]])
    """
    return _double_precision(V).to_matrix().astype(V.dtype)


def apply(X: NDArray[Float], V: NDArray[Float]) -> NDArray[Float]:
    """Return ``X U`` without forming U: 4 n k m operations instead of 2 n k^2 and those of forming U.

    Parameters
    ----------
    X : ndarray of shape (n, k)
        Rows to rotate.
    V : ndarray of float32 or float64, shape (k, m), m <= k
        Reflections as columns.

    Returns
    -------
    ndarray of shape (n, k)
        The rotated rows; their norms and inner products are those of X.

    Raises
    ------
    TypeError, ValueError
        See `compact_wy`.

    Examples
    --------
    >>> apply(np.array([[3.0, 4.0]]), np.array([[1.0], [1.0]]))  # the mirror that exchanges two axes, with signs
    array([[-4., -3.]])
    """
    factors = _double_precision(V)
    in_dtype = CompactWY(*(array.astype(V.dtype) for array in (factors.reflections, factors.norms, factors.inverse)))
    return in_dtype.apply(X)  # type: ignore[return-value]


def gradient(V: NDArray[Float], A: NDArray[Float]) -> NDArray[Float]:
    """Return dL/dV for a loss L of ``U = to_matrix(V)``, given A = dL/dU.

    With P = S^-1 V^T, Q = V S^-1 and N = striu(Q^T A P^T), for columns of unit norm:

        dL/dV = -A P^T - A^T Q + V (N + N^T)

    Then the component along each column is removed, and each column is divided by the norm it had.

    Parameters
    ----------
    V : ndarray of float32 or float64, shape (k, m), m <= k
        Reflections as columns.
    A : ndarray of shape (k, k)
        The gradient with respect to U; for a batch, ``X.T @ dZ`` where Z = X U.

    Returns
    -------
    ndarray of V's dtype, shape (k, m)
        The gradient with respect to V.

    Raises
    ------
    TypeError, ValueError
        See `compact_wy`.

    Examples
    --------
    >>> gradient(np.eye(2), np.array([[0.0, 1.0], [0.0, 0.0]]))
    array([[0., 2.],
           [2., 0.]])
    """
    return compact_wy(V).gradient(A)  # type: ignore[return-value]


def from_matrix(U: NDArray[Float]) -> NDArray[Float]:
    """Return reflections V with ``to_matrix(V) == U``, for any orthogonal U.

    For each column j, one reflection maps ``U e_j`` to ``e_j``; a column that is ``e_j`` already needs none.
    So m <= k, and m is even exactly where det U = 1 (the identity gives m = 0).

    Parameters
    ----------
    U : ndarray of float32 or float64, shape (k, k)
        An orthogonal matrix of either determinant.

    Returns
    -------
    ndarray of U's dtype, shape (k, m), m <= k
        Reflections as columns of unit norm.

    Raises
    ------
    TypeError
        If U is not float32 or float64.
    ValueError
        If U is not square, or not orthogonal to the precision of its dtype.

    Examples
    --------
    >>> from_matrix(np.array([[0.0, 1.0], [1.0, 0.0]])).round(4)
    array([[-0.7071],
           [ 0.7071]])
    >>> from_matrix(np.eye(3)).shape
    (3, 0)
    """
    _check_dtype(U, "U")
    if U.ndim != 2 or U.shape[0] != U.shape[1]:
        raise ValueError(f"U must be square; got shape {U.shape}")
    k, rest = len(U), U.astype(np.float64)
    deviation = np.abs(rest.T @ rest - np.eye(k)).max(initial=0.0)
    tol = 100 * float(np.finfo(U.dtype).eps) * max(k, 1) ** 0.5
    if not deviation <= tol:
        raise ValueError(
            f"U must be orthogonal; U^T U differs from the identity by {deviation:.1e}, over {tol:.1e}: "
            "orthogonalize it first, for instance with scipy.linalg.polar"
        )
    columns = []
    for j in range(k):
        trailing = rest[j:, j:]
        v = trailing[:, 0].copy()
        beside = float(v[1:] @ v[1:])
        if v[0] <= 0 or beside > float(np.finfo(np.float64).eps) ** 2 * k:
            # u - 1 loses its digits where u is nearly 1; on the unit sphere it is -beside / (1 + u).
            v[0] = -beside / (1 + v[0]) if v[0] > 0 else v[0] - 1
            v /= np.sqrt(v @ v)
            trailing -= 2 * np.outer(v, v @ trailing)
            columns.append(np.concatenate([np.zeros(j), v]))
    return np.array(columns).reshape(-1, k).T.astype(U.dtype, order="C")
