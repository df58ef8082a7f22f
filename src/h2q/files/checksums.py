"""Checksums of bytes, with XXH3 (64 bits): they find damage, and are no protection against forgery.

A text that carries its own checksum holds the field ``"h2q_checksum": "xxh3_64:0123456789abcdef"``. The sixteen digits
are the checksum of the whole text with zeros in their place, so that a change of any byte is found.
"""

import re

__all__ = ["CHECKSUM_KEY", "PLACEHOLDER", "fill_checksum", "has_checksum", "matches_checksum"]

CHECKSUM_KEY = "h2q_checksum"
_ZEROS = b"0" * 16
PLACEHOLDER = f"xxh3_64:{_ZEROS.decode()}"
_FIELD = re.compile(rb'"h2q_checksum": ?"xxh3_64:([0-9a-f]{16})"')


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
