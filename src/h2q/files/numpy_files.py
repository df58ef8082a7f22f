"""NumPy files, written atomically: .npy with a checksum in its header, .npz with those of the zip format."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from h2q.files.atomic import atomic_path
from h2q.files.npy_format import encode_npy_header, insert_checksum

__all__ = ["write_npy", "write_npz"]

_CHUNK_BYTES = 256 << 10  # small enough that the checksum finds the bytes in the processor's cache


@contextmanager
def write_npy(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a .npy file in parts, atomically: the file appears once all rows of `shape` are written.

    Parameters
    ----------
    path : path
        The file to write.
    shape : tuple of int
        Shape of the whole array.
    dtype : dtype
        Type of the array.

    Yields
    ------
    callable
        Takes the next rows, an array of shape (m, *shape[1:]), and writes them.

    Raises
    ------
    ValueError
        If the rows have another shape, or are fewer or more than `shape` says.
    DiskFullError
        If the disk is full; an older file at `path` is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "codes.npy"
    >>> with write_npy(path, (4, 2), np.uint8) as write:
    ...     write(np.zeros((1, 2), np.uint8))
    ...     write(np.ones((3, 2), np.uint8))
    >>> np.load(path).sum()
    np.uint64(6)
    """
    import xxhash

    written = 0
    header = encode_npy_header(shape, np.dtype(dtype))
    digest = xxhash.xxh3_64(header)
    with atomic_path(path) as temporary:
        # Plain writes, no memory map: a full disk is then an error, not a signal that ends the process.
        with temporary.open("wb") as file:
            file.write(header)

            def write(rows: NDArray[Any]) -> None:
                nonlocal written
                if rows.shape[1:] != shape[1:]:
                    raise ValueError(f"rows for {path} must have shape (m, *{shape[1:]}); got {rows.shape}")
                written += len(rows)
                content = np.ascontiguousarray(rows, dtype=dtype).reshape(-1).view(np.uint8)
                for begin in range(0, len(content), _CHUNK_BYTES):
                    chunk = content[begin : begin + _CHUNK_BYTES].data
                    digest.update(chunk)
                    file.write(chunk)

            yield write
            file.seek(0)
            file.write(insert_checksum(header, digest.intdigest()))
        if written != shape[0]:
            raise ValueError(f"{written} rows were written to {path}, not {shape[0]}: did the input change meanwhile?")


def write_npz(path: str | os.PathLike[str], **arrays: NDArray[Any]) -> None:
    """Write a .npz file, atomically.

    Raises
    ------
    TypeError
        If an array holds Python objects, which a reader could only unpickle.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"cannot write {name} to {path}: it holds Python objects; convert it to numbers or strings")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes every keyword for allow_pickle
