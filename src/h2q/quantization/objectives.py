"""What a rotation is learned for: functions of the rotated embeddings Z = X U, whose rows have norm sqrt(k).

An objective takes Z, shape (n, k), and returns its value (to be made small) and the gradient dL/dZ, shape (n, k). All
of these are even in every coordinate, so that the determinant of U does not matter. A new one is one function under
``@objective("name")``: it is then a choice of `HouseholderQuantizer` and of the command line.

Source: Schwengber et al., "Deep Hashing via Householder Quantization" (arXiv 2311.04207), sections 3.3 and 4.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

__all__ = ["OBJECTIVES", "Objective", "bit_variance", "l1", "l2", "min_entry"]

Objective = Callable[[NDArray[np.floating]], tuple[float, NDArray[np.floating]]]
OBJECTIVES: dict[str, Objective] = {}


def objective(name: str) -> Callable[[Objective], Objective]:
    """Register a function as the objective `name`."""

    def register(function: Objective) -> Objective:
        OBJECTIVES[name] = function
        return function

    return register


@objective("l2")
def l2(Z: NDArray[np.floating]) -> tuple[float, NDArray[np.floating]]:
    """Mean (z - sgn z)^2, which is 2 - 2 mean abs(z) where rows have norm sqrt(k): the objective that ITQ descends.

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
    """Mean over rows of logsumexp_j(-z_j^2): a smooth form of making the smallest entry of a row large.

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
