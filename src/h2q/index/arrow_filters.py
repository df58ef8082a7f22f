"""Filters as Arrow evaluates them, with the three-valued logic of SQL."""

import math
from collections.abc import Sequence
from decimal import Decimal
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index.filters import (
    And,
    Column,
    Comparison,
    Condition,
    IsIn,
    IsNull,
    Like,
    Not,
    Or,
    Value,
    family_of,
    is_type,
)
from h2q.index.patterns import to_regex

__all__ = ["matching_rows", "to_arrow", "whole_numbers"]


def matching_rows(table: Any, condition: Any) -> NDArray[np.bool_]:
    """Return which rows of a table fulfil a condition; where it is unknown, because of a null, they do not.

    Parameters
    ----------
    table : pyarrow.Table
        The columns.
    condition : Condition or pyarrow.compute.Expression
        See `h2q.index.filters.check_filter`.

    Raises
    ------
    TypeError, ValueError
        If an expression does not fit the columns, or is none of true and false.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from h2q.index.filters import parse_filter
    >>> table = pa.table({"year": [2019, 2024, None]})
    >>> matching_rows(table, parse_filter("year > 2020", table.schema))
    array([False,  True, False])
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow.acero import Declaration, ProjectNodeOptions, TableSourceNodeOptions

    given = isinstance(condition, pc.Expression)
    expression = condition if given else to_arrow(condition, table.schema)
    steps = [
        Declaration("table_source", TableSourceNodeOptions(table)),
        Declaration("project", ProjectNodeOptions([expression], ["matches"])),
    ]
    try:
        # On one thread the batches keep their order.
        matches = Declaration.from_sequence(steps).to_table(use_threads=False)["matches"]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError) as error:
        columns = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
        raise ValueError(f"where does not fit the columns {columns}: {str(error).splitlines()[0]}") from error
    if matches.type != pa.bool_():
        raise TypeError(f"where must be true or false for each item; the expression gives {matches.type}")
    return np.asarray(pc.fill_null(matches, False).to_numpy())


def to_arrow(condition: Condition, schema: Any) -> Any:
    """Return a condition as a `pyarrow.compute.Expression`.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from h2q.index.filters import parse_filter
    >>> schema = pa.schema({"year": pa.int64()})
    >>> to_arrow(parse_filter("not year < 2020", schema), schema)
    <pyarrow.compute.Expression invert((year < 2020))>
    """
    import pyarrow.compute as pc

    match condition:
        case And(left, right):
            return to_arrow(left, schema) & to_arrow(right, schema)
        case Or(left, right):
            return to_arrow(left, schema) | to_arrow(right, schema)
        case Not(inner):
            return ~to_arrow(inner, schema)
        case IsNull(column):
            return _field(column, schema).is_null()
        case Like(column, pattern, ignore_case):
            field = _field(column, schema)
            if "\\" not in pattern:
                return pc.match_like(field, pattern, ignore_case=ignore_case)
            # Arrow takes a backslash for itself in some patterns.
            return pc.match_substring_regex(field, f"(?s){to_regex(pattern)}", ignore_case=ignore_case)
        case IsIn(column, values):
            return _is_in(column, values, schema)
        case Comparison(column, operator, value):
            return _compared(column, operator, value, schema)


def _compared(column: Column, operator: str, value: Value | Column, schema: Any) -> Any:
    import pyarrow as pa

    left = _field(column, schema)
    right = _field(value, schema) if isinstance(value, Column) else _scalar(value, column, schema)
    kinds = [_kind(each, schema) for each in (column, value) if isinstance(each, Column)]
    if isinstance(value, float) or any(is_type(each, "floating") or is_type(each, "decimal") for each in kinds):
        # Whole numbers beyond 2**53 are rounded, which is an error otherwise.
        left, right = (each.cast(pa.float64(), safe=False) for each in (left, right))
    return {
        "=": left.__eq__, "<>": left.__ne__, "<": left.__lt__, "<=": left.__le__, ">": left.__gt__, ">=": left.__ge__,
    }[operator](right)  # fmt: skip


def _kind(column: Column, schema: Any) -> Any:
    """Return the type of a column's values, which a dictionary stands for."""
    kind = schema.field(column.name).type
    return kind.value_type if is_type(kind, "dictionary") else kind


def _field(column: Column, schema: Any) -> Any:
    """Return a column as it is compared: what a dictionary stands for; decimals and all floats in double precision."""
    import pyarrow as pa
    import pyarrow.compute as pc

    field, kind = pc.field(column.name), _kind(column, schema)
    if is_type(schema.field(column.name).type, "dictionary"):
        field = field.cast(kind)
    if is_type(kind, "decimal") or is_type(kind, "floating"):
        return field if kind == pa.float64() else field.cast(pa.float64())
    # Compared with signed numbers, which would otherwise be the type of both.
    return field.cast(pa.decimal128(20, 0)) if kind == pa.uint64() else field


def _scalar(value: Value, column: Column, schema: Any) -> Any:
    import pyarrow as pa

    kind = _kind(column, schema)
    if kind == pa.uint64() and isinstance(value, int):
        return pa.scalar(Decimal(value), pa.decimal128(20, 0))
    return pa.scalar(value, kind) if family_of(kind) == "time" else pa.scalar(value)


def whole_numbers(values: Sequence[Value], kind: Any) -> list[int]:
    """Return those of some numbers that an integer type can hold.

    Examples
    --------
    >>> import pyarrow as pa
    >>> whole_numbers([1, 2.0, 2.5, 300, -1], pa.uint8())
    [1, 2]
    """
    least = -(2 ** (kind.bit_width - 1)) if is_type(kind, "signed_integer") else 0
    whole = [int(value) for value in values if math.isfinite(value) and value == int(value)]
    return [value for value in whole if least <= value < least + 2**kind.bit_width]


def _is_in(column: Column, values: Sequence[Value], schema: Any) -> Any:
    """Return whether a column holds one of some values; unknown where it is null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    field, kind = _field(column, schema), _kind(column, schema)
    if is_type(kind, "integer"):
        field = field.cast(kind)
        value_set = pa.array(whole_numbers(values, kind), kind)
    elif is_type(kind, "floating") or is_type(kind, "decimal"):
        numbers = [float(value) for value in values]
        value_set = pa.array([*numbers, *(-value for value in numbers if value == 0)], pa.float64())
    elif family_of(kind) == "time":
        value_set = pa.array(values, kind)
    elif family_of(kind) == "text":
        value_set = pa.array(values, pa.string())
    else:
        return reduce(lambda left, right: left | right, [field == pa.scalar(value) for value in values])
    return pc.if_else(field.is_valid(), field.isin(value_set), pa.scalar(None, pa.bool_()))
