"""Collections of embeddings in files, as parts that can be read apart from each other."""

import glob
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import FileFormatError, describe, require
from h2q.files import open_array
from h2q.files.parquet import as_rows, column_ndim, fields_of, open_parquet
from h2q.files.stored import MappedArray, choose

__all__ = ["Batch", "Collection", "Part", "open_collection"]

_BATCH_BYTES = 16 << 20
_PARQUET, _ZARR = ".parquet", ".zarr"


@dataclass(frozen=True)
class Part:
    """A run of rows of one file.

    Attributes
    ----------
    file : int
        Number of the file in the collection.
    first, stop : int
        Rows of the file; in Parquet, row groups.
    first_row : int
        Number of the first row in the whole collection.
    n_rows : int
        Number of rows.

    Examples
    --------
    >>> Part(file=0, first=0, stop=4, first_row=0, n_rows=4).n_rows
    4
    """

    file: int
    first: int
    stop: int
    first_row: int
    n_rows: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Some consecutive rows of a part.

    Attributes
    ----------
    embeddings : ndarray of shape (n, d)
        As they are in the file.
    columns : pyarrow.Table
        What lies beside them.
    """

    embeddings: NDArray[Any]
    columns: Any


class Collection(ABC):
    """Embeddings in one or several files.

    Attributes
    ----------
    files : list of Path
        The files, in the order of the rows.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "a.npy", np.ones((5, 3), np.float32))
    >>> [batch.shape for batch in open_collection(folder).embeddings()]
    [(5, 3)]
    """

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    @abstractmethod
    def parts(self, n_rows: int) -> list[Part]:
        """Return all rows in parts of about `n_rows`, in order."""

    @abstractmethod
    def batches(self, part: Part) -> Iterator[Batch]:
        """Yield the rows of a part, in order, in batches of about 16 MiB."""

    def embeddings(self) -> Iterator[NDArray[Any]]:
        """Yield all embeddings in order, in batches: the input of a quantizer's `fit`."""
        for part in self.parts(1 << 40):
            for batch in self.batches(part):
                yield batch.embeddings

    def identity(self) -> list[dict[str, Any]]:
        """Return name, size and time of change of each file: what a run that goes on must find as it was."""
        identity = []
        for path in self.files:
            status = path.stat()
            identity.append({"name": str(path), "size": status.st_size, "changed": status.st_mtime_ns})
        return identity


class ParquetCollection(Collection):
    """A column of lists of numbers in Parquet files, and the columns beside it; parts are runs of row groups."""

    def __init__(self, files: list[Path], column: str | None, columns: Sequence[str] | None) -> None:
        super().__init__(files)
        fields = {field.name: field.type for field in fields_of(files[0], open_parquet(files[0]))}
        fitting = [name for name, kind in fields.items() if column_ndim(kind) == 2]
        self._embeddings = choose(files[0], column, fitting, list(fields), "column of lists of numbers")
        others = [name for name in fields if name != self._embeddings]
        self._columns = others if columns is None else list(columns)
        missing = [name for name in self._columns if name not in others]
        if missing:
            raise ValueError(
                f"columns: {files[0]} has no column {missing[0]!r} beside the embeddings; it has {', '.join(others)}"
            )

    def parts(self, n_rows: int) -> list[Part]:
        """Return all rows in parts of whole row groups."""
        parts, first_row = [], 0
        for number, path in enumerate(self.files):
            metadata = open_parquet(path).metadata
            first, count = 0, 0
            for group in range(metadata.num_row_groups):
                count += metadata.row_group(group).num_rows
                if count >= n_rows or group == metadata.num_row_groups - 1:
                    parts.append(Part(number, first, group + 1, first_row, count))
                    first, first_row, count = group + 1, first_row + count, 0
        return [part for part in parts if part.n_rows]

    def batches(self, part: Part) -> Iterator[Batch]:
        """Yield the rows of a part."""
        import pyarrow as pa

        path = self.files[part.file]
        file = open_parquet(path)
        source = f"{path}:{self._embeddings}"
        names = [self._embeddings, *self._columns]
        absent = [name for name in names if name not in file.schema_arrow.names]
        if absent:
            raise ValueError(f"{path} has no column {absent[0]!r}, which the first file of the collection has")
        row, width = 0, None
        groups = range(part.first, part.stop)
        try:
            for batch in file.iter_batches(self._batch_rows(file, part), row_groups=groups, columns=names):
                rows = as_rows(batch.column(self._embeddings), source, first_row=part.first_row + row, width=width)
                row, width = row + len(rows), rows.shape[1]
                yield Batch(rows, pa.Table.from_batches([batch.select(self._columns)]))
        except (pa.ArrowException, OSError) as error:
            first_line = str(error).partition("\n")[0]
            raise FileFormatError(f"{path} is damaged: {first_line}") from error

    def _batch_rows(self, file: Any, part: Part) -> int:
        size = sum(file.metadata.row_group(group).total_byte_size for group in range(part.first, part.stop))
        return max(1, int(_BATCH_BYTES * part.n_rows // max(1, size)))


class ArrayCollection(Collection):
    """Rows of .npy or Zarr arrays; the column beside them is `row`, their number in the collection."""

    def __init__(self, files: list[Path]) -> None:
        super().__init__(files)
        self._arrays: list[Any] = [_open_zarr(path) if path.suffix == _ZARR else open_array(path) for path in files]

    def parts(self, n_rows: int) -> list[Part]:
        """Return all rows in parts."""
        parts, first_row = [], 0
        for number, array in enumerate(self._arrays):
            length = array.shape[0]
            for first in range(0, length, n_rows):
                stop = min(first + n_rows, length)
                parts.append(Part(number, first, stop, first_row + first, stop - first))
            first_row += length
        return parts

    def batches(self, part: Part) -> Iterator[Batch]:
        """Yield the rows of a part."""
        import pyarrow as pa

        array = self._arrays[part.file]
        step = max(1, _BATCH_BYTES // max(1, array.shape[1] * array.dtype.itemsize))
        for first in range(part.first, part.stop, step):
            stop = min(first + step, part.stop)
            rows = array.rows(first, stop) if isinstance(array, MappedArray) else np.asarray(array[first:stop])
            begin = part.first_row + first - part.first
            yield Batch(rows, pa.table({"row": np.arange(begin, begin + len(rows))}))


def open_collection(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    column: str | None = None,
    columns: Sequence[str] | None = None,
    backbone: str | None = None,
    image_size: int | None = None,
) -> Collection:
    """Open embeddings in files, without reading them.

    Parameters
    ----------
    source : path, pattern, or sequence of these
        .parquet, .npy or .zarr: a file, a folder of such files at any depth, or a pattern such as ``"part-*.parquet"``.
        All files are of one kind. The order of the rows is that of the sorted names.
    column : str, optional
        Name of the column of embeddings in Parquet. Default: the only column of lists of numbers.
    columns : sequence of str, optional
        Columns that travel along. Default: all others.
    backbone : str, optional
        The source is a folder of images at any depth, which this network embeds, for instance "efficientnet-lite0";
        see `h2q.similarity.backbones.load_backbone`. The column that travels along is `path`.
    image_size : int, optional
        Side in pixels that images are resized to. Default: the network's.

    Returns
    -------
    Collection
        Its parts and their rows.

    Raises
    ------
    FileNotFoundError
        If nothing matches.
    FileFormatError
        If a file is damaged.
    ValueError
        If the files are of several kinds or an unknown one, or there is no such column.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in "ab":
    ...     np.save(folder / f"{name}.npy", np.ones((5, 3), np.float32))
    >>> [(part.file, part.first_row, part.n_rows) for part in open_collection(folder).parts(4)]
    [(0, 0, 4), (0, 4, 1), (1, 5, 4), (1, 9, 1)]
    """
    if backbone is not None:
        return _open_images(source, column, columns, backbone, image_size)
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    files = [path for name in sources for path in _files_of(os.fspath(name))]
    kinds = {path.suffix.lower() for path in files}
    if kinds == {_PARQUET}:
        return ParquetCollection(files, column, columns)
    if len(kinds) > 1:
        raise ValueError(f"source must hold files of one kind; got {', '.join(sorted(kinds))}")
    if column is not None or columns is not None:
        raise ValueError("column and columns are for Parquet; an array has none")
    return ArrayCollection(files)


def _open_images(
    source: Any, column: str | None, columns: Sequence[str] | None, backbone: str, image_size: int | None
) -> Collection:
    from h2q.encoding.images import ImageCollection  # it is a Collection itself

    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source must be one folder of images where backbone is given; got {describe(source)}")
    if column is not None or columns is not None:
        raise ValueError("column and columns are for Parquet; a folder of images has none")
    return ImageCollection(Path(source), backbone, image_size)


def _files_of(source: str) -> list[Path]:
    """Return the files that a path or a pattern stands for, sorted."""
    path = Path(source)
    suffixes = (_PARQUET, ".npy", _ZARR)
    if path.suffix.lower() in suffixes and path.exists():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
        files = [file for file in files if not _is_hidden(file.relative_to(path))]
    elif path.exists():
        raise ValueError(f"{source} is of an unknown kind; expected {', '.join(suffixes)}, or a folder of such files")
    else:
        files = sorted(Path(name) for name in glob.glob(source, recursive=True))
        files = [file for file in files if file.suffix.lower() in suffixes]
    if not files:
        raise FileNotFoundError(f"there is no .parquet, .npy or .zarr file at {source}")
    return files


def _is_hidden(file: Path) -> bool:
    return any(part.startswith((".", "_")) for part in file.parts)


def _open_zarr(path: Path) -> Any:
    zarr = require("zarr", "zarr")
    array = zarr.open_array(path, mode="r")
    if array.ndim != 2:
        raise ValueError(f"{path} has shape {array.shape}; expected a 2-D array")
    return array
