"""Rows in the binary format of PostgreSQL's COPY, made from whole columns."""

import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.converters.bits import bit_fields
from h2q.index.pg_filters import refuse_nul
from h2q.index.plain import BOOLEAN, BYTES, DECIMAL, FLOAT, INTEGER, TEXT

__all__ = [
    "binary_rows", "bits_field", "integer_field", "plain_field", "vector_field", "vectors_of_bytes",
]  # fmt: skip

Field = NDArray[np.uint8] | list[bytes]  # with its length: a row of bytes an item, or byte strings

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"


def binary_rows(fields: Sequence[Field]) -> bytes:
    """Return rows as ``COPY ... FROM STDIN (FORMAT binary)`` reads them.

    Parameters
    ----------
    fields : sequence of fields
        Columns, as the functions beside this one make them.

    Examples
    --------
    >>> binary_rows([integer_field(np.array([7]))])[19:25], len(binary_rows([integer_field(np.array([7]))]))
    (b'\\x00\\x01\\x00\\x00\\x00\\x08', 35)
    """
    n = len(fields[0])
    count = len(fields).to_bytes(2, "big")
    if all(isinstance(field, np.ndarray) for field in fields):
        start = np.broadcast_to(np.frombuffer(count, np.uint8), (n, 2))
        rows = np.concatenate([start, *fields], axis=1).tobytes()
    else:
        columns = [_as_strings(field) for field in fields]
        rows = b"".join(count + b"".join(row) for row in zip(*columns, strict=True))
    return _HEADER + rows + _TRAILER


def _as_strings(field: Field) -> list[bytes]:
    if isinstance(field, list):
        return field
    flat, width = field.tobytes(), field.shape[1]
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _with_length(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put the length (int32) before the bytes of each row."""
    length = np.frombuffer(values.shape[1].to_bytes(4, "big"), np.uint8)
    return np.concatenate([np.broadcast_to(length, (len(values), 4)), values], axis=1)


def integer_field(values: NDArray[Any], size: int = 8) -> NDArray[np.uint8]:
    """Return a column of smallint (size 2) or bigint (size 8)."""
    return _with_length(values.astype(f">i{size}").view(np.uint8).reshape(len(values), size))


def plain_field(values: Sequence[Any], kind: str) -> list[bytes]:
    """Return a column of plain values of a kind, with nulls; see `h2q.index.plain`."""
    from psycopg.types.numeric import DecimalBinaryDumper

    encoders: dict[str, Callable[[Any], Any]] = {
        BOOLEAN: lambda value: b"\1" if value else b"\0", INTEGER: struct.Struct(">q").pack,
        FLOAT: struct.Struct(">d").pack, TEXT: lambda value: refuse_nul(value, "metadata").encode(), BYTES: bytes,
        DECIMAL: DecimalBinaryDumper(Decimal).dump,
    }  # fmt: skip
    encode = encoders[kind]
    return [_NULL if value is None else _with_own_length(encode(value)) for value in values]


def _with_own_length(content: Any) -> bytes:
    return len(content).to_bytes(4, "big") + bytes(content)


def bits_field(codes: NDArray[np.uint8], n_bits: int) -> NDArray[np.uint8]:
    """Return a column of bit(n_bits)."""
    return _with_length(bit_fields(codes, n_bits))


def vector_field(embeddings: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a column of pgvector's vector: dimensions and zero (int16 each), then float32, big-endian."""
    n, d = embeddings.shape
    start = np.frombuffer(d.to_bytes(2, "big") + bytes(2), np.uint8)
    values = embeddings.astype(">f4").view(np.uint8).reshape(n, 4 * d)
    return _with_length(np.concatenate([np.broadcast_to(start, (n, 4)), values], axis=1))


def vectors_of_bytes(values: Sequence[bytes], d: int) -> NDArray[np.float32]:
    """Return embeddings from binary values of pgvector's vector."""
    width = 4 + 4 * d
    raw = np.frombuffer(b"".join(values), np.uint8).reshape(-1, width)[:, 4:]
    return np.ascontiguousarray(raw).view(">f4").astype(np.float32).reshape(-1, d)
