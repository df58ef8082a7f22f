"""Validation of embeddings."""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from h2q.checks.arrays import as_array
from h2q.errors import describe

__all__ = ["AllowZeroRows", "as_embeddings"]

AllowZeroRows = bool | Literal["warn"]
# Squares of smaller and larger norms lose digits in float32, or overflow.
_MIN_NORM, _MAX_NORM = 1e-12, 1e12


def as_embeddings(
    X: Any,
    name: str = "X",
    *,
    n_features: int | None = None,
    allow_zero_rows: AllowZeroRows = False,
    first_row: int = 0,
) -> NDArray[np.float32]:
    """Return embeddings as a C-ordered float32 array of shape (n, d).

    Parameters
    ----------
    X : array-like of shape (n, d)
        float16, float32 or float64: an array, a list of rows, a series of rows, a memory map or a torch tensor. Signed
        integers are converted with a warning. uint8 and bool are refused: they are packed codes or bits.
    name : str
        Name of the argument.
    n_features : int, optional
        The width d that is expected.
    allow_zero_rows : bool or "warn"
        Whether rows of zeros, which have no direction, are accepted; "warn": with a warning.
    first_row : int
        Number of the first row, if `X` is one chunk of many; errors count from it.

    Returns
    -------
    ndarray of float32, shape (n, d)
        `X` itself if it already is one; treat it as read-only.

    Raises
    ------
    TypeError
        Sparse, object, bool or uint8 input, text in an object array.
    ValueError
        Not two-dimensional, no rows, no columns, another width, complex numbers, text, masked entries, NaN, infinity,
        a row of zeros, or norms below 1e-12 or above 1e12, whose squares float32 does not hold.

    Examples
    --------
    >>> as_embeddings([[1, 2.5]])
    array([[1. , 2.5]], dtype=float32)
    >>> as_embeddings([[1.0, float("nan")]], "queries")
    Traceback (most recent call last):
    ...
    ValueError: queries contains NaN in 1 of 1 rows (first: row 0); remove or repair these rows
    """
    array = as_array(X, name)
    _check_shape(array, name, n_features)
    array = _as_real(array, name)
    with np.errstate(over="ignore"):  # _check_rows reports what overflows
        embeddings = np.ascontiguousarray(array, dtype=np.float32)
    squared_norms = np.einsum("ij,ij->i", embeddings, embeddings)
    if not np.isfinite(squared_norms).all():
        _refuse_infinite(embeddings, array, name, first_row)
    if allow_zero_rows is not True and not squared_norms.all():
        _report_zero_rows(embeddings, name, allow_zero_rows, first_row)
    largest = float(np.sqrt(squared_norms.max()))
    if largest > _MAX_NORM or (largest < _MIN_NORM and embeddings.any()):
        size = "large" if largest > _MAX_NORM else "small"
        raise ValueError(
            f"{name} holds embeddings too {size} for float32 arithmetic (values up to {np.abs(embeddings).max():.2g}; "
            f"expected norms from {_MIN_NORM:g} to {_MAX_NORM:g}): divide them all by one number"
        )
    return embeddings


def _check_shape(array: NDArray[Any], name: str, n_features: int | None) -> None:
    """Refuse what is not (n, n_features) with n > 0; scikit-learn asks for some of the words."""
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


def _as_real(array: NDArray[Any], name: str) -> NDArray[Any]:
    """Return an array of real numbers, converted from objects if need be; refuse codes, complex numbers and text."""
    kind = array.dtype.kind
    if kind == "c":
        raise ValueError(f"Complex data not supported: {name} is {describe(array)}; pass real embeddings")
    if kind == "b" or array.dtype == np.uint8:
        raise TypeError(
            f"{name} must hold floating-point embeddings; got {describe(array)}, which looks like codes or bits. "
            f"If these really are embeddings, pass {name}.astype('float32'); codes are unpacked by unpack_bits"
        )
    if kind in "iu":
        warnings.warn(
            f"{name} holds integers ({array.dtype}): they are converted to float32; pass floats",
            UserWarning,
            stacklevel=4,
        )
    elif kind == "O":
        return _from_objects(array, name)
    elif kind != "f":
        raise ValueError(f"{name} must hold numbers; got dtype {array.dtype}: convert it with {name}.astype('float32')")
    return array


def _from_objects(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Return an array of objects as floats, if all of them are numbers."""
    for value in array.flat:
        if isinstance(value, (str, bytes)):
            raise TypeError(f"{name} must hold numbers; got {describe(value)} in an object array: convert it to floats")
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} must hold numbers; got object dtype that does not convert (argument must be a string or a "
            f"number): {error}"
        ) from error


def _refuse_infinite(embeddings: NDArray[np.float32], original: NDArray[Any], name: str, first_row: int) -> None:
    """Raise if entries are NaN or infinite; squares alone may be, in rows that are finite."""
    finite = np.isfinite(embeddings)
    if finite.all():
        return
    rows = np.flatnonzero(~finite.all(axis=1))
    if np.isfinite(np.asarray(original[rows], dtype=np.float64)).all():
        what = "values beyond the range of float32 (3.4e38), infinity once converted,"
    else:
        what = "NaN" if np.isnan(embeddings[rows]).any() else "infinity (inf)"
    raise ValueError(
        f"{name} contains {what} in {len(rows)} of {len(embeddings)} rows (first: row {first_row + rows[0]}); "
        "remove or repair these rows"
    )


def _report_zero_rows(
    embeddings: NDArray[np.float32], name: str, allow_zero_rows: AllowZeroRows, first_row: int
) -> None:
    """Warn of rows of zeros, or refuse them."""
    rows = np.flatnonzero(~embeddings.any(axis=1))
    if len(rows) == 0:
        return
    count = f"{name} has {len(rows)} all-zero row(s) (first: row {first_row + rows[0]})"
    if not allow_zero_rows:
        raise ValueError(f"{count}: a zero embedding has no direction and no code; remove these rows")
    warnings.warn(f"{count}: often items that failed to embed", UserWarning, stacklevel=4)
