"""Validation of numbers and choices."""

import math
from typing import Any

import numpy as np

from h2q.errors import describe

__all__ = ["MAX_BITS", "MAX_INTEGER", "bytes_per_code", "check_integer", "check_metric", "check_n_bits", "check_number"]

MAX_BITS = 65_536
MAX_INTEGER = 2**63 - 1


def check_integer(value: Any, name: str, *, low: int, high: int | None = None) -> int:
    """Return `value` as an int, if it is a whole number from `low` to `high`.

    Parameters
    ----------
    value : int or numpy integer
        What the user passed.
    name : str
        Name of the argument.
    low, high : int
        Smallest and largest value; `high` defaults to 2**63 - 1.

    Raises
    ------
    TypeError
        If it is not a whole number (a bool is not one).
    ValueError
        If it is out of range.

    Examples
    --------
    >>> check_integer(5, "k", low=1)
    5
    >>> check_integer(0, "k", low=1)
    Traceback (most recent call last):
    ...
    ValueError: k must be at least 1; got 0
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number; got {describe(value)}")
    if high is None and value > MAX_INTEGER:
        raise ValueError(f"{name} must be below 2**63; got {value}")
    if value < low or (high is not None and value > high):
        bound = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {bound}; got {value}")
    return int(value)


def check_metric(metric: Any) -> str:
    """Return the name of a distance of embeddings, if there is one of this name.

    >>> check_metric("dot")
    Traceback (most recent call last):
    ...
    ValueError: metric must be 'cosine' or 'euclidean'; got 'dot' (str)
    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric must be 'cosine' or 'euclidean'; got {describe(metric)}")
    return str(metric)


def check_number(
    value: Any, name: str, *, low: float = -math.inf, high: float = math.inf, above: float = -math.inf
) -> float:
    """Return `value` as a float, if it is a finite number from `low` to `high` and greater than `above`.

    Parameters
    ----------
    value : int, float or numpy number
        What the user passed.
    name : str
        Name of the argument.
    low, high, above : float
        Bounds; none by default.

    Raises
    ------
    TypeError
        If it is not a real number (a bool is not one).
    ValueError
        If it is NaN, infinite or out of range.

    Examples
    --------
    >>> check_number(2, "gamma", above=0)
    2.0
    >>> check_number(0, "gamma", above=0)
    Traceback (most recent call last):
    ...
    ValueError: gamma must be a finite number above 0; got 0
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number; got {describe(value)}")
    if not (math.isfinite(value) and low <= value <= high and value > above):
        bounds = [f"{word} {bound:g}" for word, bound in (("above", above), ("at least", low), ("at most", high))
                  if math.isfinite(bound)]  # fmt: skip
        raise ValueError(f"{name} must be a finite number{' ' + ' and '.join(bounds) if bounds else ''}; got {value}")
    return float(value)


def check_n_bits(n_bits: Any, name: str = "n_bits") -> int:
    """Return the number of bits of a code, if it is a whole number from 1 to 65,536."""
    return check_integer(n_bits, name, low=1, high=MAX_BITS)


def bytes_per_code(n_bits: int) -> int:
    """Return the bytes of a packed code of `n_bits` bits: ``ceil(n_bits / 8)``.

    >>> bytes_per_code(64), bytes_per_code(65)
    (8, 9)
    """
    return (n_bits + 7) // 8
