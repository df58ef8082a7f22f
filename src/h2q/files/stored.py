"""An array in a file, whatever the format."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_embeddings
from h2q.errors import FileFormatError

__all__ = ["MappedArray", "PlainArray", "StoredArray", "choose"]


class StoredArray(ABC):
    """An array in a file.

    Attributes
    ----------
    source : str
        The name that the user gave; errors use it.
    shape : tuple of int
        Its shape.
    dtype : numpy.dtype
        The type of its entries.
    chunk_bytes : int
        The size of the parts that `chunks` and `embeddings` yield.
    """

    chunk_bytes: int = 32 << 20

    def __init__(self, source: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.source, self.shape, self.dtype = source, shape, dtype

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    @property
    def holds_codes(self) -> bool:
        """Whether it looks like packed codes: uint8, two-dimensional."""
        return len(self.shape) == 2 and self.dtype == np.uint8

    @abstractmethod
    def read(self) -> NDArray[Any]:
        """Return the whole array; a memory map where the file allows it."""

    @abstractmethod
    def for_fit(self) -> Any:
        """Return the input for a quantizer's `fit`: the array, or batches."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows; `rows` must be ascending."""

    @abstractmethod
    def _slices(self, n: int) -> Iterator[NDArray[Any]]:
        """Yield all rows in order, about `n` at a time."""

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield all rows in order, a few megabytes at a time."""
        row_bytes = max(1, math.prod(self.shape[1:]) * max(self.dtype.itemsize, 4))
        return self._slices(max(1, self.chunk_bytes // row_bytes))

    def embeddings(self, *, n_features: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield all rows as embeddings, in parts; zero rows are allowed, other faults raise errors that name the row.

        Raises
        ------
        TypeError, ValueError
            See `h2q.checks.as_embeddings`.
        """
        start = 0
        for chunk in self.chunks():
            yield as_embeddings(chunk, self.source, n_features=n_features, allow_zero_rows=True, first_row=start)
            start += len(chunk)
        if start == 0:
            raise ValueError(f"{self.source} is empty: it has no rows")


class PlainArray(StoredArray):
    """An array in memory."""

    def __init__(self, source: str, array: NDArray[Any]) -> None:
        super().__init__(source, array.shape, array.dtype)
        self._array = array

    def read(self) -> NDArray[Any]:
        """Return the array itself."""
        return self._array

    def for_fit(self) -> Any:
        """Return the array itself."""
        return self._array

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows; `rows` must be ascending."""
        return np.asarray(self._array[rows])

    def _slices(self, n: int) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self), n):
            yield self._array[start : start + n]


class MappedArray(StoredArray):
    """An array that lies in a file uncompressed.

    Parameters
    ----------
    source : str
        What errors call it.
    path : Path
        The file.
    start : int
        The first byte of the array in the file.
    shape : tuple of int
        Its shape; the file must be large enough.
    dtype : numpy.dtype
        Its type.
    fortran_order : bool
        Whether it is stored by columns.
    """

    def __init__(
        self,
        source: str,
        path: Path,
        start: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        *,
        fortran_order: bool = False,
    ) -> None:
        super().__init__(source, shape, dtype)
        self._path, self._start, self._fortran_order = path, start, fortran_order

    def read(self) -> NDArray[Any]:
        """Return a read-only memory map."""
        if 0 in self.shape or self.dtype.itemsize == 0:
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self._path, self.dtype, "r", self._start, self.shape, "F" if self._fortran_order else "C")

    def for_fit(self) -> Any:
        """Return the memory map."""
        return self.read()

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows; `rows` must be ascending."""
        return np.asarray(self.read()[rows])

    def _slices(self, n: int) -> Iterator[NDArray[Any]]:
        for begin in range(0, len(self), n):
            yield self.rows(begin, min(begin + n, len(self)))

    def rows(self, first: int, stop: int) -> NDArray[Any]:
        """Return consecutive rows: plain reads, so that a file that shrinks meanwhile is an error, not a signal.

        Raises
        ------
        FileFormatError
            If the file is shorter than it was.
        """
        if self._fortran_order or 0 in self.shape:
            return np.asarray(self.read()[first:stop])
        rows = np.empty((stop - first, *self.shape[1:]), self.dtype)
        content = rows.reshape(-1).view(np.uint8)
        with self._path.open("rb") as file:
            file.seek(self._start + first * (rows.nbytes // max(1, len(rows))))
            if file.readinto(content.data) != len(content):
                raise FileFormatError(f"{self.source} was truncated while it was read")
        return rows


def choose(path: Path, name: str | None, fitting: list[str], present: list[str], what: str) -> str:
    """Return the name of the array or column to open: the one given, or the only one that fits."""
    if name is not None:
        if name in fitting:
            return name
        if name in present:
            raise ValueError(f"{name} in {path} is not a {what}; those are: {', '.join(fitting) or 'none'}")
        raise ValueError(f"{path} holds no array {name}; it holds {', '.join(present) or 'nothing'}")
    if not fitting:
        raise ValueError(f"{path} holds no {what}; it holds {', '.join(present) or 'nothing'}")
    if len(fitting) > 1:
        raise ValueError(f"{path} holds several arrays: {', '.join(fitting)}; name one, such as {path}:{fitting[0]}")
    return fitting[0]
