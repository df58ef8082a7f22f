"""Errors say what to do."""

import numpy as np
import pytest

from h2q.errors import MissingDependencyError, describe, require


def test_a_missing_package_prints_the_command_that_installs_it() -> None:
    with pytest.raises(MissingDependencyError, match=r'package nowhere_to_be_found: pip install "h2q\[learn\]"'):
        require("nowhere_to_be_found", "learn")


def test_the_module_itself_is_returned() -> None:
    assert require("numpy", "learn") is np


def test_long_values_are_shortened() -> None:
    assert describe("x" * 500).endswith("... (str)")
    assert len(describe("x" * 500)) < 80
