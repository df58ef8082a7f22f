"""Validation of codes, ids and labels: one row or value per item."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks.arrays import as_array
from h2q.checks.numbers import MAX_INTEGER, bytes_per_code
from h2q.errors import describe, with_article

__all__ = ["as_codes", "as_ids", "as_labels"]


def as_codes(codes: Any, n_bits: int, name: str = "codes") -> NDArray[np.uint8]:
    """Return packed codes as a C-ordered uint8 array of shape (n, ceil(n_bits / 8)); n may be 0.

    The most significant bit comes first (`numpy.packbits`), and padding bits are 0.

    Raises
    ------
    TypeError
        If the dtype is not uint8.
    ValueError
        If the shape does not fit `n_bits`, or a padding bit is set.

    Examples
    --------
    >>> as_codes([[1]], 8)
    Traceback (most recent call last):
    ...
    TypeError: codes must be packed bits of dtype uint8; got an int64 array of shape (1, 1): use pack_bits on signs or \
bits
    """
    array = as_array(codes, name)
    if array.dtype != np.uint8:
        raise TypeError(
            f"{name} must be packed bits of dtype uint8; got {describe(array)}: use pack_bits on signs or bits"
        )
    width = bytes_per_code(n_bits)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(
            f"{name} must have shape (n, {width}), the bytes of {n_bits} bits; got {tuple(array.shape)}: "
            "check n_bits, or reshape one code to (1, -1)"
        )
    padding = width * 8 - n_bits
    if padding and len(array) and (array[:, -1] & ((1 << padding) - 1)).any():
        raise ValueError(
            f"{name} has bits set in the last {padding} padding bit(s) of {n_bits}-bit codes; check n_bits, and that "
            "the most significant bit comes first"
        )
    return np.ascontiguousarray(array)


def as_ids(ids: Any, n: int | None = None, name: str = "ids") -> NDArray[np.int64]:
    """Return ids of items as int64 of shape (n,): whole numbers from 0 to 2**63 - 1, all different.

    Raises
    ------
    TypeError
        If they are not whole numbers.
    ValueError
        If they are not 1-D, not `n`, out of range, or one is given twice.

    Examples
    --------
    >>> as_ids([3, 3])
    Traceback (most recent call last):
    ...
    ValueError: ids holds 1 id(s) more than once (first: 3); every item needs an id of its own
    """
    array = as_array(ids, name)
    if array.ndim != 1 or (n is not None and len(array) != n):
        expected = "1-D" if n is None else f"1-D with {n} entries, one an item"
        raise ValueError(f"{name} must be {expected}; got shape {array.shape}")
    # NumPy makes floats or objects of a list of Python integers beyond 64 bits.
    values = array if isinstance(ids, np.ndarray) or array.dtype.kind in "iu" else np.asarray(ids, dtype=object)
    if len(values) and not all(_is_whole(value) for value in (values[:1] if values.dtype != object else values)):
        raise TypeError(f"{name} must be whole numbers; got {with_article(array.dtype)} array")
    for value in (values.min(initial=0), values.max(initial=0)):
        if not 0 <= value <= MAX_INTEGER:
            bound = "must not be negative" if value < 0 else "must be below 2**63"
            raise ValueError(f"{name} {bound}; got {value}")
    result = values.astype(np.int64)
    unique, counts = np.unique(result, return_counts=True)
    if len(unique) < len(result):
        raise ValueError(
            f"{name} holds {int((counts > 1).sum())} id(s) more than once (first: {unique[counts > 1][0]}); "
            "every item needs an id of its own"
        )
    return result


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def as_labels(labels: Any, n: int | None = None, name: str = "labels") -> NDArray[Any]:
    """Return labels as class ids (n,) of int64 or as multi-hot rows (n, c) of bool.

    Raises
    ------
    TypeError
        If they are not whole numbers or bools.
    ValueError
        If they are neither 1-D nor 2-D, not `n` rows, negative, or (2-D) not 0 and 1 only.

    Examples
    --------
    >>> as_labels([0, 2, 1])
    array([0, 2, 1])
    >>> as_labels([[0, 1], [1, 1]])
    array([[False,  True],
           [ True,  True]])
    """
    array = as_array(labels, name)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must be class ids (n,) or multi-hot rows (n, classes); got shape {array.shape}")
    if n is not None and len(array) != n:
        raise ValueError(f"{name} must have {n} rows, one an item; got {len(array)}")
    if array.dtype.kind == "f" and len(array) and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise TypeError(
            f"{name} must be whole numbers (class ids, or 0 and 1 in multi-hot rows); got dtype {array.dtype}"
        )
    if array.ndim == 1:
        if array.dtype.kind == "b":
            raise TypeError(f"{name} must be class ids; got {describe(array)}: pass whole numbers or multi-hot rows")
        if (array < 0).any():
            raise ValueError(f"{name} must not be negative; got {array[array < 0][0]}")
        return array.astype(np.int64)
    if not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name} with two dimensions must be multi-hot rows of 0 and 1; got other values")
    return array.astype(np.bool_)
