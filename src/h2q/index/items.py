"""Checks of items and queries: packed codes or embeddings."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes, as_embeddings
from h2q.errors import describe

__all__ = ["check_items"]


def check_items(items: Any, name: str, n_bits: int, quantizer: Any, *, allow_1d: bool = False) -> NDArray[Any]:
    """Return packed codes (uint8) or embeddings (float32), told apart by dtype, or say what is wrong with them.

    Parameters
    ----------
    items : array-like
        uint8 arrays are codes; everything else must be embeddings.
    name : str
        Name of the argument, for errors.
    n_bits : int
        Bits of a code.
    quantizer : fitted quantizer or None
        Needed for embeddings. A centered one accepts zero rows (its `encode` warns of them).
    allow_1d : bool
        Whether a 1-D array is one row.

    Raises
    ------
    TypeError, ValueError
        See `h2q.checks.as_codes` and `h2q.checks.as_embeddings`.

    Examples
    --------
    >>> check_items(np.array([3], dtype=np.uint8), "queries", 8, None, allow_1d=True)
    array([[3]], dtype=uint8)
    """
    if allow_1d:
        items = _one_row_if_1d(items)
    dtype = getattr(items, "dtype", None)
    if dtype == np.uint8 or str(dtype) == "torch.uint8":
        return as_codes(items, n_bits, name)
    if quantizer is None:
        raise TypeError(
            f"{name} must be packed codes (uint8), since this index has no quantizer; got {describe(items)}: use "
            "pack_bits, or BinaryIndex(quantizer=...)"
        )
    zero_rows = bool(getattr(quantizer, "center", False))
    return as_embeddings(items, name, n_features=quantizer.n_features_in_, allow_zero_rows=zero_rows)


def _one_row_if_1d(items: Any) -> Any:
    """Turn one vector into an array of one row; a series of vectors, of dtype object, is left as it is."""
    if isinstance(items, (list, tuple)):
        return [items] if items and all(isinstance(value, Real) for value in items) else items
    if getattr(items, "ndim", None) != 1 or items.dtype == object:
        return items
    return items[None] if hasattr(items, "detach") else np.asarray(items)[None]
