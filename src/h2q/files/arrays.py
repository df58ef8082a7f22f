"""Open an array in a file by the name that the user gave."""

import os
from pathlib import Path
from typing import BinaryIO

from h2q.errors import FileFormatError
from h2q.files.containers import entries_of
from h2q.files.npy_format import NpyHeader, read_npy_header
from h2q.files.parquet import ParquetColumn, fields_of, open_parquet
from h2q.files.stored import MappedArray, StoredArray, choose

__all__ = ["list_arrays", "open_array", "split_name"]

_SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet")
_CHUNK_BYTES = 256 << 10
_ARRAYS = {1: "1-D array", 2: "2-D array"}


def open_array(source: str | os.PathLike[str], ndim: int = 2) -> StoredArray:
    """Open an array in a file, without reading it where the format allows that.

    Parameters
    ----------
    source : str or path
        A .npy, .npz, .safetensors or .parquet file; ``file:name`` names one of several arrays or columns. Uncompressed
        files are memory-mapped; a compressed .npz is read whole, Parquet a batch at a time.
    ndim : {1, 2}
        Number of dimensions: 2 for embeddings and codes (in Parquet a column of lists), 1 for ids and labels.

    Returns
    -------
    StoredArray
        The array. If the file carries a checksum (a .npz, or a file that h2q wrote), it has been verified.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is truncated, damaged, encrypted or of another format.
    ValueError
        If the file has an unknown suffix, or no array or several that fit.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> path = Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, image=np.ones((3, 2)), text=np.zeros((3, 2)))
    >>> open_array(f"{path}:image").shape
    (3, 2)
    """
    path, name = split_name(os.fspath(source))
    suffix = _check_file(path)
    if suffix == ".parquet":
        return ParquetColumn(str(source), path, name, ndim)
    if suffix == ".npy":
        if name is not None:
            raise ValueError(f"a .npy file holds one array without a name; got {source}: leave out :{name}")
        array: StoredArray = _open_npy(str(source), path)
    else:
        entries = entries_of(path)
        fitting = [key for key, entry in entries.items() if len(entry.shape) == ndim]
        array = entries[choose(path, name, fitting, list(entries), _ARRAYS[ndim])].open(str(source))
    if len(array.shape) != ndim:
        is_vector = (len(array.shape), ndim) == (1, 2)
        advice = f"; one embedding is an array of shape (1, {len(array)})" if is_vector else ""
        raise ValueError(f"{source} has shape {array.shape}; expected a {_ARRAYS[ndim]}{advice}")
    return array


def split_name(source: str) -> tuple[Path, str | None]:
    """Split ``path:name``; a path that exists is a path whatever it looks like."""
    if not Path(source).exists():
        path, colon, name = source.rpartition(":")
        if colon and name and Path(path).suffix.lower() in _SUFFIXES:
            return Path(path), name
    return Path(source), None


def _open_npy(source: str, path: Path) -> StoredArray:
    """Map a .npy file, after comparing it with its checksum if it carries one."""
    import xxhash

    with path.open("rb") as file:
        header = _read_header(path, file)
        if header.checksum is not None:
            digest = xxhash.xxh3_64(header.content)
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
            if digest.intdigest() != header.checksum:
                raise FileFormatError(f"{path} is damaged: it does not match its checksum; restore it from a copy")
    return MappedArray(
        source, path, len(header.content), header.shape, header.dtype, fortran_order=header.fortran_order
    )


def _read_header(path: Path, file: BinaryIO) -> NpyHeader:
    """Read the header of a .npy file, and compare the array that it declares with the size of the file."""
    header = read_npy_header(file, str(path))
    size, expected = path.stat().st_size, len(header.content) + header.n_bytes
    if size < expected:
        raise FileFormatError(f"{path} is truncated: {size} bytes, {expected} expected for shape {header.shape}")
    return header


def list_arrays(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Return name, shape and type of each array in a file that `open_array` opens; of each column of a Parquet file.

    Raises
    ------
    FileNotFoundError, FileFormatError, ValueError
        See `open_array`.
    """
    suffix = _check_file(path)
    if suffix == ".npy":
        with path.open("rb") as opened:
            header = _read_header(path, opened)
        return [("", header.shape, str(header.dtype))]
    if suffix == ".parquet":
        file = open_parquet(path)
        return [(field.name, (file.metadata.num_rows,), str(field.type)) for field in fields_of(path, file)]
    entries = entries_of(path)
    return [(name, entry.shape, entry.dtype) for name, entry in entries.items()]


def _check_file(path: Path) -> str:
    """Return the suffix of a file that exists and is of a known kind."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a file: {', '.join(_SUFFIXES)}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"{path} is of an unknown kind; expected one of {', '.join(_SUFFIXES)}: convert it with NumPy")
    return suffix
