"""Metadata in servers: convert values of every Arrow type to a few kinds of plain values, and back without loss."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from h2q.index.filters import family_of, is_type

__all__ = [
    "BOOLEAN", "BYTES", "DECIMAL", "FLOAT", "INTEGER", "TEXT", "PlainColumn", "from_plain", "nanoseconds",
    "plain_columns", "plain_value", "to_plain",
]  # fmt: skip

BOOLEAN, INTEGER, FLOAT, TEXT, DECIMAL, BYTES = "boolean", "integer", "float", "text", "decimal", "bytes"


@dataclass(frozen=True)
class PlainColumn:
    """A metadata column in a server.

    Attributes
    ----------
    name : str
        Name of the column in the metadata.
    stored : str
        Name of the column in the server: the same, if the server allows it.
    type : pyarrow.DataType
        Its type.
    """

    name: str
    stored: str
    type: Any

    @property
    def value_type(self) -> Any:
        """Type of the values; of a dictionary, the type of its entries."""
        return self.type.value_type if is_type(self.type, "dictionary") else self.type

    @property
    def kind(self) -> str:
        """Kind of the plain values: dates and times are integers, types without a kind of their own are bytes."""
        kind = self.value_type
        if is_type(kind, "boolean"):
            return BOOLEAN
        if is_type(kind, "uint64") or is_type(kind, "decimal"):
            return DECIMAL
        if is_type(kind, "integer") or (is_type(kind, "temporal") and not is_type(kind, "interval")):
            return INTEGER
        if is_type(kind, "floating"):
            return FLOAT
        return TEXT if family_of(kind) == "text" else BYTES


def plain_columns(schema: Any, reserved: Collection[str], fits: Callable[[str], bool]) -> dict[str, PlainColumn]:
    """Return the columns of a schema by name.

    Parameters
    ----------
    schema : pyarrow.Schema or None
        Metadata columns; None: there are none.
    reserved : collection of str
        Names that the server's own columns have.
    fits : callable
        Whether the server allows a name. A column with another name is stored as ``column_`` and its position.

    Examples
    --------
    >>> import pyarrow as pa
    >>> columns = plain_columns(pa.schema({"year": pa.int64(), "odd name": pa.date32()}), ["id"], str.isidentifier)
    >>> [(column.stored, column.kind) for column in columns.values()]
    [('year', 'integer'), ('column_1', 'integer')]
    """
    columns: dict[str, PlainColumn] = {}
    used = {*reserved, *(field.name for field in schema or ())}
    for place, field in enumerate(schema or ()):
        stored = field.name
        if stored in reserved or not fits(stored):
            stored = f"column_{place}"
            while stored in used:
                stored += "_"
            used.add(stored)
        columns[field.name] = PlainColumn(field.name, stored, field.type)
    return columns


def to_plain(array: Any, column: PlainColumn) -> list[Any]:
    """Return the values of a column of Arrow as bool, int, float, str, Decimal or bytes; None for null.

    Examples
    --------
    >>> import pyarrow as pa
    >>> days = PlainColumn("day", "day", pa.date32())
    >>> to_plain(pa.array(["1970-01-02", None]).cast(pa.date32()), days)
    [1, None]
    """
    import pyarrow as pa

    if _is_opaque(column):
        return [_pack(array.slice(row, 1), column) if array[row].is_valid else None for row in range(len(array))]
    if is_type(column.type, "dictionary"):
        array = array.cast(column.value_type)
    if column.kind == INTEGER:
        return list(_as_integers(array, column.value_type).to_pylist())
    if column.kind == FLOAT:
        return list(array.cast(pa.float64()).to_pylist())
    if column.kind == DECIMAL:
        return [None if value is None else Decimal(value) for value in array.to_pylist()]
    return list(array.to_pylist())


def from_plain(values: Sequence[Any], column: PlainColumn) -> Any:
    """Return a `pyarrow.ChunkedArray` of the column's type from plain values; the reverse of `to_plain`."""
    import pyarrow as pa

    kind = column.value_type
    if _is_opaque(column):
        parts = [pa.nulls(1, column.type) if value is None else _unpack(value) for value in values]
        return pa.chunked_array(parts, column.type)
    if column.kind == INTEGER:
        array = pa.array(values, pa.int64())
        array = array.cast(pa.int32()).cast(kind) if is_type(kind, "temporal") and kind.bit_width == 32 else array
        array = array.cast(kind)
    elif column.kind == FLOAT:
        array = pa.array(values, pa.float64()).cast(kind, safe=False)
    elif kind == pa.uint64():
        array = pa.array([None if value is None else int(value) for value in values], kind)
    else:
        array = pa.array(values, kind)
    array = pa.chunked_array([array])
    return array.dictionary_encode().cast(column.type) if is_type(column.type, "dictionary") else array


def plain_value(value: Any, column: PlainColumn) -> Any:
    """Convert a value of a filter, which is not null, to a plain value of the column."""
    import pyarrow as pa

    if family_of(column.value_type) == "time":
        return _as_integers(pa.array([value], column.value_type), column.value_type)[0].as_py()
    return float(value) if column.kind == FLOAT else value


def nanoseconds(column: PlainColumn) -> int:
    """Return the unit of a column of dates or times, in nanoseconds."""
    kind = column.value_type
    if is_type(kind, "date32"):
        return 86_400 * 10**9
    unit = "ms" if is_type(kind, "date64") else kind.unit
    return {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]


def _as_integers(array: Any, kind: Any) -> Any:
    import pyarrow as pa

    if is_type(kind, "temporal") and kind.bit_width == 32:
        array = array.cast(pa.int32())
    return array.cast(pa.int64())


def _is_opaque(column: PlainColumn) -> bool:
    """Return whether values are stored as serialized Arrow: lists, structures and similar types."""
    binary = ("binary", "large_binary", "fixed_size_binary")
    return column.kind == BYTES and not any(is_type(column.value_type, each) for each in binary)


def _pack(row: Any, column: PlainColumn) -> bytes:
    """Serialize one value as an Arrow stream."""
    import pyarrow as pa

    table = pa.table({"value": row}, schema=pa.schema({"value": column.type}))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _unpack(content: bytes) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all()["value"].combine_chunks()
