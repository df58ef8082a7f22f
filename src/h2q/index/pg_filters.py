"""Filters in the SQL of PostgreSQL: identifiers are quoted, values are parameters.

Conditions mean what they mean to Arrow (`h2q.index.arrow_filters`). Where PostgreSQL differs, the SQL says so: it takes
not-a-number for the largest number and equal to itself, and folds the case of few characters.
"""

from collections.abc import Mapping
from typing import Any

from h2q.errors import require
from h2q.index.arrow_filters import whole_numbers
from h2q.index.filters import And, Column, Comparison, Condition, IsIn, IsNull, Like, Not, Or, Value, family_of
from h2q.index.patterns import to_regex
from h2q.index.plain import (
    BOOLEAN,
    BYTES,
    DECIMAL,
    FLOAT,
    INTEGER,
    TEXT,
    PlainColumn,
    nanoseconds,
    plain_value,
)

__all__ = ["TYPES", "fits_postgresql", "quoted", "refuse_nul", "to_sql"]

TYPES = {
    BOOLEAN: "boolean", INTEGER: "bigint", FLOAT: "double precision", TEXT: 'text collate "C"', DECIMAL: "numeric",
    BYTES: "bytea",
}  # fmt: skip
_MAX_NAME = 63  # bytes
_SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")


def fits_postgresql(name: str) -> bool:
    """Return whether PostgreSQL can have a column of this name; no ``%``, the mark of parameters."""
    return 0 < len(name.encode()) <= _MAX_NAME and name not in _SYSTEM_COLUMNS and not {"\0", "%"} & set(name)


def quoted(name: str) -> str:
    """Return a name as an identifier of SQL."""
    identifier: str = require("psycopg.sql", "postgresql").Identifier(name).as_string()
    return identifier


def refuse_nul(text: str, name: str) -> str:
    """Return a text, or say that PostgreSQL cannot hold it."""
    if "\0" in text:
        raise ValueError(f"{name} has {text!r}, whose character NUL the texts of PostgreSQL cannot hold: leave it out")
    return text


def to_sql(condition: Condition, columns: Mapping[str, PlainColumn]) -> tuple[str, list[Any]]:
    """Return a condition as SQL, true, false or null as Arrow has it, and its parameters.

    Parameters
    ----------
    condition : Condition
        What `h2q.index.filters.parse_filter` returned.
    columns : mapping of str to PlainColumn
        Metadata columns by name.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from h2q.index.filters import parse_filter
    >>> from h2q.index.plain import plain_columns
    >>> schema = pa.schema({"year": pa.int64(), "label": pa.string()})
    >>> columns = plain_columns(schema, [], fits_postgresql)
    >>> to_sql(parse_filter("year >= 2020 and label = 'it''s'", schema), columns)
    ('("year" >= %s::bigint and "label" = %s::text)', [2020, "it's"])
    """
    translator = _Translator(columns)
    return translator.condition(condition), translator.parameters


class _Translator:
    """Collects parameters in the order in which the text names them."""

    def __init__(self, columns: Mapping[str, PlainColumn]) -> None:
        self._columns = columns
        self.parameters: list[Any] = []

    def condition(self, node: Condition) -> str:
        match node:
            case And(left, right):
                return f"({self.condition(left)} and {self.condition(right)})"
            case Or(left, right):
                return f"({self.condition(left)} or {self.condition(right)})"
            case Not(inner):
                return f"(not {self.condition(inner)})"
            case IsNull(column):
                return f"({quoted(self._columns[column.name].stored)} is null)"
            case Like(column, pattern, ignore_case):
                return self._like(column, pattern, ignore_case)
            case IsIn(column, values):
                return self._is_in(self._columns[column.name], values)
            case Comparison(column, operator, Column() as other):
                return self._compare_columns(self._columns[column.name], operator, self._columns[other.name])
            case Comparison(column, operator, value):
                return self._compare(self._columns[column.name], operator, value)

    def _like(self, column: Column, pattern: str, ignore_case: bool) -> str:
        operator, pattern = ("~", to_regex(pattern, ignore_case=True)) if ignore_case else ("like", pattern)
        return f"{quoted(self._columns[column.name].stored)} {operator} {self._parameter(pattern, 'text')}"

    def _compare(self, column: PlainColumn, operator: str, value: Value) -> str:
        left, value = _operand(column), plain_value(value, column)
        text = f"{left} {operator} {self._parameter(value, _type_of(value))}"
        return f"({text} and {left} <> 'NaN')" if column.kind == FLOAT and operator in (">", ">=") else text

    def _compare_columns(self, column: PlainColumn, operator: str, other: PlainColumn) -> str:
        left, right = _operand(column), _operand(other)
        if family_of(column.value_type) == "time" and column.value_type != other.value_type:
            left, right = f"{left}::numeric * {nanoseconds(column)}", f"{right}::numeric * {nanoseconds(other)}"
        unordered = [f"{_operand(each)} = 'NaN'" for each in (column, other) if each.kind == FLOAT]
        if not unordered:
            return f"{left} {operator} {right}"
        return (
            f"(case when {left} is null or {right} is null then null when {' or '.join(unordered)} "
            f"then {'true' if operator == '<>' else 'false'} else {left} {operator} {right} end)"
        )

    def _is_in(self, column: PlainColumn, values: tuple[Value, ...]) -> str:
        items: list[Any] = [plain_value(value, column) for value in values]
        if column.kind == DECIMAL and _operand(column).endswith("precision"):
            items, kind = [float(value) for value in items], TYPES[FLOAT]
        elif column.kind == TEXT:
            items, kind = [refuse_nul(value, "where") for value in items], "text"
        else:
            kind = TYPES[column.kind]
        if family_of(column.value_type) == "number" and kind != TYPES[FLOAT]:
            items = whole_numbers(items, column.value_type)
        self.parameters.append(items)
        return f"{_operand(column)} = any(%s::{kind}[])"

    def _parameter(self, value: Value, kind: str) -> str:
        self.parameters.append(refuse_nul(value, "where") if isinstance(value, str) else value)
        return f"%s::{kind}"


def _operand(column: PlainColumn) -> str:
    """Return a column as it is compared: decimals in double precision."""
    name = quoted(column.stored)
    return f"{name}::double precision" if column.kind == DECIMAL and str(column.value_type) != "uint64" else name


def _type_of(value: Value) -> str:
    if isinstance(value, bool):
        return TYPES[BOOLEAN]
    return {int: TYPES[INTEGER], float: TYPES[FLOAT], str: "text"}[type(value)]
