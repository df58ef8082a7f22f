"""``h2q texts``: a file of texts from nothing to a search, and what the commands print."""

from pathlib import Path
from typing import Any

import pytest

TEXTS = (
    "The cat sleeps on the sofa.",
    "A kitten naps on the couch.",
    "The central bank raised its rate.",
    "Interest rates went up again.",
    "The volcano erupted at night.",
    "",
    "Bread is baked in a hot oven.",
    "Bread is  baked in a hot oven.",
    "two\tparts \x1b[31mred",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    return tmp_path / "texts.txt"


def test_three_commands(file: Path, document: Any, run: Any) -> None:
    index = file.with_name("texts.h2q")
    result = run("texts", "index", file, "-o", index)
    assert result.exit_code == 0, result.stderr
    assert "8 new, 0 changed, 0 gone, 0 as before" in result.stdout
    assert "1 could not be read:\n  row 5 (empty)" in result.stdout
    assert document("texts", "index", file, "-o", index)["kept"] == 8
    found = document("texts", "search", index, "monetary policy", "-k", 2)
    assert {row["id"] for row in found["texts"]} == {2, 3}
    assert found["texts"][0]["text"] in TEXTS
    shown = run("texts", "search", index, "something red").stdout
    assert "two parts \\x1b[31mred" in shown
    printed = run("texts", "duplicates", index, "--radius", 0, "--keep", "best").stdout
    assert "keep  7: Bread is baked" in printed
    assert "1 group within 0 of 8 bits; 1 texts more than one of each" in printed
    assert document("texts", "duplicates", index, "--radius", 0)["groups"] == [{"ids": [7, 6], "distance": 0}]


def test_faults_are_explained(file: Path, fails: Any, tmp_path: Path) -> None:
    assert "there is no file" in fails(2, "texts", "index", tmp_path / "none.txt", "-o", tmp_path / "x.h2q")
    assert "expected a name that ends in .parquet" in fails(2, "texts", "index", tmp_path, "-o", tmp_path / "x.h2q")
    wrong = fails(1, "texts", "index", file, "-o", tmp_path / "x.h2q", "--column", "body")
    assert "has no column body; it has text" in wrong
    assert "make it with h2q texts index" in fails(1, "texts", "search", tmp_path / "none", "a query")
