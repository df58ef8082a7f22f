"""The real program, in process for most tests and as a process where exit codes, pipes and signals count."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from h2q.cli import build_app

PROGRAM = (sys.executable, "-c", "from h2q.cli import main; main()")
X = load_digits().data.astype(np.float32)[:, 1:]
X = X[:, X.std(axis=0) > 0]

Run = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in process; the result has exit_code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(*arguments: object) -> Any:
        return CliRunner().invoke(build_app(), [str(argument) for argument in arguments], prog_name="h2q")

    return invoke


@pytest.fixture
def fails(run: Run) -> Run:
    """Run a command that must fail with this exit code, saying so on standard error alone; return what it says."""

    def invoke(exit_code: int, *arguments: object) -> str:
        result = run(*arguments)
        assert result.exit_code == exit_code, result.output
        assert result.stdout == ""
        assert "Traceback" not in result.stderr
        return " ".join(result.stderr.split())

    return invoke


@pytest.fixture
def document(run: Run) -> Run:
    """Run a command with --json; return the one document that it prints."""

    def invoke(*arguments: object) -> Any:
        result = run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return invoke


@pytest.fixture
def process() -> Run:
    """Run the program as a process of its own."""

    def start(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **options.pop("env", {})}
        command = [*PROGRAM, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)

    return start


@pytest.fixture
def x_file(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what fit and index build made, to be copied from."""
    folder = tmp_path_factory.mktemp("made")
    np.save(folder / "x.npy", X)
    for command in (
        ["fit", "x.npy", "-o", "quantizer.safetensors", "--bits", "32"],
        ["index", "build", "x.npy", "-q", "quantizer.safetensors", "-o", "index", "--keep-embeddings"],
    ):
        subprocess.run([*PROGRAM, *command], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def quantizer_file(made: Path, x_file: Path) -> Path:
    return Path(shutil.copy(made / "quantizer.safetensors", x_file.parent))


@pytest.fixture
def index_folder(made: Path, quantizer_file: Path) -> Path:
    return Path(shutil.copytree(made / "index", quantizer_file.with_name("index")))
