"""The real server, as a process: where it listens, how long it waits, how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import psutil
import pytest

from h2q.web.server import Protocol, serve

PROGRAM = (sys.executable, "-c", "from h2q.cli import main; main()")


@pytest.fixture(scope="module")
def running(indexed: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield a server of pictures on a free port, and the port."""
    arguments = [*PROGRAM, "serve", str(indexed / "photos.h2q"), "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)\n", line)
        assert match is not None, line
        yield process, int(match[1])
        process.terminate()
        _, errors = process.communicate(timeout=60)
        # On a machine under load, Python's own exit can outlast the five seconds that a command has: an alarm ends it.
        assert process.returncode in (143, -signal.SIGALRM)
        assert errors.strip() == "terminated"


def test_a_picture_is_searched_for(running: tuple[subprocess.Popen[str], int], indexed: Path) -> None:
    _, port = running
    content = (indexed / "photos/trips/05.jpg").read_bytes()
    request = Request(f"http://127.0.0.1:{port}/api/search/image?k=2", content, {"content-type": "image/jpeg"})
    with urlopen(request, timeout=60) as answer:
        found = json.load(answer)
        assert "server" not in answer.headers
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert found["results"][0]["id"] == "trips/05.jpg"


def test_it_listens_at_the_loopback_address_alone(running: tuple[subprocess.Popen[str], int]) -> None:
    process, port = running
    listening = [each.laddr for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"]
    assert [(place.ip, place.port) for place in listening] == [("127.0.0.1", port)]


def test_what_is_no_http_does_not_disturb(running: tuple[subprocess.Popen[str], int]) -> None:
    _, port = running
    for content in (b"\0" * 100, b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * 100_000 + b"\r\n\r\n", b"GET /\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(content)
            assert b" 400 " in connection.recv(1000).splitlines()[0] + b" "
    with urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
        assert json.load(answer) == {"status": "ok"}


def test_a_client_that_sends_its_head_slowly_is_left(running: tuple[subprocess.Popen[str], int]) -> None:
    """The head of a request has ten seconds in all; a byte now and then does not prolong them."""
    _, port = running
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        deadline = time.monotonic() + 10 * Protocol.header_seconds
        while time.monotonic() < deadline:
            try:
                connection.sendall(b"a")
                if connection.recv(100) == b"":
                    return
            except TimeoutError:
                continue
            except OSError:
                return
    pytest.fail("the connection is still open")


def test_a_host_that_is_none_of_this_machine_is_said() -> None:
    with pytest.raises(OSError, match=r"^nowhere\.invalid is no address of this machine \(.+\); choose another host$"):
        serve(None, "nowhere.invalid")


def test_a_port_that_is_taken_is_said(indexed: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*PROGRAM, "serve", str(indexed / "photos.h2q"), "--port", str(port)], capture_output=True, text=True
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: 127.0.0.1:{port} cannot be listened at (Address already in use); choose another port\n"
    )
