"""The program as a whole: help, exit codes, pipes, signals, what it loads and how fast it answers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import h2q

COMMANDS = (
    "compare",
    "demo",
    "embed",
    "encode",
    "evaluate",
    "experiment",
    "fit",
    "index",
    "info",
    "inspect",
    "search",
    "train",
)
PROGRAM = (sys.executable, "-c", "from h2q.cli import main; main()")


def test_version(run: Any) -> None:
    assert run("--version").stdout == f"h2q {h2q.__version__}\n"


def test_alone_it_prints_help(process: Any) -> None:
    done = process()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: h2q")
    for command in COMMANDS:
        assert f"  {command} " in done.stdout


@pytest.mark.parametrize("command", [*COMMANDS, "index build", "index append", "index remove", "index compact"])
def test_every_command_explains_itself(command: str, run: Any) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Usage: h2q {command}" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom h2q.cli import build_app\nbuild_app()\n"
        "print(*sorted({'numpy', 'scipy', 'sklearn', 'numba', 'pyarrow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serach"], "No such command 'serach'. Did you mean 'search'?"),
        (["fit"], "Missing argument 'EMBEDDINGS'"),
        (["--fast"], "No such option: --fast"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], message: str, process: Any) -> None:
    done = process(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_failure_is_1_and_one_line(process: Any, tmp_path: Path) -> None:
    done = process("fit", tmp_path / "missing.npy", "-o", tmp_path / "q.safetensors")
    assert done.returncode == 1
    assert done.stderr == f"error: there is no file {tmp_path}/missing.npy\n"
    assert done.stdout == ""


def test_an_error_that_nobody_foresaw_is_one_line_too(run: Any, monkeypatch: pytest.MonkeyPatch, x_file: Path) -> None:
    monkeypatch.setitem(sys.modules, "h2q.files", None)  # an installation that lost a file
    result = run("fit", x_file, "-o", x_file.with_suffix(".safetensors"))
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")


def test_json_is_all_that_is_printed(process: Any, x_file: Path) -> None:
    done = process("fit", x_file, "-o", x_file.with_name("q.safetensors"), "--bits", 16, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["bits"] == 16


def test_warnings_are_short_lines(process: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", np.random.default_rng(0).standard_normal((5, 16), dtype=np.float32))
    done = process("fit", tmp_path / "few.npy", "-o", tmp_path / "q.safetensors")
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: X has 5 rows, fewer than the 16 bits")


def test_nobody_reads_on(index_folder: Path, x_file: Path) -> None:
    command = [*PROGRAM, "search", str(index_folder), str(x_file), "-k", "100", "--json"]
    reader, writer = os.pipe()
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True) as search:
        os.close(writer)
        assert os.read(reader, 10) == b'{"index": '
        os.close(reader)
        _, stderr = search.communicate(timeout=120)
    assert stderr == ""
    assert search.returncode == 141


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"]])
def test_a_full_device_is_one_line(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: cannot write to standard output: No space left on device\n",
    )


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"]])
def test_help_into_a_closed_pipe(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        done = subprocess.run([*PROGRAM, *arguments], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


STOPPED = [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")]


@pytest.mark.parametrize(("number", "exit_code", "message"), STOPPED)
def test_stopped_while_it_computes(number: int, exit_code: int, message: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.standard_normal((60_000, 256), dtype=np.float32))
    output = tmp_path / "q.safetensors"
    command = [*PROGRAM, "fit", str(tmp_path / "x.npy"), "-o", str(output), "--method", "itq", "--n-init", "1000"]
    with _start(command) as fit:
        try:
            _wait_until_it_computes(fit.pid)
            fit.send_signal(number)
            stdout, stderr = fit.communicate(timeout=120)
        finally:
            fit.kill()
    assert (fit.returncode, stdout, stderr) == (exit_code, "", message)
    assert not output.exists()


@pytest.mark.parametrize(("number", "exit_code", "message"), STOPPED)
@pytest.mark.parametrize("moment", ["typer", "h2q.cli.fit", "h2q.files"])
def test_stopped_while_it_imports(moment: str, number: int, exit_code: int, message: str) -> None:
    """The signal comes when a module is imported: the first, that of a command, one that the command needs."""
    code = f"""
import builtins, importlib, os
from h2q.cli import main

def stop_at(find):
    def stopping(name, *rest, **options):
        if name == {moment!r}:
            os.kill(os.getpid(), {number:d})
        return find(name, *rest, **options)
    return stopping

builtins.__import__ = stop_at(builtins.__import__)
importlib.import_module = stop_at(importlib.import_module)
main()
"""
    with _start([sys.executable, "-c", code, "fit", "x.npy", "-o", "q.safetensors"]) as program:
        stdout, stderr = program.communicate(timeout=120)
    assert (program.returncode, stdout, stderr) == (exit_code, "", message)


def _start(command: list[str]) -> "subprocess.Popen[str]":
    """Start a program that takes Ctrl-C, which children of background jobs ignore otherwise."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _wait_until_it_computes(pid: int) -> None:
    """Wait until a process has used a few seconds of processor time, which is long past its imports."""
    ticks = os.sysconf("SC_CLK_TCK")
    for _ in range(1_200):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks > 5:
            return
        time.sleep(0.1)
    pytest.fail("the program never began to compute")


def test_a_terminal_without_unicode(process: Any, x_file: Path) -> None:
    done = process(
        "fit", x_file, "-o", x_file.with_name("q.safetensors"), "--bits", 16, env={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0, done.stderr
    assert "H?Q" in done.stdout
