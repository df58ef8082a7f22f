"""Servers that are down, restarted in the middle of a load, or hang: bounded waiting, nothing lost, nothing twice.

The servers are real, and the test's own. Every item that an addition acknowledged must be there once.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from h2q.errors import EngineUnavailableError
from h2q.index import Index, create_index, open_index

CODES = np.random.default_rng(0).integers(0, 256, (4000, 8), dtype=np.uint8)


@pytest.fixture(scope="module", params=["postgresql", pytest.param("milvus", marks=pytest.mark.alone)])
def server(request: pytest.FixtureRequest, servers: ModuleType) -> Iterator[Any]:
    server = servers.SERVERS[request.param]()
    yield server
    server.close()


def place_of(server: Any, name: str, options: str) -> str:
    if server.address.startswith("milvus"):
        return f"{server.address}/{name}?{options}"
    return f"{server.address}?table={name}&index=none&{options}"


@contextmanager
def hanging(server: Any) -> Iterator[None]:
    """Stop the server's processes, as a machine that swaps or a network that drops packets would."""
    pids = server.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def check_content(index: Index, ids: np.ndarray) -> None:
    """Every item is there once, with its code, and nothing else."""
    np.testing.assert_array_equal(index.ids, np.sort(ids))
    assert len(index) == len(ids)
    np.testing.assert_array_equal(index.codes(ids), CODES[ids % len(CODES)])


def test_a_server_that_goes_away(server: Any) -> None:
    """Restarted in the middle of a load, then hanging, then down, then back."""
    index = create_index(place_of(server, "faults", "timeout=2&retries=9"), 64)
    loaded: list[np.ndarray] = []
    errors: list[BaseException] = []

    def load() -> None:
        try:
            for start in range(0, len(CODES), 100):
                loaded.append(index.add(CODES[start : start + 100]))
                time.sleep(0.01)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=load)
    thread.start()
    while len(loaded) < 5 and thread.is_alive():
        time.sleep(0.01)
    server.stop("immediate")
    server.start()
    thread.join(240)
    assert not thread.is_alive()
    assert not errors
    ids = np.concatenate(loaded)
    # In PostgreSQL no number is skipped; in Milvus those of an attempt without an answer may be.
    check_ids_of_codes(index, ids)

    impatient = open_index(place_of(server, "faults", "timeout=1&retries=1"))
    with hanging(server):
        began = time.monotonic()
        with pytest.raises(EngineUnavailableError, match="does not answer: 2 attempts"):
            len(impatient)
        assert time.monotonic() - began < 30
    assert len(impatient) == len(ids)

    # The server hangs during an addition, and answers in time for a later attempt.
    new = np.arange(100_000, 100_100)
    thread = threading.Thread(target=lambda: index.add(CODES[new % len(CODES)], ids=new))
    with hanging(server):
        thread.start()
        time.sleep(3)
    thread.join(240)
    np.testing.assert_array_equal(index.codes(new), CODES[new % len(CODES)])
    assert len(index) == len(ids) + 100
    assert index.search(CODES[:5], 3).distances[:, 0].tolist() == [0] * 5

    server.stop()
    with pytest.raises(EngineUnavailableError, match="does not answer: 2 attempts"):
        impatient.add(CODES[:1])
    impatient.close()
    index.close()


def check_ids_of_codes(index: Index, ids: np.ndarray) -> None:
    np.testing.assert_array_equal(index.ids, np.sort(ids))
    assert len(index) == len(ids) == len(CODES)
    np.testing.assert_array_equal(index.codes(ids), CODES)


class LosesAnswers:
    """A network that loses what the server answers to a commit, the first time."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                if b"COMMIT" in content and target.getpeername()[1] == self._target and not self.lost:
                    self.lost += 1
                    source.shutdown(socket.SHUT_RDWR)  # the client sees a broken connection,
                    target.sendall(content)  # the server commits
                    time.sleep(0.3)
                    break
                target.sendall(content)
        except OSError:
            pass
        finally:
            source.close()
            target.close()

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("own_ids", [False, True])
def test_an_addition_whose_answer_is_lost_is_not_made_twice(postgresql: str, own_ids: bool) -> None:
    port = int(postgresql.rpartition(":")[2].partition("/")[0])
    table = f"lost_{int(own_ids)}"
    with create_index(f"{postgresql}?table={table}&index=none", 64) as index:
        index.add(CODES[:50])
    network = LosesAnswers(port)
    with open_index(f"{postgresql.replace(str(port), str(network.port))}?table={table}&index=none") as index:
        # Opening committed, too: from now on.
        assert network.lost == 1
        network.lost = 0
        ids = index.add(CODES[50:80], ids=np.arange(50, 80) if own_ids else None)
        assert network.lost == 1
        np.testing.assert_array_equal(ids, np.arange(50, 80))
        check_content(index, np.arange(80))
    network.close()


PROGRAM = """
import sys
import numpy as np
from h2q.index import open_index

codes = np.random.default_rng(0).integers(0, 256, (4000, 8), dtype=np.uint8)
first = int(sys.argv[2])
index = open_index(sys.argv[1])
while True:
    print(first, flush=True)  # all before are there
    ids = np.arange(first, first + 50)
    index.add(codes[ids % len(codes)], ids, {"name": [f"item {i}" for i in ids]})
    if sys.argv[1].startswith("faiss"):
        index.save()
    first += 50
"""


@pytest.mark.parametrize("engine", ["faiss", "postgresql", "postgresql-hnsw", "milvus"])
def test_a_client_that_is_killed_while_adding(
    engine: str, tmp_path: Path, times: Callable[[int], int], request: pytest.FixtureRequest
) -> None:
    """Every acknowledged item is there once, of the addition in flight all or none, and nothing else."""
    name = f"killed_{uuid.uuid4().hex}"
    if engine == "faiss":
        address = f"faiss:{tmp_path / name}?min_items=100&recall=0.9"
    elif engine == "milvus":
        address = f"{request.getfixturevalue('milvus')}/{name}"
    else:
        kind = "hnsw" if engine.endswith("hnsw") else "none"
        address = f"{request.getfixturevalue('postgresql')}?table={name}&index={kind}"
    create_index(address, 64).close()
    generator = np.random.default_rng(0)
    acknowledged: list[int] = []
    start = 0
    for _ in range(times(2)):
        command = [sys.executable, "-c", PROGRAM, address, str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout is not None
            lines = [client.stdout.readline() for _ in range(int(generator.integers(2, 8)))]
            time.sleep(generator.random() / 10)
            client.kill()
            lines += client.stdout.readlines()
        assert client.returncode == -signal.SIGKILL
        acknowledged += range(start, int(lines[-1]))
        start = int(lines[-1]) + 50  # the addition in flight may be there, too
    with open_index(address) as index:
        ids = index.ids
        assert len(index) == len(ids) == len(set(ids.tolist()))
        assert set(acknowledged) <= set(ids.tolist()) <= set(range(start))
        assert (np.bincount(ids // 50) % 50 == 0).all()
        np.testing.assert_array_equal(index.codes(ids), CODES[ids % len(CODES)])
        assert index.metadata(ids)["name"].to_pylist() == [f"item {i}" for i in ids]
        assert (index.search(CODES[ids[:20] % len(CODES)], 1).distances == 0).mean() >= 0.9  # faiss: a recall
