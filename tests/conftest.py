"""Settings that every test shares."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

SERVERS = Path(__file__).parents[1] / "scripts" / "servers.py"

# Shared machines stall now and then: a deadline would fail for the neighbors' sake.
settings.register_profile("h2q", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("h2q")

# Models come out of wheels; nothing may look for them elsewhere.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def load_module() -> Callable[[Path], ModuleType]:
    """Return a function that imports a program which is in no package, such as those of scripts/ and benchmarks/."""

    def load(path: Path) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def servers(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    """Return scripts/servers.py, for tests that need a server of their own."""
    return load_module(SERVERS)


def _shared_server(name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a server that all workers of a run share: the first starts it, the last stops it.

    A server that cannot start is an error.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    state, lock = folder / f"{name}.json", FileLock(folder / f"{name}.lock")
    with lock:
        known: dict[str, Any] = json.loads(state.read_text()) if state.exists() else {"users": 0}
        if not known["users"]:
            known["address"], known["pid"] = _start(name, folder / f"{name}.log")
        known["users"] += 1
        state.write_text(json.dumps(known))
    yield known["address"]
    with lock:
        known = json.loads(state.read_text())
        known["users"] -= 1
        if not known["users"]:
            os.kill(known["pid"], signal.SIGINT)
            _wait_for_end(known["pid"])
        state.write_text(json.dumps(known))


def _start(name: str, log: Path) -> tuple[str, int]:
    """Start a server in a process of its own; return its address and the process's id."""
    with log.open("w") as errors:
        program = [sys.executable, str(SERVERS), name]
        process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    with process.stdout as output:
        address = output.readline().strip()
    if not address:
        process.wait()
        pytest.exit(f"{name} did not start:\n{log.read_text()[-2000:]}", returncode=1)
    process.returncode = 0  # the last worker ends it, by its id
    return address, process.pid


def _wait_for_end(pid: int) -> None:
    """Wait until a process, which another worker may have started, has stopped its server."""
    import psutil

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.05)
    raise TimeoutError(f"the process {pid} did not stop its server")


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a database in a PostgreSQL server with pgvector."""
    yield from _shared_server("postgresql", tmp_path_factory)


@pytest.fixture(scope="session")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a standalone Milvus server."""
    yield from _shared_server("milvus", tmp_path_factory)
