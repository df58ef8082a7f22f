"""Where the arrays of a safetensors file are: its header, checked against the size of the file.

A file is eight bytes with the length of the header, the header in JSON, and the arrays one after another.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from h2q.errors import FileFormatError

__all__ = ["DTYPES", "SafetensorsLayout", "TensorPlace", "read_layout"]

DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32,
    "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library
_METADATA = "__metadata__"


@dataclass(frozen=True)
class TensorPlace:
    """The place of one array in a file.

    Attributes
    ----------
    dtype : str
        Its type in the format's spelling, such as "F32"; `DTYPES` lists those that NumPy has.
    shape : tuple of int
        Its shape.
    start, n_bytes : int
        Its first byte, counted from the beginning of the file, and the number of its bytes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    n_bytes: int


@dataclass(frozen=True)
class SafetensorsLayout:
    """The header of a safetensors file.

    Attributes
    ----------
    tensors : dict of str to TensorPlace
        The arrays by name.
    metadata : dict of str to str
        The strings that the file carries.
    header : bytes
        The header as it is in the file.
    """

    tensors: dict[str, TensorPlace]
    metadata: dict[str, str]
    header: bytes


def read_layout(path: Path) -> SafetensorsLayout:
    """Read the header of a safetensors file.

    The arrays that it declares must fill the rest of the file exactly, so that nobody allocates memory for data that
    are not there.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is truncated, or is not a safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER_BYTES, size - 8):
            raise FileFormatError(f"{path} is truncated or no safetensors file: it has no header")
        header = file.read(length)
    try:
        entries = json.loads(header)
        metadata = entries.pop(_METADATA, {})
        if not all(isinstance(value, str) for value in metadata.values()):
            raise TypeError("its metadata are not strings")
        tensors = {name: _place(entry, 8 + length) for name, entry in entries.items()}
    except KeyError as error:
        raise FileFormatError(f"{path} is truncated or no safetensors file: its header lacks {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise FileFormatError(f"{path} is truncated or no safetensors file: its header is wrong: {error}") from error
    end = 8 + length
    for name, place in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].n_bytes)):
        if place.start != end:
            raise FileFormatError(f"{path} is damaged: its tensors overlap or leave gaps before {name}")
        end += place.n_bytes
    if end > size:
        raise FileFormatError(f"{path} is truncated: {size} bytes, {end} expected; restore it from a copy")
    if end < size:
        raise FileFormatError(f"{path} is damaged: {size} bytes, {end} expected; restore it from a copy")
    return SafetensorsLayout(tensors, metadata, header)


def _place(entry: Any, data_start: int) -> TensorPlace:
    """Read the entry of one tensor; its offsets must agree with its shape and type."""
    dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    numbers = [*shape, begin, end]
    if not isinstance(dtype, str) or not all(type(number) is int and number >= 0 for number in numbers):
        raise TypeError("a dtype must be a string, shapes and offsets whole numbers")
    if dtype in DTYPES and end - begin != math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
        raise ValueError(f"shape {shape} of {dtype} does not fit {end - begin} bytes")
    if begin > end:
        raise ValueError(f"offsets {begin}, {end} are not in order")
    return TensorPlace(dtype, tuple(shape), data_start + begin, end - begin)
