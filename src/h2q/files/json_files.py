"""JSON files, written atomically: plain ones for other programs, and ones with a checksum that h2q reads again."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from h2q.errors import FileFormatError, describe
from h2q.files.atomic import atomic_path
from h2q.files.checksums import CHECKSUM_KEY, PLACEHOLDER, fill_checksum, has_checksum, matches_checksum

__all__ = [
    "decode_json",
    "encode_checked_json",
    "encode_json",
    "read_checked_json",
    "read_json",
    "write_checked_json",
    "write_json",
]

_MAX_BYTES = 100_000_000


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as plain JSON, atomically; NumPy numbers and arrays become numbers and lists.

    Raises
    ------
    TypeError
        If a part of `value` cannot be written as JSON.
    """
    text = encode_json(value, path, indent=2)
    with atomic_path(path) as temporary:
        temporary.write_bytes(text + b"\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file, with or without a checksum; a checksum is verified and removed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is truncated, is not JSON, or does not match its checksum.
    """
    content = _read(Path(path))
    return decode_json(content, str(path), checked=has_checksum(content))


def write_checked_json(path: str | os.PathLike[str], value: Mapping[str, Any]) -> None:
    """Write a dictionary as JSON with a checksum of the whole file in its last entry, ``h2q_checksum``, atomically.

    Raises
    ------
    TypeError
        If a part of `value` cannot be written as JSON.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.json"
    >>> write_checked_json(path, {"n_bits": 16})
    >>> read_checked_json(path)
    {'n_bits': 16}
    >>> _ = path.write_text(path.read_text().replace("16", "17"))
    >>> read_checked_json(path)
    Traceback (most recent call last):
    ...
    h2q.errors.FileFormatError: ... is damaged: it does not match its checksum; restore it from a copy
    """
    text = encode_checked_json(value, path, indent=2)
    with atomic_path(path) as temporary:
        temporary.write_bytes(text)


def read_checked_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file that `write_checked_json` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is truncated, is not JSON, has no checksum, or does not match it.
    """
    value: dict[str, Any] = decode_json(_read(Path(path)), str(path), checked=True)
    return value


def encode_checked_json(
    value: Mapping[str, Any], name: Any, *, indent: int | None = None, allow_nan: bool = True
) -> bytes:
    """Encode a dictionary as JSON that carries its own checksum, and end the line; `name` is what errors call it.

    With ``allow_nan=False``, NaN and infinity, which JSON does not have, are a TypeError.

    Examples
    --------
    >>> encode_checked_json({"a": 1}, "the record").decode().strip()
    '{"a": 1, "h2q_checksum": "xxh3_64:89e59fa84745a54b"}'
    """
    if CHECKSUM_KEY in value:
        raise ValueError(f"{name} must not have an entry {CHECKSUM_KEY}, which is for the checksum")
    return fill_checksum(
        encode_json({**value, CHECKSUM_KEY: PLACEHOLDER}, name, indent=indent, allow_nan=allow_nan) + b"\n"
    )


def decode_json(content: bytes, name: str, *, checked: bool) -> Any:
    """Decode JSON; with `checked`, it must be a dictionary that carries its checksum, which is removed.

    Raises
    ------
    FileFormatError
        If `content` is not JSON, or does not match its checksum; the message begins with `name`.

    Examples
    --------
    >>> decode_json(b'{"a": 1, "h2q_checksum": "xxh3_64:2b41d704a0ff6cec"}', "the record", checked=True)
    {'a': 1}
    """
    # The JSON comes first: its errors say more about a truncated or foreign file.
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise FileFormatError(
            f"{name} is not JSON that h2q reads: it is nested too deeply; restore it from a copy"
        ) from error
    except ValueError as error:  # also UnicodeDecodeError, and numbers of thousands of digits
        raise FileFormatError(f"{name} is truncated or not JSON: {error}; restore it from a copy") from error
    if not checked:
        return value
    if not matches_checksum(content) or not isinstance(value, dict) or CHECKSUM_KEY not in value:
        what = "does not match its checksum" if has_checksum(content) else "has no checksum"
        raise FileFormatError(f"{name} is damaged: it {what}; restore it from a copy")
    del value[CHECKSUM_KEY]
    return value


def _read(path: Path) -> bytes:
    """Return the content of a file, unless it is too large to be JSON of h2q."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise FileFormatError(f"{path} is larger than {_MAX_BYTES // 10**6} MB, the most that h2q reads as JSON")
    return content


def encode_json(value: Any, name: Any, *, indent: int | None = None, allow_nan: bool = True) -> bytes:
    """Encode a value as JSON; `name` is what errors call it."""
    try:
        return json.dumps(value, indent=indent, allow_nan=allow_nan, default=_to_json).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"cannot write {name} as JSON: {error}") from error


def _to_json(value: Any) -> Any:
    """Return NumPy values as Python's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"it contains {describe(value)}; use numbers, strings, lists and dictionaries")
