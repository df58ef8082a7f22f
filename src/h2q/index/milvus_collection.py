"""Collections of Milvus: how they are made, and what their rows hold."""

import base64
import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from numpy.typing import NDArray

from h2q.converters import to_milvus
from h2q.index.ids import INTEGER, STRING
from h2q.index.milvus_filters import fits_milvus, json_float
from h2q.index.plain import BYTES, DECIMAL, FLOAT, PlainColumn, from_plain, plain_columns, to_plain
from h2q.index.settings import ItemFormat, Settings
from h2q.index.tables import decode_schema

__all__ = [
    "INDEX_TYPES", "LONGEST_ID", "METADATA", "NEXT_ID", "format_of", "make_collection", "metadata_columns",
    "metadata_of_rows", "rows_of_items",
]  # fmt: skip

INDEX_TYPES = {"flat": "BIN_FLAT", "ivf": "BIN_IVF_FLAT"}
NEXT_ID, METADATA = "h2q.next_id", "h2q.metadata"  # properties of a collection
LONGEST_ID = 65_535  # bytes
_OWN_FIELDS = ("id", "codes", "scalars", "embeddings")


def make_collection(
    client: Any, collection: str, settings: Settings, options: dict[str, Any], wait: float, id_type: str = INTEGER
) -> None:
    """Make a collection; one that an attempt without an answer made is left."""
    from pymilvus import DataType

    if client.has_collection(collection, timeout=wait):
        return
    description = json.dumps(settings.to_json())
    schema = client.create_schema(auto_id=False, enable_dynamic_field=True, description=description)
    key = (
        {"datatype": DataType.VARCHAR, "max_length": LONGEST_ID} if id_type == STRING else {"datatype": DataType.INT64}
    )
    schema.add_field("id", is_primary=True, **key)
    schema.add_field("codes", DataType.BINARY_VECTOR, dim=8 * -(-settings.n_bits // 8))
    if settings.has_scalars:
        schema.add_field("scalars", DataType.INT16)
    if settings.keep_embeddings:
        schema.add_field("embeddings", DataType.ARRAY, element_type=DataType.FLOAT, max_capacity=settings.n_features)
    client.create_collection(collection, schema=schema, properties={NEXT_ID: "0"}, timeout=wait)
    parameters = client.prepare_index_params()
    parameters.add_index(
        "codes", index_type=INDEX_TYPES[options["index"]], metric_type="HAMMING", params={"nlist": options["lists"]}
    )
    client.create_index(collection, parameters, timeout=wait)


def format_of(described: dict[str, Any]) -> ItemFormat:
    """Return the format of a collection as Milvus describes it."""
    properties = described["properties"]
    schema = None if METADATA not in properties else decode_schema(properties[METADATA])
    if described["fields"][0]["type"].name == "VARCHAR":
        return ItemFormat(STRING, schema)
    return ItemFormat(INTEGER if int(properties.get(NEXT_ID, 0)) else None, schema)


def metadata_columns(schema: Any) -> dict[str, PlainColumn]:
    """Return the columns of a schema (None: there are none) in the dynamic field."""
    return plain_columns(schema, _OWN_FIELDS, fits_milvus)


def rows_of_items(columns: dict[str, NDArray[Any]], n_bits: int, ids: NDArray[Any], table: Any) -> list[dict[str, Any]]:
    """Return items as rows; `table` holds their metadata, if there are any."""
    values: dict[str, list[Any]] = {"id": ids.tolist(), "codes": to_milvus(columns["codes"], n_bits)}
    if "scalars" in columns:
        values["scalars"] = columns["scalars"].tolist()
    if "embeddings" in columns:
        values["embeddings"] = columns["embeddings"].tolist()
    for column in metadata_columns(None if table is None else table.schema).values():
        values[column.stored] = [_as_json(value, column) for value in to_plain(table[column.name], column)]
    rows = (zip(values, row, strict=True) for row in zip(*values.values(), strict=True))
    return [{name: value for name, value in row if value is not None} for row in rows]


def metadata_of_rows(rows: list[dict[str, Any]], schema: Any, names: Sequence[str]) -> Any:
    """Return columns of a schema as a `pyarrow.Table`, from rows with the dynamic field."""
    import pyarrow as pa

    known = metadata_columns(schema)
    columns = [known[name] for name in names]
    return pa.table({c.name: from_plain([_of_json(row.get(c.stored), c) for row in rows], c) for c in columns})


def _as_json(value: Any, column: PlainColumn) -> Any:
    """Return a plain value as JSON can hold it."""
    if value is None:
        return None
    if column.kind == FLOAT:
        return json_float(value)
    if column.kind == DECIMAL:
        return str(value)
    return base64.b64encode(value).decode() if column.kind == BYTES else value


def _of_json(value: Any, column: PlainColumn) -> Any:
    """Return the plain value that `_as_json` wrote."""
    if value is None:
        return None
    if column.kind in (FLOAT, DECIMAL):
        return float(value) if column.kind == FLOAT else Decimal(value)
    return base64.b64decode(value) if column.kind == BYTES else value
