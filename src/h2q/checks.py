"""Checks of what users pass in: one function a kind of argument, each error naming the argument and the way out."""

import math
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from h2q.errors import describe

__all__ = [
    "as_codes",
    "as_embeddings",
    "as_ids",
    "as_labels",
    "bytes_per_code",
    "check_integer",
    "check_metric",
    "check_n_bits",
    "check_number",
]

MAX_BITS = 65_536
AllowZeroRows = bool | Literal["warn"]


def check_integer(value: Any, name: str, *, low: int, high: int | None = None) -> int:
    """Return `value` as an int if it is a whole number within ``low`` and ``high`` (both allowed).

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
    bound = f"at least {low}" if high is None else f"from {low} to {high}"
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name} must be {bound}; got {value}")
    return int(value)


def check_metric(metric: Any) -> str:
    """Return what makes embeddings near, if it is one of the two.

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
    """Return `value` as a float if it is a finite number within ``low`` and ``high`` (both allowed) and over ``above``.

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
    """Return the number of bits of a code if it is a whole number from 1 to 65,536."""
    return check_integer(n_bits, name, low=1, high=MAX_BITS)


def bytes_per_code(n_bits: int) -> int:
    """Return the bytes that a packed code of `n_bits` bits takes: ``ceil(n_bits / 8)``.

    >>> bytes_per_code(64), bytes_per_code(65)
    (8, 9)
    """
    return (n_bits + 7) // 8


def _as_array(value: Any, name: str) -> NDArray[Any]:
    """Turn lists and torch tensors into an array; leave arrays and memory maps as they are."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; embeddings are dense: pass {name}.toarray()")
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":
            value = value.float()
        return np.asarray(value.numpy())
    try:
        array = np.asarray(value)
        # A pandas Series of vectors, or an array of arrays.
        nested = array.dtype == object and array.ndim == 1 and len(array) and np.ndim(array[0]) == 1
        return np.stack(list(array)) if nested else array
    except ValueError as error:
        raise ValueError(f"{name} must be an array whose rows all have one length; {error}") from error


def as_embeddings(
    X: Any,
    name: str = "X",
    *,
    n_features: int | None = None,
    allow_zero_rows: AllowZeroRows = False,
    first_row: int = 0,
) -> NDArray[np.float32]:
    """Return embeddings as a C-ordered float32 array of shape (n, d), or say what is wrong with them.

    Parameters
    ----------
    X : array-like of shape (n, d)
        float16, float32, float64, a list of rows, a pandas Series of vectors, a memory map or a torch tensor. Signed
        integers are converted with a warning. uint8 and bool are refused: they are packed codes or bits, which are not
        embeddings.
    name : str
        What the caller calls the argument.
    n_features : int, optional
        The width d that is expected.
    allow_zero_rows : bool or "warn"
        Whether a row of zeros, which has no direction, may be there; "warn": it may, with a warning.
    first_row : int
        Where `X` is one chunk of many: the number of its first row, from which errors count.

    Returns
    -------
    ndarray of float32, shape (n, d)
        `X` itself where it already is one; treat it as read-only.

    Raises
    ------
    TypeError
        Sparse, complex, object, text, bool or uint8 input.
    ValueError
        Not two-dimensional, no rows, no columns, another width, NaN, infinity, or a row of zeros.

    Examples
    --------
    >>> as_embeddings([[1, 2.5]])
    array([[1. , 2.5]], dtype=float32)
    >>> as_embeddings([[1.0, float("nan")]], "queries")
    Traceback (most recent call last):
    ...
    ValueError: queries contains NaN in 1 of 1 rows (first: row 0); remove or repair these rows
    """
    array = _as_array(X, name)
    if array.ndim == 1:
        raise ValueError(
            f"{name} must be 2-D (rows are embeddings). Expected 2D array, got 1D array instead, of shape "
            f"{array.shape}. Reshape your data: {name}.reshape(1, -1) if it is one embedding"
        )
    if array.ndim != 2:
        raise ValueError(f"{name} must be 2-D (rows are embeddings); got shape {array.shape}")
    if array.shape[0] == 0:
        raise ValueError(
            f"{name} is empty: Found array with 0 sample(s) (shape={array.shape}) while a minimum of 1 is required."
        )
    if array.shape[1] == 0:
        raise ValueError(f"{name} has no columns: 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    if n_features is not None and array.shape[1] != n_features:
        raise ValueError(
            f"{name} has {array.shape[1]} features, but {n_features} were expected; pass embeddings of one model"
        )
    kind = array.dtype.kind
    if kind == "c":
        raise ValueError(f"Complex data not supported: {name} is a {describe(array)}; pass real embeddings")
    if kind == "b" or array.dtype == np.uint8:
        raise TypeError(
            f"{name} must hold floating-point embeddings; got a {describe(array)}, which looks like codes or bits. "
            f"If these really are embeddings, pass {name}.astype('float32'); codes are unpacked by unpack_bits"
        )
    if kind in "iu":
        warnings.warn(
            f"{name} holds integers ({array.dtype}): they are converted to float32; pass floats",
            UserWarning,
            stacklevel=3,
        )
    elif kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{name} must hold numbers; got object dtype that does not convert (argument must be a string or a "
                f"number): {error}"
            ) from error
    elif kind != "f":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}: convert it with {name}.astype('float32')")
    with np.errstate(over="ignore"):  # what overflows is reported by _check_rows
        embeddings = np.ascontiguousarray(array, dtype=np.float32)
    _check_rows(embeddings, array, name, allow_zero_rows, first_row)
    return embeddings


def _check_rows(
    embeddings: NDArray[np.float32], original: NDArray[Any], name: str, allow_zero_rows: AllowZeroRows, first_row: int
) -> None:
    """Find rows with NaN, infinity or nothing but zeros; one pass where all is well."""
    squared_norms = np.einsum("ij,ij->i", embeddings, embeddings)
    if np.isfinite(squared_norms).all() and (allow_zero_rows is True or squared_norms.all()):
        return
    finite = np.isfinite(embeddings)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=1))
        if np.isfinite(np.asarray(original[bad], dtype=np.float64)).all():
            what = "values beyond the range of float32 (3.4e38), infinity once converted,"
        else:
            what = "NaN" if np.isnan(embeddings[bad]).any() else "infinity (inf)"
        raise ValueError(
            f"{name} contains {what} in {len(bad)} of {len(embeddings)} rows (first: row {first_row + bad[0]}); "
            "remove or repair these rows"
        )
    zero = np.flatnonzero(~embeddings.any(axis=1))
    if len(zero) and allow_zero_rows == "warn":
        warnings.warn(
            f"{name} has {len(zero)} all-zero row(s) (first: row {first_row + zero[0]}): often items that failed to "
            "embed",
            UserWarning,
            stacklevel=4,
        )
    elif len(zero) and not allow_zero_rows:
        raise ValueError(
            f"{name} has {len(zero)} all-zero row(s) (first: row {first_row + zero[0]}): a zero embedding has no "
            "direction and no code; remove these rows"
        )


def as_codes(codes: Any, n_bits: int, name: str = "codes") -> NDArray[np.uint8]:
    """Return packed codes as a C-ordered uint8 array of shape (n, ceil(n_bits / 8)), or say what is wrong.

    Most significant bit first (`numpy.packbits`); the padding bits must be 0. No rows are allowed.

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
    TypeError: codes must be packed bits of dtype uint8; got a int64 array of shape (1, 1): use pack_bits on signs or \
bits
    """
    array = _as_array(codes, name)
    if array.dtype != np.uint8:
        raise TypeError(
            f"{name} must be packed bits of dtype uint8; got a {describe(array)}: use pack_bits on signs or bits"
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
    """Return item ids as int64 of shape (n,): whole, not negative, none given twice.

    Raises
    ------
    TypeError
        If they are not whole numbers.
    ValueError
        If they are not 1-D, not `n`, negative, beyond 64 bits, or given twice.

    Examples
    --------
    >>> as_ids([3, 3])
    Traceback (most recent call last):
    ...
    ValueError: ids holds 1 id(s) more than once (first: 3); every item needs an id of its own
    """
    array = _as_array(ids, name)
    if array.ndim != 1 or (n is not None and len(array) != n):
        raise ValueError(
            f"{name} must be 1-D{'' if n is None else f' with {n} entries, one an item'}; got shape {array.shape}"
        )
    if array.dtype.kind not in "iu" and len(array):
        raise TypeError(f"{name} must be whole numbers; got dtype {array.dtype}")
    if len(array) and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"{name} must be below 2**63; got {array.max()}")
    result = array.astype(np.int64)
    if (result < 0).any():
        raise ValueError(f"{name} must not be negative; got {result[result < 0][0]}")
    unique, counts = np.unique(result, return_counts=True)
    if len(unique) < len(result):
        raise ValueError(
            f"{name} holds {int((counts > 1).sum())} id(s) more than once (first: {unique[counts > 1][0]}); "
            "every item needs an id of its own"
        )
    return result


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
    array = _as_array(labels, name)
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
            raise TypeError(f"{name} must be class ids; got a {describe(array)}: pass whole numbers or multi-hot rows")
        if (array < 0).any():
            raise ValueError(f"{name} must not be negative; got {array[array < 0][0]}")
        return array.astype(np.int64)
    if not ((array == 0) | (array == 1)).all():
        raise ValueError(f"{name} with two dimensions must be multi-hot rows of 0 and 1; got other values")
    return array.astype(np.bool_)
