"""Metadata as people give them: anything that becomes a table of Arrow, checked against the columns of the index."""

from collections.abc import Mapping, Sequence
from typing import Any

from h2q.errors import describe
from h2q.index.filters import family_of
from h2q.index.tables import ID

__all__ = ["RESERVED", "as_table", "check_columns", "conform", "describe_schema"]

RESERVED = (ID, "query", "rank", "distance")  # columns of results


def as_table(metadata: Any, n: int) -> Any:
    """Return metadata as a `pyarrow.Table` of `n` rows, or say what is wrong with them.

    Parameters
    ----------
    metadata : pyarrow.Table, DataFrame, mapping of columns, or list of mappings
        A row for each item.
    n : int
        Number of items.

    Raises
    ------
    TypeError, ValueError
        If they are none of these, have another number of rows, or a column has no single type, no name of its own, or
        the name of a column of results (id, query, rank, distance).

    Examples
    --------
    >>> as_table([{"year": 2020}, {"year": 2021, "label": "cat"}], 2).to_pydict()
    {'year': [2020, 2021], 'label': [None, 'cat']}
    """
    import pyarrow as pa

    try:
        table = _convert(metadata)
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(f"metadata cannot become a table of Arrow: {str(error).splitlines()[0]}") from error
    names = table.column_names
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metadata has two columns {name}; give each a name of its own")
        if name in RESERVED:
            raise ValueError(f"metadata has a column {name}, which is a column of results: give it another name")
    if not names:
        raise ValueError("metadata has no columns; leave it out")
    if table.num_rows != n:
        raise ValueError(f"metadata must have {n} rows, one for each item; got {table.num_rows}")
    return table


def _convert(metadata: Any) -> Any:
    import pyarrow as pa

    if isinstance(metadata, pa.Table):
        return metadata
    if isinstance(metadata, pa.RecordBatch):
        return pa.Table.from_batches([metadata])
    if isinstance(metadata, Mapping):
        return _from_columns(metadata)
    if isinstance(metadata, (list, tuple)) and all(isinstance(row, Mapping) for row in metadata):
        names = dict.fromkeys(name for row in metadata for name in row)
        return _from_columns({name: [row.get(name) for row in metadata] for name in names})
    if type(metadata).__module__.startswith("pandas") and hasattr(metadata, "columns"):
        return pa.Table.from_pandas(metadata, preserve_index=False)
    if hasattr(metadata, "to_arrow"):  # polars
        return pa.table(metadata.to_arrow())
    if hasattr(metadata, "__arrow_c_stream__"):
        return pa.table(metadata)
    raise TypeError(
        "metadata must be a pyarrow.Table, a DataFrame, a mapping of columns, or a list of mappings; got "
        f"{describe(metadata)}"
    )


def _from_columns(columns: Mapping[Any, Any]) -> Any:
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        if not isinstance(name, str):
            raise TypeError(f"metadata must have columns named by strings; got {describe(name)}")
        try:
            arrays[name] = values if isinstance(values, pa.ChunkedArray) else pa.array(values)
        except (pa.ArrowException, TypeError, OverflowError) as error:
            raise ValueError(f"metadata column {name} has no single type: {str(error).splitlines()[0]}") from error
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"metadata columns have different lengths: {lengths}")
    return pa.table(arrays)


def conform(table: Any, schema: Any | None) -> Any:
    """Return a table with the columns of a schema, or with types that can be stored where there is no schema yet.

    Columns that are missing are null. Texts may be of any of Arrow's text types, timestamps of any unit without loss.

    Raises
    ------
    ValueError
        If the table has a column that the schema has not.
    TypeError
        If a column has another type; the message names it.
    """
    import pyarrow as pa

    if schema is None:
        # Views have no kernels that take rows, and a column of nulls could never hold anything.
        null = [field.name for field in table.schema if pa.types.is_null(field.type)]
        if null:
            raise ValueError(
                f"metadata column {null[0]} is null in all rows, so that its type is unknown: give a pyarrow.Table "
                "with types, or leave it out"
            )
        views = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
        schema = pa.schema([(field.name, views.get(field.type, field.type)) for field in table.schema])
    unknown = [name for name in table.column_names if name not in schema.names]
    if unknown:
        raise ValueError(
            f"metadata has the column {unknown[0]}, which the index does not have; its columns, which the first "
            f"metadata decided, are: {', '.join(schema.names)}"
        )
    arrays = [
        _as_type(field, table[field.name])
        if field.name in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _as_type(field: Any, column: Any) -> Any:
    import pyarrow as pa

    if column.type == field.type:
        return column
    kinds = (column.type, field.type)
    are_times = all(pa.types.is_timestamp(kind) for kind in kinds) and column.type.tz == field.type.tz
    if pa.types.is_null(column.type) or all(map(_is_text, kinds)) or are_times:
        try:
            if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(column.type):
                column = column.dictionary_encode()
            return column.cast(field.type)
        except pa.ArrowInvalid as error:
            raise TypeError(f"metadata column {field.name} does not fit {field.type}: {error}") from error
    raise TypeError(f"metadata column {field.name} is {column.type}, and in the index {field.type}: convert it")


def _is_text(kind: Any) -> bool:
    return family_of(getattr(kind, "value_type", kind)) == "text"


def describe_schema(schema: Any) -> dict[str, str]:
    """Return the names of metadata columns with their types, as text; none where there is no schema."""
    return {field.name: str(field.type) for field in schema or ()}


def check_columns(columns: Sequence[str] | None, schema: Any) -> list[str]:
    """Return the names of metadata columns, all by default, or say which does not exist.

    Raises
    ------
    TypeError, ValueError
        If `columns` is no sequence of strings, or a column does not exist.
    """
    names = [] if schema is None else list(schema.names)
    if columns is None:
        return names
    if isinstance(columns, str) or not all(isinstance(name, str) for name in columns):
        raise TypeError(f"columns must be a list of names, such as ['year']; got {describe(columns)}")
    unknown = [name for name in columns if name not in names]
    if unknown:
        raise ValueError(
            f"columns names {unknown[0]}, which does not exist; the metadata columns are: {', '.join(names) or 'none'}"
        )
    return list(dict.fromkeys(columns))
