"""What the conventions share: the order of bits in a byte, and codes as one byte string an item."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes, bytes_per_code
from h2q.errors import describe

__all__ = ["as_rows", "bit_fields", "from_rows", "reverse_bits"]

_REVERSED = np.packbits(np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"), axis=1)[:, 0]


def reverse_bits(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return bytes with their bits in the opposite order; the order of the bytes stays.

    Examples
    --------
    >>> reverse_bits(np.array([[0b10000000, 0b00000011]], dtype=np.uint8))
    array([[  1, 192]], dtype=uint8)
    """
    return _REVERSED[codes]


def as_rows(codes: Any, n_bits: int, *, reverse: bool = False) -> list[bytes]:
    """Return the bytes of each code.

    Parameters
    ----------
    codes : array-like of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    n_bits : int
        Bits of a code.
    reverse : bool
        Whether the least significant bit of each byte comes first.

    Raises
    ------
    TypeError, ValueError
        If they are not codes of `n_bits` bits.

    Examples
    --------
    >>> as_rows(np.array([[1], [255]], dtype=np.uint8), 8)
    [b'\\x01', b'\\xff']
    """
    packed = as_codes(codes, n_bits)
    if reverse:
        packed = reverse_bits(packed)
    width = packed.shape[1]
    flat = packed.tobytes()
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def bit_fields(codes: NDArray[np.uint8], n_bits: int) -> NDArray[np.uint8]:
    """Return codes as binary values of PostgreSQL's ``bit(n_bits)``, shape (n, 4 + bytes).

    A value is the number of bits (int32, most significant byte first) and the bits, most significant bit first.

    Examples
    --------
    >>> bit_fields(np.array([[0b10100000]], dtype=np.uint8), 3)
    array([[  0,   0,   0,   3, 160]], dtype=uint8)
    """
    packed = as_codes(codes, n_bits)
    length = np.frombuffer(n_bits.to_bytes(4, "big"), np.uint8)
    return np.concatenate([np.broadcast_to(length, (len(packed), 4)), packed], axis=1)


def from_rows(rows: Iterable[Any], n_bits: int, name: str, *, reverse: bool = False) -> NDArray[np.uint8]:
    """Return the codes that byte strings hold, or say which of them is of another length.

    Parameters
    ----------
    rows : iterable of bytes
        One an item.
    n_bits : int
        Bits of a code.
    name : str
        Name of the argument, for errors.
    reverse : bool
        Whether the least significant bit of each byte comes first.

    Returns
    -------
    ndarray of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.

    Raises
    ------
    TypeError
        If a row is not a byte string.
    ValueError
        If a row is of another length, or has padding bits set.

    Examples
    --------
    >>> from_rows([b"ab", b"c"], 16, "values")
    Traceback (most recent call last):
    ...
    ValueError: values[1] must have 2 bytes, those of 16 bits; got 1: check n_bits
    """
    width = bytes_per_code(n_bits)
    checked = []
    for number, row in enumerate(rows):
        if not isinstance(row, (bytes, bytearray, memoryview)):
            raise TypeError(f"{name}[{number}] must be bytes; got {describe(row)}")
        if len(row) != width:
            raise ValueError(
                f"{name}[{number}] must have {width} bytes, those of {n_bits} bits; got {len(row)}: check n_bits"
            )
        checked.append(row)
    packed = np.frombuffer(b"".join(checked), np.uint8).reshape(-1, width)
    return as_codes(reverse_bits(packed) if reverse else packed, n_bits, name)
