"""NumPy files, written atomically."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from h2q.files.atomic import atomic_path

__all__ = ["write_npy", "write_npz"]


@contextmanager
def write_npy(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a .npy file some rows at a time, atomically: the file appears once all rows of `shape` are there.

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
    written = 0
    with atomic_path(path) as temporary:
        # Plain writes, no memory map: a full disk is then an error, not a signal that ends the process.
        with temporary.open("wb") as file:
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)

            def write(rows: NDArray[Any]) -> None:
                nonlocal written
                written += len(rows)
                file.write(np.ascontiguousarray(rows, dtype=dtype).data)

            yield write
        if written != shape[0]:
            raise ValueError(f"{written} rows were written to {path}, not {shape[0]}: did the input change meanwhile?")


def write_npz(path: str | os.PathLike[str], **arrays: NDArray[Any]) -> None:
    """Write a .npz file, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # numpy's stub takes every keyword for allow_pickle
