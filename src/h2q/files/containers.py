"""Files that hold several arrays: .npz and .safetensors; what is stored uncompressed is memory-mapped."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.files.safetensors_layout import DTYPES, TensorPlace, read_layout

__all__ = ["Entry", "entries_of", "what_is_wrong"]

_LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name


@dataclass(frozen=True)
class Entry:
    """An array in a file of several: what it is, and how to get it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]]


def entries_of(path: Path) -> dict[str, Entry]:
    """Find the arrays of a .npz or .safetensors file by their names."""
    return _npz_entries(path) if path.suffix.lower() == ".npz" else _safetensors_entries(path)


def _npz_entries(path: Path) -> dict[str, Entry]:
    """Find the arrays of a .npz file; those that are stored uncompressed are mapped."""
    entries: dict[str, Entry] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".npy"):
                    with archive.open(entry) as file:
                        shape, fortran, dtype = _read_npy_header(file)
                        header_bytes = file.tell()
                    opener = _npz_opener(path, entry, header_bytes, shape, fortran, dtype)
                    entries[entry.filename.removesuffix(".npy")] = Entry(shape, str(dtype), opener)
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise FileFormatError(f"{path} is truncated or no .npz file: {error}") from error
    return entries


def _read_npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _npz_opener(
    path: Path, entry: zipfile.ZipInfo, header_bytes: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]
) -> Callable[[], NDArray[Any]]:
    def read() -> NDArray[Any]:
        if dtype.hasobject or entry.compress_type != zipfile.ZIP_STORED or 0 in shape:
            try:
                with np.load(path, allow_pickle=False) as arrays:
                    return np.asarray(arrays[entry.filename.removesuffix(".npy")])
            except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise FileFormatError(what_is_wrong(path, error)) from error
        with path.open("rb") as file:
            file.seek(entry.header_offset)
            local = file.read(_LOCAL_HEADER_BYTES)
        name_bytes, extra_bytes = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
        start = entry.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes + header_bytes
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")

    return read


def _safetensors_entries(path: Path) -> dict[str, Entry]:
    """Return the arrays of any safetensors file, to be mapped."""

    def opener(name: str, place: TensorPlace) -> Callable[[], NDArray[Any]]:
        def read() -> NDArray[Any]:
            if place.dtype not in DTYPES:
                raise ValueError(f"{path}:{name} is of type {place.dtype}; save it as F16, F32 or F64")
            dtype = np.dtype(DTYPES[place.dtype])
            if place.n_bytes == 0:
                return np.zeros(place.shape, dtype)
            return np.memmap(path, dtype, "r", place.start, place.shape)

        return read

    places = read_layout(path).tensors
    return {name: Entry(place.shape, place.dtype, opener(name, place)) for name, place in places.items()}


def what_is_wrong(path: Path, error: Exception) -> str:
    """Say why NumPy did not read a file."""
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return f"{path} holds Python objects or is no NumPy file; save numbers: np.save(path, array.astype('float32'))"
    return f"{path} is truncated or no NumPy file: {error}"
