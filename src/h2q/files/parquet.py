"""Columns of numbers and of lists of numbers in Parquet files, a batch at a time."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.files.limits import check_expansion
from h2q.files.stored import StoredArray, choose

__all__ = ["ParquetColumn", "as_rows", "column_ndim", "fields_of", "open_parquet", "read_columns"]

_BUFFER_BYTES = 1 << 20
_COLUMNS = {1: "column of numbers", 2: "column of lists of numbers"}


class ParquetColumn(StoredArray):
    """A column of numbers, or of lists of numbers that all have one length."""

    def __init__(self, source: str, path: Path, name: str | None, ndim: int) -> None:
        self._path = path
        self._file = open_parquet(path)
        fields = {field.name: field for field in fields_of(path, self._file)}
        fitting = [key for key, field in fields.items() if column_ndim(field.type) == ndim]
        self._name = choose(path, name, fitting, list(fields), _COLUMNS[ndim])
        kind = fields[self._name].type
        if ndim == 1:
            super().__init__(source, (self._file.metadata.num_rows,), np.dtype(kind.to_pandas_dtype()))
            return
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        check_expansion(path, self._name, self._count_values() * dtype.itemsize)
        super().__init__(source, (self._file.metadata.num_rows, 0), dtype)
        width = next((as_rows(batch, self.source).shape[1] for batch in self._batches(1)), 0)
        self.shape = (self.shape[0], width)

    def _count_values(self) -> int:
        """Return the number of values in the column that the file declares."""
        metadata, count = self._file.metadata, 0
        for group in range(metadata.num_row_groups):
            for column in range(metadata.num_columns):
                chunk = metadata.row_group(group).column(column)
                try:
                    name = chunk.path_in_schema.split(".")[0]
                except UnicodeDecodeError as error:
                    raise FileFormatError(f"{self._path} is damaged: its column names cannot be read") from error
                if name == self._name:
                    count += chunk.num_values
        return count

    def _batches(self, n: int) -> Iterator[Any]:
        import pyarrow as pa

        try:
            for batch in self._file.iter_batches(batch_size=n, columns=[self._name]):
                yield batch.column(0)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise FileFormatError(f"{self.source} is damaged: {_first_line(error)}") from error

    def read(self) -> NDArray[Any]:
        """Return the whole column."""
        check_expansion(self._path, self._name, math.prod(self.shape) * self.dtype.itemsize)
        result = np.empty(self.shape, self.dtype)
        start = 0
        for part in self.chunks():
            result[start : start + len(part)] = part
            start += len(part)
        return result

    def for_fit(self) -> Any:
        """Return batches."""
        return self.embeddings()

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows; `rows` must be rising."""
        result = np.empty((len(rows), *self.shape[1:]), self.dtype)
        start = 0
        for part in self.chunks():
            first, last = np.searchsorted(rows, (start, start + len(part)))
            result[first:last] = part[rows[first:last] - start]
            start += len(part)
        return result

    def _slices(self, n: int) -> Iterator[NDArray[Any]]:
        start = 0
        for column in self._batches(n):
            yield as_rows(column, self.source, ndim=len(self.shape), first_row=start, width=self.shape[-1])
            start += len(column)


def as_rows(column: Any, source: str, *, ndim: int = 2, first_row: int = 0, width: int | None = None) -> NDArray[Any]:
    """Return the rows of an Arrow column of numbers (`ndim` 1) or of lists of numbers (2).

    Parameters
    ----------
    column : pyarrow.Array
        The column.
    source : str
        Name for errors.
    ndim : {1, 2}
        Dimensions of the result.
    first_row : int
        Number of the first row, for errors.
    width : int, optional
        Length that all lists must have. Default: that of the first.

    Raises
    ------
    ValueError
        If a row has no value, or a list another length.
    """
    import pyarrow.compute as pc

    def first_where(wrong: Any) -> int:
        return first_row + int(np.flatnonzero(wrong.to_numpy(zero_copy_only=False))[0])

    if column.null_count:
        row = first_where(column.is_null())
        raise ValueError(f"{source} has no value in row {row}; fill or remove such rows")
    if ndim == 1:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    lengths = pc.list_value_length(column)
    width = lengths[0].as_py() if width is None else width
    wrong = pc.not_equal(lengths, width)
    if pc.any(wrong).as_py():
        row = first_where(wrong)
        raise ValueError(
            f"{source} has {lengths[row - first_row].as_py()} numbers in row {row}, and {width} in the first; "
            "embeddings of one model all have one length"
        )
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values).reshape(len(column), width)


def read_columns(path: Path, names: list[str] | None = None) -> Any:
    """Return columns of a Parquet file, all by default, as a `pyarrow.Table`.

    Raises
    ------
    FileFormatError
        If the file is truncated, damaged, or not a Parquet file.
    ValueError
        If there is no such column.
    """
    import pyarrow as pa

    file = open_parquet(path)
    present = [field.name for field in fields_of(path, file)]
    unknown = [name for name in names or () if name not in present]
    if unknown:
        raise ValueError(f"{path} has no column {unknown[0]}; it has {', '.join(present) or 'none'}")
    try:
        return file.read(columns=names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileFormatError(f"{path} is damaged: {_first_line(error)}") from error


def open_parquet(path: Path) -> Any:
    """Open a Parquet file, to be read in small parts.

    Raises
    ------
    FileFormatError
        If the file is truncated, or is not a Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Plain reads, no memory map: a file that shrinks meanwhile is then an error, not a signal.
        return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileFormatError(f"{path} is truncated or no Parquet file: {_first_line(error)}") from error


def fields_of(path: Path, file: Any) -> list[Any]:
    """Return the fields of an open Parquet file, whose names are valid text.

    Raises
    ------
    FileFormatError
        If the schema is damaged.
    """
    try:
        fields = list(file.schema_arrow)
        for field in fields:
            field.name.encode()
    except (UnicodeError, ValueError, OSError) as error:
        raise FileFormatError(f"{path} is damaged: its column names cannot be read") from error
    return fields


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0]


def column_ndim(kind: Any) -> int:
    """Return 1 for a column of numbers, 2 for one of lists of numbers, otherwise 0."""
    import pyarrow.types as types

    def is_number(kind: Any) -> bool:
        return bool(types.is_floating(kind) or types.is_integer(kind))

    if is_number(kind):
        return 1
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return 2 if is_list and is_number(kind.value_type) else 0
