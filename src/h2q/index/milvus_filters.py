"""Filters as boolean expressions of Milvus, on metadata in its dynamic field.

The dynamic field is JSON. A null is a missing key, and every comparison with it is false. Therefore ``not`` is never
translated as such: there is one expression for "the condition holds" and another for "it does not hold". An item for
which the condition is unknown, because of a null, matches neither. Infinities and not-a-number, which JSON lacks, are
stored as texts.

Milvus 2.3 cannot evaluate patterns other than ``prefix%``, comparisons of two columns, and decimals. Such a condition
is translated to an expression that selects more items; Arrow then removes those that do not fulfil the condition.
"""

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h2q.index.arrow_filters import whole_numbers
from h2q.index.filters import And, Column, Comparison, Condition, IsIn, IsNull, Like, Not, Or, Value, family_of
from h2q.index.patterns import literal_prefix, next_text
from h2q.index.plain import BOOLEAN, FLOAT, INTEGER, TEXT, PlainColumn, plain_value

__all__ = ["Expression", "fits_milvus", "ids_in", "json_float", "to_milvus"]

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_OPPOSITES = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_EXACT = 2**53  # whole numbers below are floats of the same value; from here on, several round to one float


@dataclass(frozen=True)
class Expression:
    """An expression of Milvus.

    Attributes
    ----------
    text : str
        The expression; true for all items that fulfil the condition.
    exact : bool
        Whether it is false for all other items.
    """

    text: str
    exact: bool = True


def fits_milvus(name: str) -> bool:
    """Return whether a name can be a key of the dynamic field as it is."""
    return name.isascii() and name.isidentifier() and len(name) <= 100


def ids_in(ids: Sequence[Any]) -> str:
    """Return an expression for the items with some ids.

    Examples
    --------
    >>> ids_in(["a", 'b" or id != "'])
    'id in ["a", "b\\\\" or id != \\\\""]'
    """
    return f"id in {_literal(list(ids))}"


def to_milvus(condition: Condition, columns: Mapping[str, PlainColumn]) -> Expression:
    """Return an expression for a condition.

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
    >>> columns = plain_columns(schema, [], fits_milvus)
    >>> to_milvus(parse_filter("not (year < 2020 or label = 'cat')", schema), columns)
    Expression(text='(($meta["year"] >= 2020) and ($meta["label"] < "cat" or $meta["label"] > "cat"))', exact=True)
    >>> to_milvus(parse_filter("label like '%cat%'", schema), columns)
    Expression(text='(exists $meta["label"])', exact=False)
    """
    return _Translator(columns).expression(condition, True)


class _Translator:
    def __init__(self, columns: Mapping[str, PlainColumn]) -> None:
        self._columns = columns

    def expression(self, node: Condition, holds: bool) -> Expression:
        """Return the expression for the items of which a condition holds, or does not hold."""
        match node:
            case And(left, right) | Or(left, right):
                parts = [self.expression(left, holds), self.expression(right, holds)]
                word = "and" if isinstance(node, And) == holds else "or"
                return Expression(f"({parts[0].text} {word} {parts[1].text})", all(part.exact for part in parts))
            case Not(inner):
                return self.expression(inner, not holds)
            case IsNull(column):
                present = _present(self._columns[column.name])
                return Expression(f"(not {present})" if holds else present)
            case Comparison(column, _, Column() as other):
                return self._unknown(column, other)
            case Like(column, pattern, ignore_case):
                return self._unknown(column) if ignore_case else self._like(self._columns[column.name], pattern, holds)
            case IsIn(column, values):
                return self._is_in(self._columns[column.name], values, holds)
            case Comparison(column, name, value):
                return self._compare(self._columns[column.name], name, value, holds)

    def _unknown(self, *columns: Column) -> Expression:
        """Return an expression for the items where no column is null, of a condition that Milvus cannot evaluate."""
        parts = [_present(self._columns[column.name]) for column in columns]
        return Expression(f"({' and '.join(parts)})" if len(parts) > 1 else parts[0], exact=False)

    def _compare(self, column: PlainColumn, name: str, value: Value, holds: bool) -> Expression:
        if column.kind == BOOLEAN:
            wanted = [each for each in (False, True) if _OPERATORS[name](each, value) == holds]
            return Expression(_any_of(column, wanted))
        if column.kind == FLOAT:
            return Expression(_compare_float(column, name, float(value), holds))
        name = name if holds else _OPPOSITES[name]
        value = plain_value(value, column)
        if column.kind == INTEGER and isinstance(value, float):
            return self._compare_rounded(column, name, value)
        if column.kind == TEXT or (column.kind == INTEGER and abs(value) < 2**63):
            return Expression(_compared(column, name, value))
        return self._unknown(Column(column.name))

    def _compare_rounded(self, column: PlainColumn, name: str, value: float) -> Expression:
        """Compare whole numbers with a fraction: with the whole number next to it."""
        if abs(value) >= _EXACT:
            return self._unknown(Column(column.name))
        if name in ("=", "<>") and value != int(value):
            return Expression(_any_of(column, []) if name == "=" else _present(column))
        return Expression(_compared(column, name, math.ceil(value) if name in ("<", ">=") else math.floor(value)))

    def _is_in(self, column: PlainColumn, values: Sequence[Value], holds: bool) -> Expression:
        items = [plain_value(value, column) for value in values]
        if column.kind == FLOAT:
            wanted: list[Any] = [*items, *(-value for value in items if value == 0)]
        elif column.kind == INTEGER:
            wanted = whole_numbers(items, column.value_type) if family_of(column.value_type) == "number" else items
        elif column.kind in (TEXT, BOOLEAN):
            wanted = items
        else:
            return self._unknown(Column(column.name))
        if any(isinstance(value, int) and abs(value) >= 2**63 for value in wanted):
            return self._unknown(Column(column.name))
        text = _any_of(column, wanted)
        return Expression(text if holds else f"({_present(column)} and (not {text}))")

    def _like(self, column: PlainColumn, pattern: str, holds: bool) -> Expression:
        prefix, rest = literal_prefix(pattern)
        if not rest:
            return self._compare(column, "=", prefix, holds)
        everything, after = set(rest) == {"%"}, next_text(prefix)
        if everything and not prefix:
            return Expression(_present(column) if holds else _any_of(column, []))
        if not prefix or after is None or not (everything or holds):
            return self._unknown(Column(column.name))
        key = _key(column)
        inside, outside = (
            f"({key} {a} {_literal(prefix)} {word} {key} {b} {_literal(after)})" for a, word, b in _RANGES
        )
        return Expression(inside if holds else outside, everything)


_RANGES = ((">=", "and", "<"), ("<", "or", ">="))


def json_float(value: float) -> float | str:
    """Return a number as JSON can hold it: a text if it is infinite or not a number."""
    return value if math.isfinite(value) else str(value)


def _compare_float(column: PlainColumn, name: str, value: float, holds: bool) -> str:
    compare = _OPERATORS[name]
    special = [each for each in (math.nan, math.inf, -math.inf) if compare(each, value) == holds]
    parts = [_compared(column, name if holds else _OPPOSITES[name], value)]
    if special:
        parts.append(_any_of(column, [json_float(each) for each in special]))
    return f"({' or '.join(parts)})"


def _compared(column: PlainColumn, name: str, value: Any) -> str:
    key, literal = _key(column), _literal(value)
    if name == "<>":  # of a key that is not there, Milvus says that it differs
        return f"({key} < {literal} or {key} > {literal})"
    return f"({key} {'==' if name == '=' else name} {literal})"


def _any_of(column: PlainColumn, values: Sequence[Any]) -> str:
    """Return an expression for the items with one of some values; Milvus takes a list of one type only."""
    parts = [[value for value in values if isinstance(value, str) == text] for text in (False, True)]
    lists = [f"{_key(column)} in {_literal(part)}" for part in parts if part] or [f"{_key(column)} in []"]
    return f"({' or '.join(lists)})"


def _present(column: PlainColumn) -> str:
    return f"(exists {_key(column)})"


def _key(column: PlainColumn) -> str:
    return f'$meta["{column.stored}"]'


def _literal(value: Any) -> str:
    """Return a value as Milvus writes it, which is as JSON does."""
    return json.dumps(value, ensure_ascii=False)
