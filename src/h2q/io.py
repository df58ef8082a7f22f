"""Arrays in other people's files: .npy, .npz, .safetensors and .parquet, memory-mapped or in chunks.

A file is given as ``path``, or ``path:name`` where it holds several arrays or columns.
"""

import json
import os
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from h2q.checks import as_embeddings
from h2q.errors import FileFormatError
from h2q.storage import STORED_DTYPES, atomic_path

__all__ = ["StoredArray", "list_arrays", "open_array", "split_name", "write_npy", "write_npz"]

_CHUNK_BYTES = 32 << 20
_SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet")
_LOCAL_HEADER_BYTES = 30  # of a zip entry, before its name


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


class _ArrayInMemory(StoredArray):
    """An array, memory-mapped or not."""

    def __init__(self, source: str, array: NDArray[Any]) -> None:
        super().__init__(source, array.shape, array.dtype)
        self._array = array

    def read(self) -> NDArray[Any]:
        return self._array

    def for_fit(self) -> Any:
        return self._array

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self._array[rows])

    def _slices(self, n: int) -> Iterator[NDArray[Any]]:
        for start in range(0, len(self), n):
            yield self._array[start : start + n]


class _ParquetColumn(StoredArray):
    """A column of numbers, or of lists of numbers that are all of one length."""

    def __init__(self, source: str, path: Path, name: str | None, ndim: int) -> None:
        self._file = _open_parquet(path)
        fields = {field.name: field for field in self._file.schema_arrow}
        fitting = [key for key, field in fields.items() if _column_ndim(field.type) == ndim]
        self._name = _choose(path, name, fitting, list(fields), _COLUMNS[ndim])
        kind = fields[self._name].type
        if ndim == 1:
            super().__init__(source, (self._file.metadata.num_rows,), np.dtype(kind.to_pandas_dtype()))
            return
        dtype = np.dtype(kind.value_type.to_pandas_dtype())
        super().__init__(source, (self._file.metadata.num_rows, 0), dtype)
        width = next((self._as_rows(batch, 0, None).shape[1] for batch in self._batches(1)), 0)
        self.shape = (self.shape[0], width)

    def _batches(self, n: int) -> Iterator[Any]:
        import pyarrow as pa

        try:
            for batch in self._file.iter_batches(batch_size=n, columns=[self._name]):
                yield batch.column(0)
        except (pa.ArrowException, OSError) as error:
            raise FileFormatError(f"{self.source} is damaged: {error}") from error

    def _as_rows(self, column: Any, first_row: int, width: int | None) -> NDArray[Any]:
        import pyarrow.compute as pc

        def first_where(wrong: Any) -> int:
            return first_row + int(np.flatnonzero(wrong.to_numpy(zero_copy_only=False))[0])

        if column.null_count:
            row = first_where(column.is_null())
            raise ValueError(f"{self.source} has no value in row {row}; fill or remove such rows")
        if len(self.shape) == 1:
            return np.asarray(column.to_numpy(zero_copy_only=False))
        lengths = pc.list_value_length(column)
        width = lengths[0].as_py() if width is None else width
        wrong = pc.not_equal(lengths, width)
        if pc.any(wrong).as_py():
            row = first_where(wrong)
            raise ValueError(
                f"{self.source} has {lengths[row - first_row].as_py()} numbers in row {row}, and {width} in the first; "
                "embeddings of one model all have one length"
            )
        values = column.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(values).reshape(len(column), width)

    def read(self) -> NDArray[Any]:
        result = np.empty(self.shape, self.dtype)
        start = 0
        for part in self.chunks():
            result[start : start + len(part)] = part
            start += len(part)
        return result

    def for_fit(self) -> Any:
        return self.embeddings()

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
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
            yield self._as_rows(column, start, self.shape[1] if len(self.shape) == 2 else None)
            start += len(column)


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} is truncated or no Parquet file: {error}") from error


_COLUMNS = {1: "column of numbers", 2: "column of lists of numbers"}
_ARRAYS = {1: "1-D array", 2: "2-D array"}


def _column_ndim(kind: Any) -> int:
    """Return 1 for a column of numbers, 2 for one of lists of numbers, otherwise 0."""
    import pyarrow.types as types

    def is_number(kind: Any) -> bool:
        return bool(types.is_floating(kind) or types.is_integer(kind))

    if is_number(kind):
        return 1
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return 2 if is_list and is_number(kind.value_type) else 0


def _choose(path: Path, name: str | None, fitting: list[str], present: list[str], what: str) -> str:
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
        return _ParquetColumn(str(source), path, name, ndim)
    if suffix == ".npy":
        if name is not None:
            raise ValueError(f"a .npy file holds one array without a name; got {source}: leave out :{name}")
        array = _map_npy(path)
    else:
        entries = _entries(path)
        fitting = [key for key, entry in entries.items() if len(entry.shape) == ndim]
        array = entries[_choose(path, name, fitting, list(entries), _ARRAYS[ndim])].read()
    if array.ndim != ndim:
        advice = f"; one embedding is an array of shape (1, {len(array)})" if (array.ndim, ndim) == (1, 2) else ""
        raise ValueError(f"{source} has shape {array.shape}; expected a {_ARRAYS[ndim]}{advice}")
    return _ArrayInMemory(str(source), array)


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
            raise FileFormatError(_what_is_wrong(path, error)) from error


def _what_is_wrong(path: Path, error: Exception) -> str:
    if "allow_pickle" in str(error) or "Python objects" in str(error):
        return f"{path} holds Python objects or is no NumPy file; save numbers: np.save(path, array.astype('float32'))"
    return f"{path} is truncated or no NumPy file: {error}"


@dataclass(frozen=True)
class _Entry:
    """An array in a file of several: what it is, and how to get it."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]]


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
        file = _open_parquet(path)
        return [(field.name, (file.metadata.num_rows,), str(field.type)) for field in file.schema_arrow]
    entries = _entries(path)
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


def _entries(path: Path) -> dict[str, _Entry]:
    return _npz_entries(path) if path.suffix.lower() == ".npz" else _safetensors_entries(path)


def _npz_entries(path: Path) -> dict[str, _Entry]:
    """Find the arrays of a .npz file; those that are stored uncompressed are mapped."""
    entries: dict[str, _Entry] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".npy"):
                    with archive.open(entry) as file:
                        shape, fortran, dtype = _read_npy_header(file)
                        header_bytes = file.tell()
                    opener = _npz_opener(path, entry, header_bytes, shape, fortran, dtype)
                    entries[entry.filename.removesuffix(".npy")] = _Entry(shape, str(dtype), opener)
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
                raise FileFormatError(_what_is_wrong(path, error)) from error
        with path.open("rb") as file:
            file.seek(entry.header_offset)
            local = file.read(_LOCAL_HEADER_BYTES)
        name_bytes, extra_bytes = int.from_bytes(local[26:28], "little"), int.from_bytes(local[28:30], "little")
        start = entry.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes + header_bytes
        return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")

    return read


def _safetensors_entries(path: Path) -> dict[str, _Entry]:
    """Find the arrays of any safetensors file, to be mapped."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
    except SafetensorError as error:
        raise FileFormatError(f"{path} is truncated or no safetensors file: {error}") from error
    with path.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(length))

    def opener(name: str) -> Callable[[], NDArray[Any]]:
        def read() -> NDArray[Any]:
            entry = header[name]
            if entry["dtype"] not in STORED_DTYPES:
                raise ValueError(f"{path}:{name} is of type {entry['dtype']}; save it as F16, F32 or F64")
            dtype, shape = np.dtype(STORED_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            if 0 in shape:
                return np.zeros(shape, dtype)
            return np.memmap(path, dtype, "r", 8 + length + entry["data_offsets"][0], shape)

        return read

    return {name: _Entry(tuple(header[name]["shape"]), header[name]["dtype"], opener(name)) for name in names}


@contextmanager
def write_npy(
    path: str | os.PathLike[str], shape: tuple[int, ...], dtype: DTypeLike
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Write a .npy file some rows at a time, atomically: the file appears once all rows of `shape` are there.

    Examples
    --------
    >>> import tempfile
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
