"""Checks of items and queries: packed codes or embeddings."""

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes, as_embeddings
from h2q.errors import describe
from h2q.quantization.scoring import EncodedItems

__all__ = ["check_items", "check_quantizer", "columns_of"]


def columns_of(items: Any, n_bits: int, quantizer: Any, *, keep_embeddings: bool) -> dict[str, NDArray[Any]]:
    """Return the columns of new items, all but their ids, or say what is wrong with the items.

    Parameters
    ----------
    items : array-like or EncodedItems
        Packed codes, embeddings, or what a quantizer's `encode_items` returned.
    n_bits : int
        Bits of a code.
    quantizer : fitted quantizer or None
        Encodes embeddings.
    keep_embeddings : bool
        Whether the embeddings are a column.

    Raises
    ------
    TypeError, ValueError
        If the items do not have what the columns hold, or see `check_items`.
    """
    has_scalars = quantizer is not None and quantizer.scalar_tables() is not None
    embeddings = None
    if isinstance(items, EncodedItems):
        if quantizer is not None and items.fingerprint not in (None, quantizer.fingerprint()):
            raise ValueError(
                f"items were encoded by another quantizer (fingerprint {items.fingerprint}) than that of this index: "
                "their codes cannot be compared"
            )
        encoded = EncodedItems(as_codes(items.codes, n_bits, "items"), items.scalars)
    else:
        checked = check_items(items, "items", n_bits, quantizer)
        if checked.dtype == np.uint8:
            encoded = EncodedItems(checked)
        else:
            encoded, embeddings = quantizer.encode_items(checked), checked
    if keep_embeddings and embeddings is None:
        raise TypeError("items are codes, but this index keeps embeddings: add the embeddings themselves")
    columns: dict[str, NDArray[Any]] = {"codes": encoded.codes}
    if has_scalars:
        columns["scalars"] = _check_scalars(encoded)
    if keep_embeddings and embeddings is not None:
        columns["embeddings"] = embeddings
    return columns


def _check_scalars(encoded: EncodedItems) -> NDArray[np.uint8]:
    """Return the scalars of items whose quantizer stores them."""
    scalars = encoded.scalars
    if scalars is None:
        raise TypeError(
            "items are codes alone, but the quantizer of this index stores a scalar beside each: add the embeddings, "
            "or what the quantizer's encode_items returns"
        )
    if not isinstance(scalars, np.ndarray) or scalars.dtype != np.uint8 or scalars.shape != (len(encoded.codes),):
        raise ValueError(f"scalars must be uint8 of shape ({len(encoded.codes)},); got {describe(scalars)}")
    return scalars


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


def check_quantizer(quantizer: Any, fingerprint: str | None) -> None:
    """Refuse a quantizer that did not make the codes of an index.

    Raises
    ------
    ValueError
        If its fingerprint is another one, or the index has none.
    """
    if quantizer.fingerprint() != fingerprint:
        made = "without a quantizer" if fingerprint is None else f"with another quantizer (fingerprint {fingerprint})"
        raise ValueError(
            f"quantizer is not that of this index, whose codes were made {made}: codes of two quantizers cannot be "
            "compared; make a new index"
        )
