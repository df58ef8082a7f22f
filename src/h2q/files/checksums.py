"""Checksums of bytes, with XXH3 (64 bits): they find damage, and are no protection against forgery.

A text that carries its own checksum holds the field ``"h2q_checksum": "xxh3_64:0123456789abcdef"``. The sixteen digits
are the checksum of the whole text with zeros in their place, so that a change of any byte is found.

An array has a checksum for each block of rows, so that a part of it can be verified by itself. The checksum of the
array is that of its blocks' checksums: every byte is hashed once.
"""

import math
import re

import numpy as np

__all__ = [
    "CHECKSUM_KEY",
    "PLACEHOLDER",
    "BlockDigest",
    "block_bytes",
    "fill_checksum",
    "has_checksum",
    "matches_checksum",
]

CHECKSUM_KEY = "h2q_checksum"
_ZEROS = b"0" * 16
PLACEHOLDER = f"xxh3_64:{_ZEROS.decode()}"
_BLOCK_BYTES = 64 << 10
_FIELD = re.compile(rb'"h2q_checksum": ?"xxh3_64:([0-9a-f]{16})"')


def block_bytes(shape: tuple[int, ...], itemsize: int) -> int:
    """Return the size of the blocks of an array: whole rows, about 64 KiB, at least one row.

    Examples
    --------
    >>> block_bytes((1000, 48), 1), block_bytes((10,), 8), block_bytes((2, 100_000), 4)
    (65520, 65536, 400000)
    """
    row_bytes = max(1, math.prod(shape[1:]) * itemsize)
    return max(1, _BLOCK_BYTES // row_bytes) * row_bytes


class BlockDigest:
    """Checksums of the blocks of an array, and of the whole.

    Parameters
    ----------
    size : int
        Bytes of a block, from `block_bytes`.

    Attributes
    ----------
    blocks : list of int
        Checksum of each block so far.

    Examples
    --------
    >>> digest = BlockDigest(4)
    >>> digest.update(b"12345678")
    >>> digest.update(b"9")
    >>> len(digest.blocks), digest.hexdigest()
    (3, '...')
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.blocks: list[int] = []

    def update(self, content: bytes | memoryview) -> None:
        """Add the next bytes: whole blocks, but for the last of the array, which may be shorter."""
        from xxhash import xxh3_64_intdigest

        view, size = memoryview(content), self._size
        self.blocks += [xxh3_64_intdigest(view[begin : begin + size]) for begin in range(0, len(view), size)]

    def hexdigest(self) -> str:
        """Return the checksum of the whole: that of the checksums of its blocks."""
        from xxhash import xxh3_64_hexdigest

        return str(xxh3_64_hexdigest(np.array(self.blocks, "<u8").tobytes()))


def fill_checksum(text: bytes) -> bytes:
    """Replace the placeholder, in the last checksum field of a text, by the checksum of that text.

    Examples
    --------
    >>> fill_checksum(b'{"a": 1, "h2q_checksum": "xxh3_64:0000000000000000"}')
    b'{"a": 1, "h2q_checksum": "xxh3_64:2b41d704a0ff6cec"}'
    """
    import xxhash

    digits = _digits_of(text)
    if digits is None or text[digits] != _ZEROS:
        raise ValueError(f"text must hold a field {CHECKSUM_KEY} with the placeholder {PLACEHOLDER}")
    return text[: digits.start] + xxhash.xxh3_64_hexdigest(text).encode() + text[digits.stop :]


def has_checksum(text: bytes) -> bool:
    """Return whether a text holds a checksum field."""
    return _digits_of(text) is not None


def matches_checksum(text: bytes) -> bool:
    """Return whether a text has a checksum field whose checksum is right.

    Examples
    --------
    >>> matches_checksum(b'{"a": 1, "h2q_checksum": "xxh3_64:2b41d704a0ff6cec"}')
    True
    >>> matches_checksum(b'{"a": 2, "h2q_checksum": "xxh3_64:2b41d704a0ff6cec"}')
    False
    """
    import xxhash

    digits = _digits_of(text)
    if digits is None:
        return False
    blank = text[: digits.start] + _ZEROS + text[digits.stop :]
    return xxhash.xxh3_64_hexdigest(blank).encode() == text[digits]


def _digits_of(text: bytes) -> slice | None:
    """Return where the digits of the last checksum field are."""
    last = None
    for last in _FIELD.finditer(text):  # noqa: B007
        pass
    return None if last is None else slice(*last.span(1))
