"""Tables of a segment: string ids and metadata as columns of Arrow, in memory or mapped from a file."""

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.files.checksums import block_bytes
from h2q.index.arrow_filters import matching_rows
from h2q.index.columns import block_checksums

__all__ = [
    "ID", "ItemTable", "MappedTable", "complete", "decode_schema", "encode_schema", "encode_table", "equal_rows",
    "item_table", "join_tables",
]  # fmt: skip

ID = "id"  # the column of string ids in a segment's table
_KEPT_MASKS = 4
_BATCH_ROWS = 1 << 16  # a damaged block of a file spoils one batch


class ItemTable:
    """Columns of any Arrow type with a row for each item of a segment: string ids, and metadata.

    Parameters
    ----------
    arrow : pyarrow.Table
        The columns.
    """

    def __init__(self, arrow: Any) -> None:
        self._arrow = arrow
        self._masks: dict[Any, NDArray[np.bool_]] = {}

    @property
    def arrow(self) -> Any:
        """The `pyarrow.Table`."""
        return self._arrow

    def take(self, rows: NDArray[np.int64], names: Sequence[str] | None = None) -> "ItemTable":
        """Return some rows, of all columns or of those of some names."""
        import pyarrow as pa

        table = self.arrow
        if names is not None:
            table = table.select([name for name in table.column_names if name in names])
        if not table.num_columns:  # items without metadata, of which only the ids are in the table
            return ItemTable(table)
        # Batch by batch: Arrow would join all batches of a column of strings to take a few rows.
        batches = table.to_batches()
        if len(batches) == 1:
            return ItemTable(pa.Table.from_batches([batches[0].take(pa.array(rows))]))
        ends = np.cumsum([batch.num_rows for batch in batches], dtype=np.int64)
        owners = np.searchsorted(ends, rows, side="right")
        places, parts = [np.zeros(0, np.int64)], [table.schema.empty_table()]
        for owner in np.unique(owners).tolist():
            here = np.flatnonzero(owners == owner)
            first = int(ends[owner]) - batches[owner].num_rows
            parts.append(pa.Table.from_batches([batches[owner].take(pa.array(rows[here] - first))]))
            places.append(here)
        order = np.argsort(np.concatenate(places), kind="stable")
        taken = pa.concat_tables(parts).combine_chunks()
        return ItemTable(taken if len(parts) == 2 else taken.take(order))

    def matching(self, condition: Any, schema: Any) -> NDArray[np.bool_]:
        """Return which rows fulfil a condition on columns of a schema; those of the last conditions are kept."""
        try:
            known = self._masks.get(condition)
        except TypeError:  # an expression of Arrow, which cannot be told from another
            return matching_rows(complete(self, self.arrow.num_rows, schema), condition)
        if known is None:
            known = matching_rows(complete(self, self.arrow.num_rows, schema), condition)
            masks = {**self._masks, condition: known}
            self._masks = dict(list(masks.items())[-_KEPT_MASKS:])
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        return ItemTable, (self.arrow,)


class MappedTable(ItemTable):
    """A table that is mapped from a file, compared with its checksums when it is first used.

    Parameters
    ----------
    path : Path
        The file, for errors.
    words : ndarray of uint64
        Memory map of what `encode_table` returned.
    checksums : ndarray of uint64
        Checksums of its blocks.
    n_rows : int
        Number of rows that it must have.
    """

    def __init__(self, path: Path, words: NDArray[np.uint64], checksums: NDArray[np.uint64], n_rows: int) -> None:
        super().__init__(None)
        self._path, self._words, self._checksums, self._n_rows = path, words, checksums, n_rows

    @property
    def arrow(self) -> Any:
        """The `pyarrow.Table`, whose columns are in the file."""
        if self._arrow is None:
            self._arrow = self._read()
        return self._arrow

    def _read(self) -> Any:
        table, sound = self.salvage()
        if sound.all():
            return table
        raise FileFormatError(
            f"{self._path} is damaged: {int((~sound).sum()):,} rows of its metadata do not match their checksum; "
            f"restore it from a copy, or see what can be saved: h2q check {self._path.parent}"
        )

    def salvage(self) -> tuple[Any, NDArray[np.bool_]]:
        """Return the rows in batches that match their checksums, and which rows of the segment these are."""
        import pyarrow as pa

        block = block_bytes(self._words.shape, self._words.itemsize)
        damaged = block * np.flatnonzero(block_checksums(self._words) != self._checksums)
        sound = np.zeros(self._n_rows, np.bool_)
        batches: list[Any] = []
        try:
            for start, end, first_row, batch in _read_batches(self._words):
                last = first_row + batch.num_rows == self._n_rows
                if not ((damaged + block > start) & (damaged < (self._words.nbytes if last else end))).any():
                    batch.validate()
                    sound[first_row : first_row + batch.num_rows] = True
                    batches.append(batch)
                elif any(pa.types.is_dictionary(field.type) for field in batch.schema):
                    break  # the batches after it may need its dictionaries
        except (pa.ArrowException, OSError):
            pass  # what follows cannot be read
        table = pa.Table.from_batches(batches) if batches else pa.table({})
        if table.num_rows != np.count_nonzero(sound):
            return pa.table({}), np.zeros(self._n_rows, np.bool_)
        return table, sound


def _read_batches(words: NDArray[np.uint64]) -> Iterator[tuple[int, int, int, Any]]:
    """Yield the first byte of each batch of a stream, the first after it, its first row, and the batch."""
    import pyarrow as pa

    source = pa.BufferReader(pa.py_buffer(words))
    reader, start, row = pa.ipc.open_stream(source), 0, 0
    for batch in reader:
        end = source.tell()
        yield start, end, row, batch
        start, row = end, row + batch.num_rows


def encode_table(table: ItemTable) -> NDArray[np.uint64]:
    """Return a table as a stream of Arrow, in words of eight bytes, so that it is aligned in a file."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    arrow = table.arrow.unify_dictionaries().combine_chunks()
    with pa.ipc.new_stream(sink, arrow.schema) as stream:
        stream.write_table(arrow, max_chunksize=_BATCH_ROWS)
    content = np.frombuffer(sink.getvalue(), np.uint8)
    return np.pad(content, (0, -len(content) % 8)).view(np.uint64)


def encode_schema(schema: Any) -> str:
    """Return a schema as text: what Arrow serializes, in base64."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def decode_schema(text: str) -> Any:
    """Return the schema that `encode_schema` wrote.

    Raises
    ------
    ValueError
        If the text is none.
    """
    import pyarrow as pa

    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text, validate=True)))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error


def item_table(strings: NDArray[Any] | None, metadata: Any, order: NDArray[np.int64]) -> ItemTable | None:
    """Return string ids and metadata of items, in an order, as far as they have them."""
    import pyarrow as pa

    table = metadata
    if strings is not None:
        ids = pa.chunked_array([pa.array(strings, pa.string())])
        table = pa.table({ID: ids}) if metadata is None else metadata.add_column(0, ID, ids)
    return None if table is None else ItemTable(table.take(order))


def join_tables(tables: Sequence[ItemTable | None], lengths: Sequence[int]) -> ItemTable | None:
    """Return the rows of several tables, one after another; None if there are none. Missing columns are null."""
    import pyarrow as pa

    schemas = [table.arrow.schema for table in tables if table is not None]
    if not schemas:
        return None
    schema = max(schemas, key=len)
    parts = [complete(table, length, schema) for table, length in zip(tables, lengths, strict=True)]
    return ItemTable(pa.concat_tables(parts))


def equal_rows(left: Any, right: Any) -> NDArray[np.bool_]:
    """Return in which rows two tables of one schema are equal; null equals null, and not-a-number itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    equal = np.ones(left.num_rows, np.bool_)
    for a, b in zip(left.columns, right.columns, strict=True):
        try:
            same = pc.or_(pc.fill_null(pc.equal(a, b), False), pc.and_(pc.is_null(a), pc.is_null(b)))
            if pa.types.is_floating(a.type):
                same = pc.or_(same, pc.fill_null(pc.and_(pc.is_nan(a), pc.is_nan(b)), False))
            equal &= np.asarray(same.to_numpy())
        except pa.ArrowNotImplementedError:  # lists and the like
            equal &= [x == y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True)]
    return equal


def complete(table: ItemTable | None, n_rows: int, schema: Any) -> Any:
    """Return the columns of a schema as a `pyarrow.Table`; null where a table was written before there were any."""
    import pyarrow as pa

    present = [] if table is None else table.arrow.column_names
    arrays = [
        table.arrow[field.name]
        if table is not None and field.name in present
        else pa.chunked_array([pa.nulls(n_rows, field.type)])
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
