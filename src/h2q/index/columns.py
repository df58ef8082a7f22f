"""Named columns of items: in memory, or mapped from a file and compared with checksums before they are first used."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.files.checksums import block_bytes

__all__ = ["Columns", "MappedColumns", "block_checksums"]


class Columns(Mapping[str, NDArray[Any]]):
    """Columns in memory: one value or row an item.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Arrays of one length.

    Examples
    --------
    >>> columns = Columns({"codes": np.array([[1], [2]], np.uint8), "ids": np.array([4, 7])})
    >>> columns.n_rows, columns["ids"], columns.take("codes", np.array([1]))
    (2, array([4, 7]), array([[2]], dtype=uint8))
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._arrays = dict(arrays)

    @property
    def n_rows(self) -> int:
        """Number of items."""
        return len(next(iter(self._arrays.values())))

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        """Return the number of columns."""
        return len(self._arrays)

    def take(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows of a column."""
        return self[name][rows]


class MappedColumns(Columns):
    """Columns mapped from a file; every block of rows is compared with its checksum before it is first used.

    Parameters
    ----------
    path : Path
        The file, for errors.
    arrays : mapping of str to ndarray
        Memory maps.
    checksums : mapping of str to ndarray of uint64
        Checksums of the blocks of each column, as `write_tensors` stores them.
    """

    def __init__(
        self, path: Path, arrays: Mapping[str, NDArray[Any]], checksums: Mapping[str, NDArray[np.uint64]]
    ) -> None:
        super().__init__(arrays)
        self._path, self._checksums = path, checksums
        self._unverified = {name: np.ones(len(checksums[name]), np.bool_) for name in arrays}

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column, verified."""
        self._verify(name, np.flatnonzero(self._unverified[name]))
        return self._arrays[name]

    def take(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows of a column; only the blocks that they are in are verified."""
        array = self._arrays[name]
        wanted = np.zeros(len(self._checksums[name]), np.bool_)
        wanted[rows // _rows_per_block(array)] = True
        self._verify(name, np.flatnonzero(wanted & self._unverified[name]))
        return array[rows]

    def __reduce__(self) -> tuple[Any, ...]:
        return Columns, ({name: np.array(self[name]) for name in self},)

    def damaged_rows(self, name: str) -> NDArray[np.bool_]:
        """Return which rows of a column are in a block that does not match its checksum, shape (n_rows,)."""
        array = self._arrays[name]
        damaged = np.array(block_checksums(array) != self._checksums[name], np.bool_)
        return np.repeat(damaged, _rows_per_block(array))[: len(array)]

    def unverified(self, name: str) -> NDArray[Any]:
        """Return a column as it is in the file."""
        return self._arrays[name]

    def _verify(self, name: str, blocks: NDArray[np.int64]) -> None:
        if len(blocks) == 0:
            return
        array = self._arrays[name]
        wrong = blocks[block_checksums(array, blocks) != self._checksums[name][blocks]]
        if len(wrong):
            first = int(wrong[0]) * _rows_per_block(array)
            raise FileFormatError(
                f"{self._path} is damaged: its column {name} does not match its checksum from row {first} on; restore "
                f"it from a copy, or see what can be saved: h2q check {self._path.parent}"
            )
        self._unverified[name][blocks] = False


def block_checksums(array: NDArray[Any], blocks: NDArray[np.int64] | None = None) -> NDArray[np.uint64]:
    """Return the checksum of each block of rows, or of some of them."""
    from xxhash import xxh3_64_intdigest

    # As a plain array: slices of memory maps are slow.
    content = np.asarray(array).view(np.ndarray).reshape(-1).view(np.uint8).data
    size = block_bytes(array.shape, array.itemsize)
    begins = range(0, len(content), size) if blocks is None else (size * blocks).tolist()
    return np.array([xxh3_64_intdigest(content[begin : begin + size]) for begin in begins], np.uint64)


def _rows_per_block(array: NDArray[Any]) -> int:
    return block_bytes(array.shape, array.itemsize) * len(array) // max(1, array.nbytes)
