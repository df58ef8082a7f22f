"""Errors say what to do."""

import numpy as np
import pytest

from h2q.errors import MissingDependencyError, describe, require, with_article


def test_a_missing_package_prints_the_command_that_installs_it() -> None:
    with pytest.raises(MissingDependencyError, match=r'package nowhere_to_be_found: pip install "h2q\[learn\]"'):
        require("nowhere_to_be_found", "learn")


def test_the_module_itself_is_returned() -> None:
    assert require("numpy", "learn") is np


def test_values_of_sixty_characters_are_whole() -> None:
    assert describe("x" * 58) == f"'{'x' * 58}' (str)"
    assert describe("x" * 59) == f"'{'x' * 56}... (str)"


def test_long_values_are_shortened() -> None:
    assert describe("x" * 500).endswith("... (str)")
    assert len(describe("x" * 500)) < 80


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("int8", "an int8"),
        ("object", "an object"),
        ("float16", "a float16"),
        ("uint64", "a uint64"),
        ("11-bit code", "an 11-bit code"),
        ("64-bit code", "a 64-bit code"),
        ("unit vector", "a unit vector"),
    ],
)
def test_articles(noun: str, expected: str) -> None:
    assert with_article(noun) == expected
