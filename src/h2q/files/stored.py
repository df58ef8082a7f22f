"""An array in a file, whatever the format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_embeddings

__all__ = ["PlainArray", "StoredArray", "choose"]

_CHUNK_BYTES = 32 << 20


class StoredArray(ABC):
    """An array in a file.

    Attributes
    ----------
    source : str
        What the user called it, for errors.
    shape : tuple of int
        Its shape.
    dtype : numpy.dtype
        The type of its entries.
    """

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
        """Return what a quantizer's `fit` takes: the array, of which it reads what it needs, or batches."""

    @abstractmethod
    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows; `rows` must be rising."""

    @abstractmethod
    def _slices(self, n: int) -> Iterator[NDArray[Any]]:
        """Give all rows in order, about `n` at a time."""

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Give all rows in order, a few megabytes at a time."""
        row_bytes = max(1, int(np.prod(self.shape[1:])) * max(self.dtype.itemsize, 4))
        return self._slices(max(1, _CHUNK_BYTES // row_bytes))

    def embeddings(self, *, n_features: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Give all rows as embeddings, chunk by chunk; zero rows pass, other faults raise with their row in the file.

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
    """An array, memory-mapped or not."""

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
        """Return some rows; `rows` must be rising."""
        return np.asarray(self._array[rows])

    def _slices(self, n: int) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self), n):
            yield self._array[start : start + n]


def choose(path: Path, name: str | None, fitting: list[str], present: list[str], what: str) -> str:
    """Return the array or column that is meant."""
    if name is not None:
        if name in fitting:
            return name
        if name in present:
            raise ValueError(f"{name} in {path} is no {what}; those are: {', '.join(fitting) or 'none'}")
        raise ValueError(f"{path} holds no {name}; it holds {', '.join(present) or 'nothing'}")
    if not fitting:
        raise ValueError(f"{path} holds no {what}; it holds {', '.join(present) or 'nothing'}")
    if len(fitting) > 1:
        raise ValueError(f"{path} holds several: {', '.join(fitting)}; say which one, such as {path}:{fitting[0]}")
    return fitting[0]
