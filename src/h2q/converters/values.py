"""Conventions in which each code is a value of its own: byte strings, text, lists."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes
from h2q.converters.bits import as_rows, bit_fields, from_rows
from h2q.errors import describe

__all__ = [
    "from_azure",
    "from_base64_binary",
    "from_bson",
    "from_hex",
    "from_milvus",
    "from_pgvector",
    "from_pgvector_binary",
    "from_sqlite_vec",
    "to_azure",
    "to_base64_binary",
    "to_bson",
    "to_hex",
    "to_milvus",
    "to_pgvector",
    "to_pgvector_binary",
    "to_sqlite_vec",
]

_PACKED_BIT = 0x10  # dtype of a BSON vector


def to_milvus(codes: Any, n_bits: int) -> list[bytes]:
    """Return codes as pymilvus takes them for a BINARY_VECTOR: most significant bit first.

    The field has ``dim = 8 * ceil(n_bits / 8)``.

    Parameters
    ----------
    codes : array-like of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    n_bits : int
        Bits of a code.

    Returns
    -------
    list of bytes
        One byte string an item.

    Raises
    ------
    TypeError, ValueError
        If they are not codes of `n_bits` bits; so for all functions here.

    Examples
    --------
    >>> to_milvus(np.array([[1, 2]], dtype=np.uint8), 16)
    [b'\\x01\\x02']
    """
    return as_rows(codes, n_bits)


def from_milvus(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in values of a BINARY_VECTOR, byte strings or lists of one; see `to_milvus`.

    Examples
    --------
    >>> from_milvus([b"\\x01\\x02"], 16)
    array([[1, 2]], dtype=uint8)
    """
    rows = (value[0] if isinstance(value, list) and len(value) == 1 else value for value in values)
    return from_rows(rows, n_bits, "values")


def to_sqlite_vec(codes: Any, n_bits: int) -> list[bytes]:
    """Return codes as sqlite-vec packs bits (``vec_quantize_binary``): the least significant bit first.

    Wrap each in ``vec_bit(?)``; the column is ``bit[8 * ceil(n_bits / 8)]``.

    Examples
    --------
    >>> to_sqlite_vec(np.array([[0b10000000]], dtype=np.uint8), 8)
    [b'\\x01']
    """
    return as_rows(codes, n_bits, reverse=True)


def from_sqlite_vec(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in blobs of sqlite-vec; see `to_sqlite_vec`.

    Examples
    --------
    >>> from_sqlite_vec([b"\\x01"], 8)
    array([[128]], dtype=uint8)
    """
    return from_rows(values, n_bits, "values", reverse=True)


def to_pgvector(codes: Any, n_bits: int) -> list[str]:
    """Return codes as text of PostgreSQL's ``bit(n_bits)``, which pgvector compares: ``"0110..."``.

    Examples
    --------
    >>> to_pgvector(np.array([[0b10100000]], dtype=np.uint8), 3)
    ['101']
    """
    packed = as_codes(codes, n_bits)
    digits = np.unpackbits(packed, axis=1, count=n_bits) + np.uint8(ord("0"))
    text = digits.tobytes().decode("ascii")
    return [text[start : start + n_bits] for start in range(0, len(text), n_bits)]


def from_pgvector(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in texts of ``bit(n_bits)``; see `to_pgvector`.

    Examples
    --------
    >>> from_pgvector(["101"], 3)
    array([[160]], dtype=uint8)
    """
    texts = [str(value) for value in values]
    for number, text in enumerate(texts):
        if len(text) != n_bits or text.strip("01"):
            raise ValueError(
                f"values[{number}] must be {n_bits} digits 0 and 1; got {len(text)} characters, {text[:20]!r}: check "
                "n_bits"
            )
    digits = np.frombuffer("".join(texts).encode("ascii"), np.uint8).reshape(-1, n_bits) - np.uint8(ord("0"))
    return np.packbits(digits, axis=1)


def to_pgvector_binary(codes: Any, n_bits: int) -> list[bytes]:
    """Return codes as binary fields of ``bit(n_bits)``, as ``COPY ... WITH (FORMAT binary)`` has them.

    A field is the number of bits (int32, most significant byte first) and the bits, most significant bit first.

    Examples
    --------
    >>> to_pgvector_binary(np.array([[0b10100000]], dtype=np.uint8), 3)
    [b'\\x00\\x00\\x00\\x03\\xa0']
    """
    return [row.tobytes() for row in bit_fields(codes, n_bits)]


def from_pgvector_binary(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in binary fields of ``bit(n_bits)``; see `to_pgvector_binary`.

    Examples
    --------
    >>> from_pgvector_binary([b"\\x00\\x00\\x00\\x03\\xa0"], 3)
    array([[160]], dtype=uint8)
    """
    length, rows = n_bits.to_bytes(4, "big"), []
    for number, value in enumerate(values):
        if not isinstance(value, (bytes, bytearray, memoryview)) or bytes(value[:4]) != length:
            raise ValueError(f"values[{number}] must be a binary field of bit({n_bits}); got {describe(value)}")
        rows.append(value[4:])
    return from_rows(rows, n_bits, "values")


def to_hex(codes: Any, n_bits: int) -> list[str]:
    """Return codes as hexadecimal digits, as Elasticsearch, OpenSearch and Vespa take them: most significant first.

    Examples
    --------
    >>> to_hex(np.array([[1, 171]], dtype=np.uint8), 16)
    ['01ab']
    """
    return [row.hex() for row in as_rows(codes, n_bits)]


def from_hex(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in hexadecimal digits; see `to_hex`.

    Examples
    --------
    >>> from_hex(["01ab"], 16)
    array([[  1, 171]], dtype=uint8)
    """
    return from_rows(_decoded(values, bytes.fromhex, "hexadecimal digits"), n_bits, "values")


def to_base64_binary(codes: Any, n_bits: int) -> list[str]:
    """Return codes in base64, the least significant bit of each byte first: the encoding ``base64_binary``.

    Examples
    --------
    >>> to_base64_binary(np.array([[0b10000000]], dtype=np.uint8), 8)
    ['AQ==']
    """
    return [base64.b64encode(row).decode("ascii") for row in as_rows(codes, n_bits, reverse=True)]


def from_base64_binary(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in base64 with the least significant bit first; see `to_base64_binary`.

    Examples
    --------
    >>> from_base64_binary(["AQ=="], 8)
    array([[128]], dtype=uint8)
    """
    rows = _decoded(values, lambda text: base64.b64decode(text, validate=True), "base64")
    return from_rows(rows, n_bits, "values", reverse=True)


def to_bson(codes: Any, n_bits: int) -> list[bytes]:
    """Return codes as BSON vectors of MongoDB, dtype PACKED_BIT: wrap each in ``bson.Binary(value, 9)``.

    A vector is the byte 0x10, the number of padding bits, and the bits, most significant bit first.

    Examples
    --------
    >>> to_bson(np.array([[0b10100000]], dtype=np.uint8), 3)
    [b'\\x10\\x05\\xa0']
    """
    header = bytes([_PACKED_BIT, -n_bits % 8])
    return [header + row for row in as_rows(codes, n_bits)]


def from_bson(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in BSON vectors of dtype PACKED_BIT; see `to_bson`.

    Examples
    --------
    >>> from_bson([b"\\x10\\x05\\xa0"], 3)
    array([[160]], dtype=uint8)
    """
    header, rows = bytes([_PACKED_BIT, -n_bits % 8]), []
    for number, value in enumerate(values):
        if not isinstance(value, bytes) or value[:2] != header:
            raise ValueError(
                f"values[{number}] must be a BSON vector of packed bits with {header[1]} padding bit(s); got "
                f"{describe(value)}"
            )
        rows.append(value[2:])
    return from_rows(rows, n_bits, "values")


def to_azure(codes: Any, n_bits: int) -> list[list[int]]:
    """Return codes as Azure AI Search takes them for ``vectorEncoding: packedBit``: bytes, most significant bit first.

    The field is a Collection(Edm.Byte) of ``8 * ceil(n_bits / 8)`` dimensions.

    Examples
    --------
    >>> to_azure(np.array([[1, 255]], dtype=np.uint8), 16)
    [[1, 255]]
    """
    rows: list[list[int]] = as_codes(codes, n_bits).tolist()
    return rows


def from_azure(values: Iterable[Any], n_bits: int) -> NDArray[np.uint8]:
    """Return the codes in lists of bytes; see `to_azure`.

    Examples
    --------
    >>> from_azure([[1, 255]], 16)
    array([[  1, 255]], dtype=uint8)
    """
    return from_rows(_decoded(values, lambda row: bytes(list(row)), "a list of bytes from 0 to 255"), n_bits, "values")


def _decoded(values: Iterable[Any], decode: Any, expected: str) -> Iterable[bytes]:
    """Yield the byte string of each value, or say which is none."""
    for number, value in enumerate(values):
        try:
            yield decode(value)
        except (ValueError, TypeError, binascii.Error) as error:
            raise ValueError(f"values[{number}] must be {expected}; got {describe(value)}") from error
