"""The header of the .npy format, with a checksum where readers expect blanks.

A .npy file is a header (the Python literal of a dictionary, blanks, and a line feed) and the bytes of the array. Every
reader skips the blanks, but some refuse other keys and bytes after the array. So the checksum of the file is the last
64 blanks of its header: a tab for each bit that is 1, a space for each that is 0. It is that of the file with spaces in
their place.
"""

import io
import math
import tokenize
import warnings
from dataclasses import dataclass
from typing import IO

import numpy as np

from h2q.errors import FileFormatError

__all__ = ["NpyHeader", "encode_npy_header", "insert_checksum", "read_npy_header"]

_CHECKSUM_BITS = 64
_MAX_HEADER_BYTES = 10_000  # NumPy's own limit


@dataclass(frozen=True)
class NpyHeader:
    """The header of a .npy file.

    Attributes
    ----------
    shape : tuple of int
        Shape of the array.
    fortran_order : bool
        Whether the array is stored by columns.
    dtype : numpy.dtype
        Type of the array.
    content : bytes
        The header as it is in the file, without the bits of the checksum.
    checksum : int or None
        The checksum that the file carries.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: "np.dtype[np.generic]"
    content: bytes
    checksum: int | None

    @property
    def n_bytes(self) -> int:
        """The number of bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def encode_npy_header(shape: tuple[int, ...], dtype: "np.dtype[np.generic]") -> bytes:
    """Return the header of an array in C order, of a multiple of 64 bytes, with room for a checksum."""
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    text = repr(fields).encode()
    length = len(text) + _CHECKSUM_BITS + 1
    length += -(10 + length) % 64
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1) + b"\n"


def insert_checksum(header: bytes, checksum: int) -> bytes:
    """Write a checksum of 64 bits into the last blanks of a header.

    Examples
    --------
    >>> header = encode_npy_header((2, 3), np.dtype("u1"))
    >>> insert_checksum(header, 5)[-10:]
    b'      \\t \\t\\n'
    """
    bits = f"{checksum:0{_CHECKSUM_BITS}b}".encode()
    return header[: -_CHECKSUM_BITS - 1] + bits.replace(b"0", b" ").replace(b"1", b"\t") + b"\n"


def read_npy_header(file: IO[bytes], name: str) -> NpyHeader:
    """Read the header at the beginning of a .npy file; `name` is what errors call the file.

    Raises
    ------
    FileFormatError
        If it is truncated or not valid, or if the array holds Python objects.
    """
    try:
        start = file.read(8)
        if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
            raise FileFormatError(f"{name} is truncated or no NumPy file: it does not begin as one")
        digits = file.read(2 if start[6] == 1 else 4)
        length = int.from_bytes(digits, "little")
        text = file.read(length) if length <= _MAX_HEADER_BYTES else b""
        if len(text) != length or not text.endswith(b"\n"):
            raise FileFormatError(f"{name} is truncated or no NumPy file: its header does not end")
        shape, fortran_order, dtype = _parse(text, start, digits)
    except (ValueError, TypeError, SyntaxError, KeyError, RecursionError, MemoryError, tokenize.TokenError) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{name} is truncated or no NumPy file: its header is wrong: {error}") from error
    if dtype.hasobject:
        raise FileFormatError(f"{name} holds Python objects; save numbers: np.save(path, array.astype('float32'))")
    blanks = text[-_CHECKSUM_BITS - 1 : -1]
    checksum = None
    if b"\t" in blanks:
        if blanks.strip(b" \t") or b"\t" in text[: -_CHECKSUM_BITS - 1]:
            raise FileFormatError(f"{name} is damaged: its header does not match its checksum; restore it from a copy")
        checksum = int(blanks.replace(b" ", b"0").replace(b"\t", b"1"), 2)
        text = text[: -_CHECKSUM_BITS - 1] + b" " * _CHECKSUM_BITS + b"\n"
    return NpyHeader(shape, fortran_order, dtype, start + digits + text, checksum)


def _parse(text: bytes, start: bytes, digits: bytes) -> tuple[tuple[int, ...], bool, "np.dtype[np.generic]"]:
    """Parse the dictionary of a header with NumPy's own reader."""
    version = start[6]
    reader = np.lib.format.read_array_header_1_0 if version == 1 else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd literals in a damaged header
        shape, fortran_order, dtype = reader(io.BytesIO(digits + text))
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} is negative")
    return tuple(int(size) for size in shape), fortran_order, dtype
