"""Filters on metadata: an SQL-like condition, checked against the columns.

sqlglot reads the text. Only what `Condition` lists is accepted, so that every engine can translate all of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from h2q.errors import describe, require

__all__ = [
    "And", "Column", "Comparison", "Condition", "IsIn", "IsNull", "Like", "Not", "Or", "check_filter",
    "family_of", "is_type", "parse_filter",
]  # fmt: skip

Value: TypeAlias = Any  # bool, int, float, str, or what the column's type has in Python: date, datetime, ...


@dataclass(frozen=True)
class Column:
    """A column, by its name."""

    name: str


@dataclass(frozen=True)
class Comparison:
    """``column operator value``, where the operator is ``=``, ``<>``, ``<``, ``<=``, ``>`` or ``>=``."""

    column: Column
    operator: str
    value: Value | Column


@dataclass(frozen=True)
class IsIn:
    """``column in (values)``; unknown (as null is) where the column is null."""

    column: Column
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Like:
    """``column like pattern``: ``%`` stands for any text, ``_`` for one character, ``\\%`` for ``%`` itself."""

    column: Column
    pattern: str
    ignore_case: bool


@dataclass(frozen=True)
class IsNull:
    """``column is null``."""

    column: Column


@dataclass(frozen=True)
class Not:
    """``not condition``; unknown where the condition is unknown."""

    condition: "Condition"


@dataclass(frozen=True)
class And:
    """Two conditions that must both hold."""

    left: "Condition"
    right: "Condition"


@dataclass(frozen=True)
class Or:
    """Two conditions of which one must hold."""

    left: "Condition"
    right: "Condition"


Condition: TypeAlias = Comparison | IsIn | Like | IsNull | Not | And | Or

_OPERATORS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_MIRRORED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ACCEPTED = "comparisons, and, or, not, in, between, like, ilike, is null, columns, numbers, texts in single quotes"
# What the accepted nodes may hold; others, such as "between symmetric", change their meaning.
_ARGUMENTS = {"this", "expression", "expressions", "low", "high", "negate"}
_MAX_LENGTH = 100_000


def check_filter(where: Any, schema: Any) -> Any:
    """Return the filter of a search as a `Condition`, or as the Arrow expression that it is.

    Parameters
    ----------
    where : str or pyarrow.compute.Expression
        See `parse_filter`; expressions are taken as they are.
    schema : pyarrow.Schema or None
        Metadata columns of the index; None: it has none.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or there are no metadata; see `parse_filter`.
    """
    import pyarrow.compute as pc

    if not isinstance(where, (str, pc.Expression)):
        raise TypeError(f'where must be a text such as "year >= 2020", or a pyarrow Expression; got {describe(where)}')
    if schema is None:
        raise ValueError("where needs metadata, and the index has none: give metadata= with the items")
    return where if isinstance(where, pc.Expression) else parse_filter(where, schema)


def parse_filter(text: str, schema: Any) -> Condition:
    """Return an SQL-like condition as a tree, its columns and types checked.

    Parameters
    ----------
    text : str
        Comparisons of columns with literals or columns, ``and``, ``or``, ``not``, ``in``, ``between``, ``like``,
        ``ilike``, ``is null``, parentheses. A column of booleans is a condition, too. Texts are in single quotes;
        columns may be in double quotes. Dates and times are texts: ``taken >= '2024-05-01'``.
    schema : pyarrow.Schema
        The columns.

    Returns
    -------
    Condition
        The tree. Literals have the type that the column has in Python.

    Raises
    ------
    ValueError
        If the text cannot be read (names the position), holds anything else, or names a column that does not exist.
    TypeError
        If a column is compared with a value of another type.
    MissingDependencyError
        If sqlglot is not installed.

    Examples
    --------
    >>> import pyarrow as pa
    >>> schema = pa.schema({"year": pa.int64(), "label": pa.string()})
    >>> parse_filter("year >= 2020 and label in ('cat', 'dog')", schema).right
    IsIn(column=Column(name='label'), values=('cat', 'dog'))
    >>> parse_filter("size > 3", schema)
    Traceback (most recent call last):
    ...
    ValueError: where names the column size, which does not exist; the columns are: year, label
    """
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"where is longer than {_MAX_LENGTH:,} characters")
    sqlglot = require("sqlglot", "filters")
    try:
        tree = sqlglot.parse_one(text)
        return _Reader(schema).condition(tree)
    except sqlglot.errors.ParseError as error:
        first = error.errors[0] if error.errors else {}
        place = f"at character {first['col']} (near {first['highlight']!r})" if first.get("col") else "it is empty"
        raise ValueError(f"where cannot be read: {place}, in {_shown(text)}") from error
    except sqlglot.errors.TokenError as error:
        last_quote = max(text.rfind("'"), text.rfind('"')) + 1
        raise ValueError(
            f"where has a quote that is not closed: at character {last_quote}, in {_shown(text)}"
        ) from error
    except RecursionError as error:
        raise ValueError(f"where is nested too deeply: {_shown(text)}") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


class _Reader:
    """Turns the tree of sqlglot into a `Condition`, or refuses it."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema

    def condition(self, node: Any) -> Condition:
        """Return the condition that a node is."""
        # Releases of sqlglot differ in whether "not like" is a node of its own.
        return Not(self._plain(node)) if node.args.get("negate") else self._plain(node)

    def _plain(self, node: Any) -> Condition:
        """Return the condition that a node is, its own negation aside."""
        kind = node.key
        if not {name for name, value in node.args.items() if value} <= _ARGUMENTS:
            raise self._refusal(node)
        if kind == "paren":
            return self.condition(node.this)
        if kind == "not":
            return Not(self.condition(node.this))
        if kind == "and":
            return And(self.condition(node.this), self.condition(node.expression))
        if kind == "or":
            return Or(self.condition(node.this), self.condition(node.expression))
        if kind in _OPERATORS:
            return self._comparison(node, _OPERATORS[kind])
        if kind == "in" and node.expressions:
            column = self._column(node.this)
            return IsIn(column, tuple(self._value(value, column) for value in node.expressions))
        if kind == "between":
            column = self._column(node.this)
            low, high = (self._value(node.args[name], column) for name in ("low", "high"))
            return And(Comparison(column, ">=", low), Comparison(column, "<=", high))
        if kind in ("like", "ilike"):
            return self._like(node, ignore_case=kind == "ilike")
        if kind == "is" and node.expression.key == "null":
            return IsNull(self._column(node.this))
        if kind == "column":
            column = self._column(node)
            if not is_type(self._type(column), "boolean"):
                raise TypeError(
                    f"where has {column.name} alone, a column of {self._type(column)}: compare it with a value"
                )
            return Comparison(column, "=", True)
        raise self._refusal(node)

    def _comparison(self, node: Any, operator: str) -> Condition:
        left, right = node.this, node.expression
        if left.key != "column" and right.key == "column":
            left, right, operator = right, left, _MIRRORED[operator]
        column = self._column(left)
        return Comparison(column, operator, self._other_column(right, column) or self._value(right, column))

    def _other_column(self, node: Any, column: Column) -> Column | None:
        """Return the column that another one is compared with; None: it is a value."""
        if node.key != "column":
            return None
        other = self._column(node)
        kinds = [family_of(self._type(each)) for each in (column, other)]
        if kinds[0] != kinds[1]:
            raise TypeError(
                f"where compares {column.name} ({self._type(column)}) with {other.name} ({self._type(other)})"
            )
        return other

    def _like(self, node: Any, *, ignore_case: bool) -> Condition:
        column = self._column(node.this)
        if family_of(self._type(column)) != "text":
            raise TypeError(
                f"where compares {column.name} by like, but it is a column of {self._type(column)}, not text"
            )
        pattern = self._value(node.expression, column)
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            raise ValueError(
                f"where has the pattern {pattern!r}, whose last backslash is before no character: double it"
            )
        return Like(column, pattern, ignore_case)

    def _column(self, node: Any) -> Column:
        if node.key != "column" or "table" in {key for key, value in node.args.items() if value}:
            raise self._refusal(node)
        name = node.this.name
        if self._schema.get_all_field_indices(name) == []:
            hint = "; texts go in single quotes" if node.this.args.get("quoted") else ""
            raise ValueError(
                f"where names the column {name}, which does not exist; the columns are: "
                f"{', '.join(self._schema.names)}{hint}"
            )
        return Column(name)

    def _type(self, column: Column) -> Any:
        kind = self._schema.field(column.name).type
        return kind.value_type if is_type(kind, "dictionary") else kind

    def _value(self, node: Any, column: Column) -> Value:
        """Return a literal as the column's type has it in Python."""
        kind = self._type(column)
        value = self._literal(node, column)
        family = family_of(kind)
        if family == "time" and isinstance(value, str):
            return self._time(value, column, kind)
        expected: dict[str, Callable[[Any], bool]] = {
            "boolean": lambda v: isinstance(v, bool),
            "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
            "text": lambda v: isinstance(v, str),
        }
        if family not in expected or not expected[family](value):
            raise TypeError(f"where compares {column.name}, a column of {kind}, with {describe(value)}")
        return value

    def _literal(self, node: Any, column: Column) -> Value:
        if node.key == "neg" and node.this.key == "literal" and not node.this.is_string:
            return -self._literal(node.this, column)
        if node.key == "cast" and node.this.key == "literal" and node.this.is_string:
            return str(node.this.this)  # date '2024-05-01': the column's type says what it is
        if node.key == "boolean":
            return bool(node.this)
        if node.key == "literal" and node.is_string:
            return str(node.this)
        if node.key == "literal":
            if not math.isfinite(float(node.this)):
                raise ValueError(f"where has a number beyond the range of float64: {_shown(node.this)}")
            number: int | float = int(node.this) if node.this.isdecimal() else float(node.this)
            return number if abs(number) < 2**63 else float(number)
        if node.key == "null":
            raise ValueError(
                f"where compares {column.name} with null, which is never true: write {column.name} is null"
            )
        raise self._refusal(node)

    def _time(self, text: str, column: Column, kind: Any) -> Value:
        import pyarrow as pa

        try:
            return _as_time(text, kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"where compares {column.name}, a column of {kind}, with {text!r}, which is not one"
            ) from error

    def _refusal(self, node: Any) -> ValueError:
        return ValueError(f"where may not hold {node.sql()}; it may hold: {_ACCEPTED}")


def _as_time(text: str, kind: Any) -> Value:
    """Return a date, time or timestamp; one without an offset is in the time zone of the column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    scalar = pa.scalar(text)
    if not is_type(kind, "timestamp") or kind.tz is None:
        return scalar.cast(kind).as_py()
    try:
        return scalar.cast(kind).as_py()
    except pa.ArrowInvalid:
        return pc.assume_timezone(scalar.cast(pa.timestamp(kind.unit)), kind.tz).as_py()


def is_type(kind: Any, what: str) -> bool:
    """Return whether `pyarrow.types` says so of a type, such as "boolean"."""
    import pyarrow.types as types

    return bool(getattr(types, f"is_{what}")(kind))


def family_of(kind: Any) -> str:
    """Return which values a type is compared with."""
    families = {
        "text": ("string", "large_string", "string_view"), "number": ("integer", "floating", "decimal"),
        "time": ("temporal",), "boolean": ("boolean",),
    }  # fmt: skip
    return next((name for name, kinds in families.items() if any(is_type(kind, each) for each in kinds)), str(kind))
