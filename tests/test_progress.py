"""Progress bars on a real pseudo-terminal: nested bars, and the time left."""

import os
import re
import sys

import pytest

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


def test_bars_nest_and_say_what_is_left() -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT])
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
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    assert "outer" in text
    assert "inner" in text
    assert "10/20" in text
    assert re.search(r"11/20 \S+ about 0:0\d left", text)
    assert "later" in text
    assert "the end" in text


def test_bars_are_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("work", 2) as advance:
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_steps_done_before_do_not_speed_up_the_estimate() -> None:
    assert seconds_left(100, 400, 300, 290) == pytest.approx(1000)
