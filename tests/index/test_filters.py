"""Filters: texts become checked trees, the trees become Arrow expressions with SQL's logic, the rest is refused."""

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2q.index.arrow_filters import matching_rows, to_arrow
from h2q.index.filters import check_filter, parse_filter
from h2q.index.milvus_filters import fits_milvus, to_milvus
from h2q.index.plain import plain_columns

DAYS = [datetime.datetime(2020, 1, day) for day in (1, 2, 3, 4)]
TABLE = pa.table(
    {
        "year": [2019, 2020, None, 2024],
        "small": pa.array([1, 2, None, 4], pa.uint8()),
        "label": ["cat", "dog", "cow", None],
        "day": pa.array(DAYS, pa.date32()),
        "taken": DAYS,
        "zoned": pa.array([day.replace(tzinfo=datetime.UTC) for day in DAYS]),
        "score": [1.5, 2, 3, float("nan")],
        "kept": [True, False, None, True],
        "kind": pa.array(["x", "y", "x", None]).dictionary_encode(),
        "price": pa.array([Decimal("1.25"), None, Decimal("2.00"), Decimal("0.50")]),
        "odd name": [1, 2, 3, 4],
    }
)


def evaluate(where: str) -> list[int]:
    condition = parse_filter(where, TABLE.schema)
    rows = np.flatnonzero(matching_rows(TABLE, condition)).tolist()
    # Arrow's own filter says the same.
    filtered = TABLE.append_column("row", pa.array(range(4))).filter(to_arrow(condition, TABLE.schema))
    assert filtered["row"].to_pylist() == rows
    return rows


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("year >= 2020 and label in ('cat', 'dog')", [1]),
        ("label = 'cat' or label = 'dog' or year = 2024", [0, 1, 3]),
        ("year not in (2019, 2024, 2000)", [1]),
        ("not year in (2019)", [1, 3]),
        ("small in (1, 2, 300, 1.5, -1)", [0, 1]),
        ("score in (2, 3.0, 7)", [1, 2]),
        ("kept in (true)", [0, 3]),
        ("price in (1.25, 9)", [0]),
        ("price > 1.25", [2]),
        (f"year in ({', '.join(map(str, range(2020, 9000)))})", [1, 3]),
        ("small < 300 and small > -1", [0, 1, 3]),
        ("label like 'c%'", [0, 2]),
        ("label not like 'c%'", [1]),
        ("label ilike 'C_T'", [0]),
        ("day >= '2020-01-02'", [1, 2, 3]),
        ("day = date '2020-01-02'", [1]),
        ("taken < timestamp '2020-01-03 12:00:00'", [0, 1, 2]),
        ("zoned > '2020-01-02'", [2, 3]),
        ("zoned > '2020-01-02T01:00:00+02:00'", [1, 2, 3]),
        ("day in ('2020-01-02', '2020-01-03', '2020-01-09')", [1, 2]),
        ("score between 1.5 and 2", [0, 1]),
        ("year < score", []),
        ("kept", [0, 3]),
        ("not kept", [1]),
        ("kept = false or kept is null", [1, 2]),
        ("kind in ('x', 'z', 'w')", [0, 2]),
        ("kind <> 'x'", [1]),
        ("2020 <= year", [1, 3]),
        ("year is not null and year > -5", [0, 1, 3]),
        ("year = 2019.5", []),
        ("year < 99999999999999999999999", [0, 1, 3]),
        ('"odd name" >= 3', [2, 3]),
        ("((year = 2019))", [0]),
    ],
)
def test_a_filter_keeps_what_sql_keeps(where: str, rows: list[int]) -> None:
    assert evaluate(where) == rows


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("year = ", ValueError, r"cannot be read: at character 6"),
        ("label = 'a' and and year = 1", ValueError, r"at character 19 \(near 'and'\)"),
        ("", ValueError, "it is empty"),
        ("label = 'a", ValueError, "quote that is not closed: at character 9"),
        ("yeer = 1", ValueError, "names the column yeer, which does not exist; the columns are: year, small, label"),
        ('label = "cat"', ValueError, "texts go in single quotes"),
        ("year = 'x'", TypeError, r"compares year, a column of int64, with 'x'"),
        ("label = 1", TypeError, r"compares label, a column of string, with 1"),
        ("label > year", TypeError, r"compares label \(string\) with year \(int64\)"),
        ("year like 'a%'", TypeError, "by like, but it is a column of int64"),
        ("year", TypeError, "has year alone, a column of int64"),
        ("year = null", ValueError, "write year is null"),
        ("day > 'hello'", ValueError, "compares day, a column of date32"),
        ("length(label) = 1", ValueError, "may not hold LENGTH"),
        ("year in (select 1)", ValueError, "may not hold year IN"),
        ("year = 1; drop table x", ValueError, "may not hold year = 1; DROP TABLE x"),
        ("year + 1 = 2", ValueError, r"may not hold year \+ 1"),
        ("t.year = 1", ValueError, r"may not hold t\.year"),
        ("1 = 1", ValueError, "may not hold 1"),
        ("label like 'a!%' escape '!'", ValueError, "may not hold"),
        ("year between symmetric 3 and 1", ValueError, "may not hold .year BETWEEN"),
        ("label like any ('a', 'b')", ValueError, "may not hold ANY"),
        ("year = :a", ValueError, "may not hold :a"),
        ("year in (1, 1e999)", ValueError, "beyond the range of float64: '1e999'"),
        ("year < " + "9" * 310, ValueError, "beyond the range of float64: '999"),
        ("(" * 3000 + "kept" + ")" * 3000, ValueError, "nested too deeply"),
        ("kept or " * 20_000 + "kept", ValueError, "longer than 100,000 characters"),
    ],
)
def test_what_is_not_a_filter_says_why(where: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse_filter(where, TABLE.schema)


def test_expressions_of_arrow_are_taken_as_they_are() -> None:
    expression = pc.field("year") > 2019
    assert check_filter(expression, TABLE.schema) is expression
    assert matching_rows(TABLE, expression).tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match=r"where does not fit the columns year \(int64\), .*yeer"):
        matching_rows(TABLE, pc.field("yeer") > 2019)
    with pytest.raises(TypeError, match="must be true or false for each item; the expression gives int64"):
        matching_rows(TABLE, pc.field("year"))
    with pytest.raises(TypeError, match="where must be a text such as"):
        check_filter(3, TABLE.schema)
    with pytest.raises(ValueError, match="where needs metadata, and the index has none"):
        check_filter("year > 3", None)


names = st.sampled_from(["year", "small", "score"])
numbers = st.one_of(st.integers(0, 2025), st.sampled_from([1.5, 2, 3, -1]))
leaves = st.one_of(
    st.builds("{} {} {}".format, names, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), numbers),
    st.builds("{} in ({}, {}, {})".format, names, numbers, numbers, numbers),
    st.builds("{} between {} and {}".format, names, numbers, numbers),
    st.builds("{} is null".format, st.sampled_from(["year", "small", "label", "kept", "score", "kind"])),
    st.builds("label like '{}'".format, st.sampled_from(["c%", "_o_", "%", "dog"])),
    st.sampled_from(["kept", "kept = false", "label = 'cat'", "year < small", "kind in ('x', 'y', 'q')"]),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=6,
)


@given(conditions)
@settings(max_examples=150, deadline=None)
def test_any_filter_equals_that_of_sqlite(where: str) -> None:
    import sqlite3

    numeric = TABLE.select(["year", "small", "label", "kept", "score", "kind"])
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("pragma case_sensitive_like = on")
        connection.execute(f"create table items ({', '.join(numeric.column_names)})")
        # Without the row whose score is not a number, which SQLite has as null.
        rows = [tuple(row.values()) for row in numeric.to_pylist()][:3]
        connection.executemany("insert into items values (?, ?, ?, ?, ?, ?)", rows)
        kept = connection.execute(f"select rowid - 1 from items where {where}").fetchall()
    finally:
        connection.close()
    assert [row for row in evaluate(where) if row < 3] == [row for (row,) in kept]


@pytest.mark.parametrize(("number", "exact"), [("9007199254740991.0", True), ("9007199254740992.0", False)])
def test_whole_numbers_that_round_to_one_float_are_not_left_to_milvus(number: str, exact: bool) -> None:
    schema = pa.schema({"big": pa.int64()})
    condition = parse_filter(f"big = {number}", schema)
    assert to_milvus(condition, plain_columns(schema, [], fits_milvus)).exact is exact
    # Arrow compares floats: 2**53 + 1 is rounded to 2**53.
    assert matching_rows(pa.table({"big": [2**53 + 1]}), condition).tolist() == [not exact]
