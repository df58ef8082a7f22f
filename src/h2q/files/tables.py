"""Read tables from Parquet, CSV, files of one JSON object per line, and files of one text per line."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.files.parquet import read_columns

__all__ = ["TABLE_SUFFIXES", "FileRows", "read_rows"]


@dataclass(frozen=True, eq=False)
class FileRows:
    """The rows of a file that could be read.

    Attributes
    ----------
    table : pyarrow.Table
        The rows.
    numbers : ndarray of int64, shape (n,)
        Their numbers in the file, from 0.
    faults : mapping of int to str
        The other rows by their numbers, each with the reason.
    """

    table: Any
    numbers: NDArray[np.int64]
    faults: Mapping[int, str]


def read_rows(path: Path) -> FileRows:
    """Read a table; skip damaged rows of a text file, and return their numbers and faults.

    Parameters
    ----------
    path : Path
        A file named .parquet, .csv (with a head), .jsonl (an object a line) or .txt (a line is a row of the column
        ``text``).

    Raises
    ------
    ValueError
        If the file has another name.
    FileFormatError
        If it is damaged as a whole.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "poems.jsonl")
    >>> _ = path.write_text('{"text": "roses", "year": 1913}\\n{"text": \\n{"text": "daffodils", "year": 1807}\\n')
    >>> rows = read_rows(path)
    >>> rows.table.to_pylist()
    [{'text': 'roses', 'year': 1913}, {'text': 'daffodils', 'year': 1807}]
    >>> rows.numbers, rows.faults
    (array([0, 2]), {1: 'no JSON object'})
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ValueError(f"{path} must be named {', '.join(_READERS)}; got {path.suffix or 'no suffix'}")
    return read(path)


def _read_parquet(path: Path) -> FileRows:
    table = read_columns(path)
    return FileRows(table, np.arange(table.num_rows), {})


def _read_csv(path: Path) -> FileRows:
    import pyarrow as pa
    from pyarrow import csv

    faults: dict[int, str] = {}

    def note(row: Any) -> str:
        faults[row.number - 2] = f"{row.actual_columns} cells, expected {row.expected_columns}"  # the head is row 1
        return "skip"

    parsing = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
    try:
        # Rows are numbered on one thread only.
        table = csv.read_csv(path, csv.ReadOptions(use_threads=False), parsing)
    except (pa.ArrowException, OSError) as error:
        raise FileFormatError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}") from error
    numbers = np.arange(table.num_rows + len(faults))
    return FileRows(table, np.delete(numbers, list(faults)), faults)


def _read_lines(path: Path, parse: Callable[[str], Any]) -> FileRows:
    """Read one row a line."""
    import pyarrow as pa

    records, numbers, faults = [], [], dict[int, str]()
    with path.open("rb") as file:
        for number, line in enumerate(file):
            try:
                records.append(parse(line.rstrip(b"\r\n").decode("utf-8-sig" if number == 0 else "utf-8")))
                numbers.append(number)
            except UnicodeDecodeError:
                faults[number] = "not UTF-8"
            except ValueError as error:
                faults[number] = str(error)
    names = dict.fromkeys(name for record in records for name in record)
    try:
        table = pa.table({name: pa.array([record.get(name) for record in records]) for name in names})
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise FileFormatError(f"{path} has a column of no single type: {str(error).splitlines()[0]}") from error
    return FileRows(table, np.array(numbers, np.int64), faults)


def _parse_object(line: str) -> dict[str, Any]:
    if not line.strip():
        raise ValueError("empty")
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        return record
    raise ValueError("no JSON object")


_READERS: Mapping[str, Callable[[Path], FileRows]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".jsonl": lambda path: _read_lines(path, _parse_object),
    ".txt": lambda path: _read_lines(path, lambda line: {"text": line}),
}
TABLE_SUFFIXES = tuple(_READERS)
