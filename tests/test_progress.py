"""Progress bars on a real pseudo-terminal: nested bars, and the time left."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.progress import progress_bar, seconds_left

pty = pytest.importorskip("pty")

SCRIPT = """
import time
from h2q.progress import progress_bar
with progress_bar("outer", 20, done=10) as outer:
    for _ in range(2):
        with progress_bar("inner", 3) as inner:
            for _ in range(3):
                inner(1)
                time.sleep(0.15)
        outer(1)
with progress_bar("later", 1) as advance:
    advance(1)
print("the end")
"""


def run_in_terminal(*arguments: str) -> str:
    """Run Python in a terminal of its own; return what it prints, without the terminal's codes."""
    process, terminal = pty.fork()
    if process == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, *arguments])
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 65_536)
        except OSError:  # the end, on Linux
            break
        if not chunk:
            break
        output += chunk
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0, output.decode()
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())


def test_bars_nest_and_say_what_is_left() -> None:
    text = run_in_terminal("-c", SCRIPT)
    assert "outer" in text
    assert "inner" in text
    assert "10/20" in text
    assert re.search(r"11/20 \S+ about 0:0\d left", text)
    assert "later" in text
    assert "the end" in text


def test_fit_names_its_stages(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", load_digits().data)
    command = f"import sys, h2q.cli; sys.argv = ['h2q', 'fit', '{tmp_path}/x.npy', '-o', '{tmp_path}/q.safetensors']"
    text = run_in_terminal("-c", f"{command} + '--bits 32 --n-init 10'.split(); h2q.cli.main()")
    stages = ["reading", "fitting H²Q", "learning a rotation", "polishing", "measuring the error", "quantizer saved"]
    places = [text.index(stage) for stage in stages]
    assert places == sorted(places)


def test_bars_are_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("work", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_steps_done_before_do_not_speed_up_the_estimate() -> None:
    assert seconds_left(100, 400, 300, 290) == pytest.approx(1000)
