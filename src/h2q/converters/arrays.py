"""Conventions in which codes are one array: FAISS, USearch, LanceDB, sentence-transformers, signed bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes, bytes_per_code
from h2q.converters.bits import reverse_bits
from h2q.errors import describe

__all__ = [
    "from_binary",
    "from_faiss",
    "from_int8",
    "from_lancedb",
    "from_ubinary",
    "from_usearch",
    "to_binary",
    "to_faiss",
    "to_int8",
    "to_lancedb",
    "to_ubinary",
    "to_usearch",
]

_OFFSET = 128


def to_faiss(codes: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return codes as FAISS packs bits (``real_to_binary``): the least significant bit first.

    A binary index of FAISS compares bytes, so that it gives the same distances for codes of h2q as they are, as long as
    items and queries agree. This is the order to use beside codes that FAISS itself made.

    Parameters
    ----------
    codes : array-like of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    n_bits : int
        Bits of a code. The index has ``d = 8 * ceil(n_bits / 8)``; padding bits are 0 and add nothing to a distance.

    Returns
    -------
    ndarray of uint8, shape (n, ceil(n_bits / 8))
        The packed bits.

    Raises
    ------
    TypeError, ValueError
        If they are not codes of `n_bits` bits; so for all functions here.

    Examples
    --------
    >>> to_faiss(np.array([[0b10000000]], dtype=np.uint8), 8)
    array([[1]], dtype=uint8)
    """
    return reverse_bits(as_codes(codes, n_bits))


def from_faiss(values: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in an array as FAISS packs bits; see `to_faiss`.

    Examples
    --------
    >>> from_faiss(np.array([[1]], dtype=np.uint8), 8)
    array([[128]], dtype=uint8)
    """
    return as_codes(reverse_bits(_check_bytes(values, np.uint8, n_bits)), n_bits, "values")


def to_usearch(codes: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return codes as USearch takes them for ``dtype="b1"``: most significant bit first.

    The index has ``ndim = 8 * ceil(n_bits / 8)`` and ``metric="hamming"``.

    Examples
    --------
    >>> to_usearch(np.array([[3]], dtype=np.uint8), 8)
    array([[3]], dtype=uint8)
    """
    return as_codes(codes, n_bits)


def from_usearch(values: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in an array of USearch (``dtype="b1"``); see `to_usearch`.

    Examples
    --------
    >>> from_usearch(np.array([[3]], dtype=np.uint8), 8)
    array([[3]], dtype=uint8)
    """
    return as_codes(values, n_bits, "values")


def to_ubinary(codes: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return codes as sentence-transformers has them for ``precision="ubinary"``: most significant bit first.

    Examples
    --------
    >>> to_ubinary(np.array([[3]], dtype=np.uint8), 8)
    array([[3]], dtype=uint8)
    """
    return as_codes(codes, n_bits)


def from_ubinary(values: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in embeddings of ``precision="ubinary"``; see `to_ubinary`.

    Examples
    --------
    >>> from_ubinary(np.array([[3]], dtype=np.uint8), 8)
    array([[3]], dtype=uint8)
    """
    return as_codes(values, n_bits, "values")


def to_binary(codes: Any, n_bits: int) -> NDArray[np.int8]:
    """Return codes as sentence-transformers has them for ``precision="binary"``: int8, each byte less 128.

    This is not the signed value of the same byte; see `to_int8`.

    Examples
    --------
    >>> to_binary(np.array([[0, 128, 255]], dtype=np.uint8), 24)
    array([[-128,    0,  127]], dtype=int8)
    """
    return (as_codes(codes, n_bits).astype(np.int16) - _OFFSET).astype(np.int8)


def from_binary(values: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in embeddings of ``precision="binary"``; see `to_binary`.

    Examples
    --------
    >>> from_binary(np.array([[-128, 0, 127]], dtype=np.int8), 24)
    array([[  0, 128, 255]], dtype=uint8)
    """
    array = _check_bytes(values, np.int8, n_bits)
    return as_codes((array.astype(np.int16) + _OFFSET).astype(np.uint8), n_bits, "values")


def to_int8(codes: Any, n_bits: int) -> NDArray[np.int8]:
    """Return codes as signed bytes, as Elasticsearch, OpenSearch and Vespa take them: most significant bit first.

    Each byte keeps its bits (two's complement). The field has ``8 * ceil(n_bits / 8)`` dimensions.

    Examples
    --------
    >>> to_int8(np.array([[0, 128, 255]], dtype=np.uint8), 24)
    array([[   0, -128,   -1]], dtype=int8)
    """
    return as_codes(codes, n_bits).view(np.int8)


def from_int8(values: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in signed bytes; see `to_int8`.

    Examples
    --------
    >>> from_int8(np.array([[0, -128, -1]], dtype=np.int8), 24)
    array([[  0, 128, 255]], dtype=uint8)
    """
    return as_codes(_check_bytes(values, np.int8, n_bits).view(np.uint8), n_bits, "values")


def to_lancedb(codes: Any, n_bits: int) -> Any:
    """Return codes as a column of LanceDB for ``distance_type("hamming")``: an Arrow list of uint8 an item.

    Returns
    -------
    pyarrow.FixedSizeListArray
        ``ceil(n_bits / 8)`` bytes an item.

    Examples
    --------
    >>> to_lancedb(np.array([[1, 2]], dtype=np.uint8), 16).to_pylist()
    [[1, 2]]
    """
    import pyarrow as pa

    packed = as_codes(codes, n_bits)
    return pa.FixedSizeListArray.from_arrays(pa.array(packed.ravel()), packed.shape[1])


def from_lancedb(values: Any, n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in a column of LanceDB, an Arrow array of lists of uint8; see `to_lancedb`.

    Examples
    --------
    >>> from_lancedb(to_lancedb(np.array([[1, 2]], dtype=np.uint8), 16), 16)
    array([[1, 2]], dtype=uint8)
    """
    if hasattr(values, "combine_chunks"):
        values = values.combine_chunks()
    if not hasattr(values, "flatten") or isinstance(values, np.ndarray) or values.null_count:
        raise TypeError(f"values must be an Arrow array of lists of uint8 without nulls; got {describe(values)}")
    flat = values.flatten().to_numpy(zero_copy_only=False)
    return as_codes(flat.reshape(len(values), -1) if len(values) else _empty(n_bits), n_bits, "values")


def _empty(n_bits: int) -> NDArray[np.uint8]:
    return np.zeros((0, bytes_per_code(n_bits)), np.uint8)


def _check_bytes(values: Any, dtype: type[np.integer[Any]], n_bits: int) -> NDArray[Any]:
    """Return a C-ordered array of the shape and dtype that codes of this convention have."""
    array = np.asarray(values)
    if array.dtype != dtype:
        raise TypeError(f"values must be of dtype {np.dtype(dtype)}; got {describe(array)}")
    width = bytes_per_code(n_bits)
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(
            f"values must have shape (n, {width}), the bytes of {n_bits} bits; got {array.shape}: check n_bits"
        )
    return np.ascontiguousarray(array)
