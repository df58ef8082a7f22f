"""The table of docs/reproduce.md is that of our report and of the authors' numbers."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def paper_table(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    return load_module(ROOT / "scripts" / "paper_table.py")


def test_the_page_holds_the_numbers(paper_table: ModuleType) -> None:
    page = paper_table.PAGE.read_text()
    assert paper_table.filled(page, paper_table.REPORT.read_text()) == page, "run python scripts/paper_table.py"


def test_a_number_of_the_report_is_in_the_table(paper_table: ModuleType) -> None:
    report = paper_table.REPORT.read_text()
    row = paper_table.report_table(report, "quantizer")[1]
    assert row["quantizer"] == "sign"
    assert f"| sign | {row['mAP']} |" in paper_table.summary(report)
    assert paper_table.summary(report.replace(f"| sign | {row['mAP']} |", "| sign | 12.34 |", 1)).count("12.34") == 1
