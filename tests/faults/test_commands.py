"""Kills and signals at random moments, by `scripts/inject_faults.py`; H2Q_FAULT_MOMENTS sets how many."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "inject_faults.py"
MOMENTS = os.environ.get("H2Q_FAULT_MOMENTS", "1")


def test_a_save_and_a_command_survive_kills_and_signals() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--moments", MOMENTS, "--commands", "save quantizer", "encode"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 faults") == 2


def test_every_command_is_among_those_that_are_disturbed() -> None:
    code = "import fault_commands; print(fault_commands.missing_commands())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout == "set()\n"
