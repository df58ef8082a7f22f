"""Rows of tables in files that people wrote: what is damaged is noted by its row, the rest is read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from h2q.errors import FileFormatError
from h2q.files.tables import read_rows


def test_csv_rows_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('text,year\n"two\nlines",1\nbroken\n"a, b",2\nx,3,4\nlast,5\n')
    rows = read_rows(path)
    assert rows.table.to_pydict() == {"text": ["two\nlines", "a, b", "last"], "year": [1, 2, 5]}
    assert rows.numbers.tolist() == [0, 2, 4]
    assert rows.faults == {1: "1 cells, expected 2", 3: "3 cells, expected 2"}


def test_lines_that_do_not_decode_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbffirst\r\nsecond\xff\n\nlast \xe2\x82\xac")
    rows = read_rows(path)
    assert rows.table["text"].to_pylist() == ["first", "", "last €"]
    assert (rows.numbers.tolist(), dict(rows.faults)) == ([0, 2, 3], {1: "not UTF-8"})


def test_parquet_and_json_lines(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", None], "n": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_rows(tmp_path / "t.parquet").table == table
    (tmp_path / "t.jsonl").write_text('{"text": "a"}\n[1]\n\n{"n": 2}\n{"text": 3' + "[" * 100_000 + "\n")
    rows = read_rows(tmp_path / "t.jsonl")
    assert rows.table.to_pydict() == {"text": ["a", None], "n": [None, 2]}
    assert rows.faults == {1: "no JSON object", 2: "empty", 4: "no JSON object"}


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be named .parquet, .csv, .jsonl, .txt; got .doc"):
        read_rows(tmp_path / "t.doc")
    for name, content in (("t.csv", b""), ("t.parquet", b"PAR1"), ("t.jsonl", b'{"a": 1}\n{"a": "x"}\n')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FileFormatError, match=name):
            read_rows(tmp_path / name)
