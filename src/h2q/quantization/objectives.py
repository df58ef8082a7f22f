"""Objectives of a rotation: functions of the rotated embeddings Z = X U, whose rows have norm sqrt(k).

An objective takes Z, shape (n, k), and returns the value to minimize and the gradient dL/dZ, shape (n, k). All
objectives here are even in every coordinate, so that the determinant of U does not matter. A new one is one function
under ``@objective("name")``: `HouseholderQuantizer` and the command line then accept its name.

Source: Schwengber et al., "Deep Hashing via Householder Quantization" (arXiv 2311.04207), sections 3.3 and 4.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

__all__ = [
    "OBJECTIVES",
    "Objective",
    "QuantizationErrors",
    "bit_variance",
    "closest_sphere_bits",
    "cos_sim",
    "l1",
    "l2",
    "mean_abs",
    "min_entry",
    "quantization_errors",
    "row_errors",
    "scale_rows",
]

_CHUNK_ROWS = 1 << 14

Objective = Callable[[NDArray[np.floating]], tuple[float, NDArray[np.floating]]]
OBJECTIVES: dict[str, Objective] = {}


def scale_rows(Z: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return rows scaled to norm sqrt(k), the norm of a row of signs; rows of zeros stay.

    >>> scale_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).round(3).tolist()
    [[0.849, 1.131], [0.0, 0.0]]
    """
    norms = np.sqrt(np.einsum("ij,ij->i", Z, Z))
    scales = np.divide(np.sqrt(Z.shape[1]), norms, out=np.zeros_like(norms), where=norms > 0)
    scaled: NDArray[np.floating] = Z * scales[:, None].astype(Z.dtype)
    return scaled


def row_errors(Z: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the L2 quantization error of each row: mean (z - sgn z)^2 once the row is scaled to norm sqrt(k).

    A row of zeros has error 1.

    >>> row_errors(np.array([[2.0, -2.0], [1.0, 0.0], [0.0, 0.0]])).round(4).tolist()
    [0.0, 0.5858, 1.0]
    """
    norms = np.sqrt(np.einsum("ij,ij->i", Z, Z))
    directed = norms > 0
    cosines = np.divide(np.abs(Z).sum(axis=1), norms, out=np.zeros_like(norms), where=directed) / np.sqrt(Z.shape[1])
    errors: NDArray[np.float64] = directed + 1.0 - 2.0 * cosines
    return errors


class QuantizationErrors(NamedTuple):
    """Mean abs(z - sgn z) and mean (z - sgn z)^2 of rows of norm sqrt(k)."""

    l1: float
    l2: float


def quantization_errors(Z: NDArray[np.floating]) -> QuantizationErrors:
    """Return the L1 and L2 quantization errors of rotated embeddings, rows scaled to norm sqrt(k).

    Parameters
    ----------
    Z : ndarray of float, shape (n, k)
        Rotated embeddings of any norm: a quantizer's ``transform(X)``.

    Returns
    -------
    QuantizationErrors
        Means over all entries; 0 where every row is proportional to its code. A row of zeros has error 1.

    Examples
    --------
    >>> quantization_errors(np.array([[3.0, -3.0], [0.0, 0.0]]))
    QuantizationErrors(l1=0.5, l2=0.5)
    """
    total_l1 = total_l2 = 0.0
    for start in range(0, len(Z), _CHUNK_ROWS):
        distances = np.abs(np.abs(scale_rows(Z[start : start + _CHUNK_ROWS])) - 1)
        total_l1 += float(distances.sum(dtype=np.float64))
        total_l2 += float(np.square(distances).sum(dtype=np.float64))
    return QuantizationErrors(total_l1 / Z.size, total_l2 / Z.size)


def objective(name: str) -> Callable[[Objective], Objective]:
    """Register a function as the objective `name`."""

    def register(function: Objective) -> Objective:
        OBJECTIVES[name] = function
        return function

    return register


@objective("l2")
def l2(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Mean (z - sgn z)^2, which is 2 - 2 mean abs(z) if rows have norm sqrt(k): the objective of ITQ.

    >>> value, gradient = l2(np.array([[0.5, -1.0]]))
    >>> value, gradient.tolist()
    (0.125, [[-0.5, 0.0]])
    """
    difference = Z - np.copysign(1, Z)
    value = float(np.vdot(difference, difference)) / Z.size
    difference *= 2 / Z.size
    return value, difference


@objective("l1")
def l1(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Mean abs(z - sgn z).

    >>> value, gradient = l1(np.array([[0.5, -3.0]]))
    >>> value, gradient.tolist()
    (1.25, [[-0.5, -0.5]])
    """
    difference = Z - np.copysign(1, Z)
    return float(np.abs(difference).mean()), np.sign(difference) / Z.size


@objective("min_entry")
def min_entry(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Mean over rows of logsumexp_j(-z_j^2): a smooth form of maximizing the smallest entry of a row.

    >>> value, gradient = min_entry(np.array([[1.0, 1.0]]))
    >>> round(value, 4), gradient.tolist()
    (-0.3069, [[-1.0, -1.0]])
    """
    squares = Z * Z
    smallest = squares.min(axis=1, keepdims=True)
    weights = np.exp(smallest - squares)
    sums = weights.sum(axis=1, keepdims=True)
    value = float((np.log(sums) - smallest).mean())
    weights *= Z
    weights *= -2 / (len(Z) * sums)
    return value, weights


@objective("bit_variance")
def bit_variance(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Mean sigma(z) (1 - sigma(z)), sigma the logistic function: the variance of a bit drawn with probability sigma(z).

    >>> value, gradient = bit_variance(np.array([[0.0, 0.0]]))
    >>> value, gradient.tolist()
    (0.25, [[0.0, 0.0]])
    """
    probability = expit(Z)
    variance = probability * (1 - probability)
    return float(variance.mean()), variance * (1 - 2 * probability) / Z.size


@objective("mean_abs")
def mean_abs(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Mean (abs(z) - m)^2, m the mean of abs(z) over the row: 1 - m^2 on average if rows have norm sqrt(k).

    The loss MA of the authors' code (src/utils/losses.py), which compares z itself with m: that is not even in z, and
    draws all codes to a single one.

    >>> value, gradient = mean_abs(np.array([[0.5, -1.5]]))
    >>> value, gradient.tolist()
    (0.25, [[-0.5, -0.5]])
    """
    sizes = np.abs(Z)
    difference = sizes - sizes.mean(axis=1, keepdims=True)
    value = float(np.vdot(difference, difference)) / Z.size
    return value, difference * np.copysign(2 / Z.size, Z)


@objective("closest_sphere_bits")
def closest_sphere_bits(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Mean (abs(z) - |row| / sqrt(k))^2, the distance to the nearest signs of the row's norm; `l2` at norm sqrt(k).

    The loss CSB of the authors' code (src/utils/losses.py), there a sum. A row of zeros has value and gradient 0.

    >>> value, gradient = closest_sphere_bits(np.array([[1.0, -7.0]]))  # norm / sqrt(k) = 5
    >>> value, gradient.round(6).tolist()
    (10.0, [[-3.8, -3.4]])
    """
    sizes = np.abs(Z)
    norms = np.sqrt(np.einsum("ij,ij->i", Z, Z))[:, None]
    difference = sizes - norms / np.sqrt(Z.shape[1]).astype(Z.dtype)
    value = float(np.vdot(difference, difference)) / Z.size
    directions = np.divide(Z, norms, out=np.zeros_like(Z), where=norms > 0)
    along = difference.sum(axis=1, keepdims=True) / np.sqrt(Z.shape[1]).astype(Z.dtype)
    return value, (difference * np.copysign(1, Z) - along * directions) * (2 / Z.size)


@objective("cos_sim")
def cos_sim(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Minus mean abs(z): minus the cosine of a row and its signs if rows have norm sqrt(k), where it is l2 / 2 - 1.

    The loss of this name of the authors' code (src/utils/losses.py).

    >>> value, gradient = cos_sim(np.array([[0.5, -1.5]]))
    >>> value, gradient.tolist()
    (-1.0, [[-0.5, 0.5]])
    """
    return -float(np.abs(Z).mean()), -np.copysign(1 / Z.size, Z)
