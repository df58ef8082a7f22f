"""Tables of recall at equal bytes are those of the measurements, on every page."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    return load_module(ROOT / "benchmarks" / "codes_tables.py")


@pytest.mark.parametrize(
    "page", ["README.md", "docs/quality.md", "docs/integrations.md", "benchmarks/results/codes.md"]
)
def test_a_page_holds_the_measured_numbers(tables: ModuleType, page: str) -> None:
    text = (ROOT / page).read_text()
    assert "<!-- codes: " in text
    assert tables.filled(text, tables.measurements()) == text, "run python benchmarks/codes_tables.py"


def test_the_comparison_states_measured_numbers() -> None:
    tables = (ROOT / "benchmarks/results/codes.md").read_text() + (ROOT / "docs/quality.md").read_text()
    stated = re.findall(r"\d+\.\d(?=%)", (ROOT / "docs/comparison.md").read_text())
    assert stated
    assert [number for number in stated if not re.search(rf"\b{re.escape(number)}\b", tables)] == []


def test_a_number_that_differs_is_noticed(tables: ModuleType) -> None:
    text = (ROOT / "README.md").read_text()
    rows = tables.measurements()
    for row in rows:
        if row["method"] == "refined" and row["fitted"] == "apart":
            row["recall"] += 0.001
    assert tables.filled(text, rows) != text


def test_measurements_are_of_equal_bytes_and_none_is_twice_there(tables: ModuleType) -> None:
    rows = tables.measurements()
    for row in rows:
        assert 0 < row["recall"] < 1
        if "int8" not in row["method"]:  # its bytes are in its name
            assert row["code"] <= row["bytes"], row
    keys = [json.dumps([row[key] for key in ("data", "bytes", "fitted", "method", "form", "seed")]) for row in rows]
    assert len(set(keys)) == len(keys)
