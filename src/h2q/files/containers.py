"""Files that hold several arrays, .npz and .safetensors; arrays that are stored uncompressed are memory-mapped."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h2q.errors import FileFormatError
from h2q.files.limits import check_expansion
from h2q.files.npy_format import NpyHeader, read_npy_header
from h2q.files.safetensors_layout import DTYPES, read_layout
from h2q.files.stored import MappedArray, PlainArray, StoredArray
from h2q.files.tensors import is_ours, verify_tensors

__all__ = ["Entry", "entries_of"]

_CHUNK_BYTES = 256 << 10
_ENCRYPTED = 1  # the bit of a zip entry's flags
_LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name
# What `zipfile` raises on damaged archives; RuntimeError and NotImplementedError: encryption, unknown compression.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError, NotImplementedError, OSError)


@dataclass(frozen=True)
class Entry:
    """An array in a file of several.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    dtype : str
        Its type, as the format spells it.
    open : callable
        Takes what errors call the array, verifies it, and returns it.
    """

    shape: tuple[int, ...]
    dtype: str
    open: Callable[[str], StoredArray]


def entries_of(path: Path) -> dict[str, Entry]:
    """Return the arrays of a .npz or .safetensors file by name.

    Raises
    ------
    FileFormatError
        If the file is truncated, damaged or of another format.
    """
    return _npz_entries(path) if path.suffix.lower() == ".npz" else _safetensors_entries(path)


def _npz_entries(path: Path) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                if member.flag_bits & _ENCRYPTED:
                    raise FileFormatError(f"{path} is encrypted; write it again without a password")
                name = member.filename.removesuffix(".npy")
                with archive.open(member) as file:
                    header = read_npy_header(file, f"{path}:{name}")
                _check_size(path, name, member, header)
                entries[name] = Entry(header.shape, str(header.dtype), _npz_opener(path, member, header))
    except FileFormatError:
        raise
    except _ZIP_ERRORS as error:
        raise FileFormatError(f"{path} is truncated or no .npz file: {error}") from error
    return entries


def _check_size(path: Path, name: str, member: zipfile.ZipInfo, header: NpyHeader) -> None:
    """Compare the array that a header declares with the bytes that there are."""
    n_bytes = member.file_size - len(header.content)
    if header.n_bytes != n_bytes:
        raise FileFormatError(
            f"{path} is damaged: {name} of shape {header.shape} needs {header.n_bytes} bytes, and has {n_bytes}"
        )


def _npz_opener(path: Path, member: zipfile.ZipInfo, header: NpyHeader) -> Callable[[str], StoredArray]:
    def open_member(source: str) -> StoredArray:
        stored = member.compress_type == zipfile.ZIP_STORED
        if not stored:
            check_expansion(path, source, header.n_bytes)
        content = np.empty(0 if stored else header.n_bytes, np.uint8)
        try:
            with zipfile.ZipFile(path) as archive, archive.open(member) as file:
                file.read(len(header.content))
                begin = 0
                while chunk := file.read(_CHUNK_BYTES):  # compares the checksum at the end
                    if not stored:
                        content[begin : begin + len(chunk)] = np.frombuffer(chunk, np.uint8)
                    begin += len(chunk)
        except _ZIP_ERRORS as error:
            raise FileFormatError(f"{path} is truncated or damaged: {error}") from error
        if begin != header.n_bytes:
            raise FileFormatError(f"{path} is truncated: {source} has {begin} of {header.n_bytes} bytes")
        if not stored:
            values = content.view(header.dtype)
            in_order = values.reshape(header.shape[::-1]).T if header.fortran_order else values.reshape(header.shape)
            return PlainArray(source, in_order)
        start = _data_start(path, member) + len(header.content)
        return MappedArray(source, path, start, header.shape, header.dtype, fortran_order=header.fortran_order)

    return open_member


def _data_start(path: Path, member: zipfile.ZipInfo) -> int:
    """Return where the bytes of a stored member begin: after its local header, name and extra field."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        local = file.read(_LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
    return member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes


def _safetensors_entries(path: Path) -> dict[str, Entry]:
    layout = read_layout(path)
    ours = is_ours(layout)

    def opener(name: str) -> Callable[[str], StoredArray]:
        def open_tensor(source: str) -> StoredArray:
            place = layout.tensors[name]
            if place.dtype not in DTYPES:
                raise ValueError(f"{path}:{name} is of type {place.dtype}; save it as F16, F32 or F64")
            if ours:
                verify_tensors(path, names=[name])
            return MappedArray(source, path, place.start, place.shape, np.dtype(DTYPES[place.dtype]))

        return open_tensor

    return {name: Entry(place.shape, place.dtype, opener(name)) for name, place in layout.tensors.items()}
