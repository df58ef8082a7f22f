"""A minute of the fuzzing of `scripts/fuzz_files.py`; H2Q_FUZZ_SECONDS sets another time."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

SECONDS = float(os.environ.get("H2Q_FUZZ_SECONDS", "60"))


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_files", Path(__file__).parents[2] / "scripts" / "fuzz_files.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_files"] = module
    spec.loader.exec_module(module)
    return module


fuzz_files = load_script()


@pytest.mark.parametrize("name", fuzz_files.KINDS)
def test_a_mutant_is_read_or_refused_in_one_line(name: str) -> None:
    result = fuzz_files.run_kind(name, mutants=10_000, seconds=SECONDS / len(fuzz_files.KINDS), seed=0)
    assert result["faults"] == []
    # The answers of files with checksums were compared with those of the originals.
    assert fuzz_files.KINDS[name].checked or result["refused"] > 0.3 * result["read"]


def test_the_script_notices_a_reader_that_does_not_check(tmp_path: Path) -> None:
    unchecked = fuzz_files.Kind(fuzz_files.write_record, lambda path: path.read_bytes(), True)
    assert len(fuzz_files.fuzz(unchecked, tmp_path, mutants=5, seconds=60, seed=0)["faults"]) >= 4

    def crash(path: Path) -> int:
        return path.read_bytes()[0] if path.read_bytes() == original else 1 // 0

    original = fuzz_files.write_record(tmp_path).read_bytes()
    raising = fuzz_files.Kind(fuzz_files.write_record, crash, False)
    faults = fuzz_files.fuzz(raising, tmp_path, mutants=3, seconds=60, seed=0)["faults"]
    assert "ZeroDivisionError" in faults[0][1]
