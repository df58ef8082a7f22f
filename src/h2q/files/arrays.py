"""From what the user called a file to the array in it."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.files.containers import entries_of, what_is_wrong
from h2q.files.parquet import ParquetColumn, open_parquet
from h2q.files.stored import PlainArray, StoredArray, choose

__all__ = ["list_arrays", "open_array", "split_name"]

_SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet")
_ARRAYS = {1: "1-D array", 2: "2-D array"}


def open_array(source: str | os.PathLike[str], ndim: int = 2) -> StoredArray:
    """Open an array in a file, without reading it where the format allows that.

    Parameters
    ----------
    source : str or path
        A .npy, .npz, .safetensors or .parquet file; ``file:name`` names one of several arrays or columns. Uncompressed
        files are memory-mapped; a compressed .npz is read whole, Parquet a batch at a time.
    ndim : {1, 2}
        Of the array: 2 for embeddings and codes (in Parquet a column of lists), 1 for ids and labels.

    Returns
    -------
    StoredArray
        What was found.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If it is truncated, or not what its name says.
    ValueError
        If it is of another kind, or it is not clear which array is meant.

    Examples
    --------
    >>> import tempfile
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
        array = _map_npy(path)
    else:
        entries = entries_of(path)
        fitting = [key for key, entry in entries.items() if len(entry.shape) == ndim]
        array = entries[choose(path, name, fitting, list(entries), _ARRAYS[ndim])].read()
    if array.ndim != ndim:
        advice = f"; one embedding is an array of shape (1, {len(array)})" if (array.ndim, ndim) == (1, 2) else ""
        raise ValueError(f"{source} has shape {array.shape}; expected a {_ARRAYS[ndim]}{advice}")
    return PlainArray(str(source), array)


def split_name(source: str) -> tuple[Path, str | None]:
    """Split ``path:name``; a path that exists is a path whatever it looks like."""
    if not Path(source).exists():
        path, colon, name = source.rpartition(":")
        if colon and name and Path(path).suffix.lower() in _SUFFIXES:
            return Path(path), name
    return Path(source), None


def _map_npy(path: Path) -> NDArray[Any]:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError) as error:
        try:
            return np.asarray(np.load(path, allow_pickle=False))  # an empty array cannot be mapped
        except (ValueError, EOFError):
            raise FileFormatError(what_is_wrong(path, error)) from error


def list_arrays(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Return name, shape and type of each array in a file that `open_array` opens; the rows of Parquet are columns.

    Raises
    ------
    FileNotFoundError, FileFormatError, ValueError
        See `open_array`.
    """
    suffix = _check_file(path)
    if suffix == ".npy":
        array = _map_npy(path)
        return [("", array.shape, str(array.dtype))]
    if suffix == ".parquet":
        file = open_parquet(path)
        return [(field.name, (file.metadata.num_rows,), str(field.type)) for field in file.schema_arrow]
    entries = entries_of(path)
    return [(name, entry.shape, entry.dtype) for name, entry in entries.items()]


def _check_file(path: Path) -> str:
    """Return the suffix of a file that is there and of a kind that is known."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a file: {', '.join(_SUFFIXES)}")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"{path} is of an unknown kind; expected one of {', '.join(_SUFFIXES)}: convert it with NumPy")
    return suffix
