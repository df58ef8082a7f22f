"""Faults that any engine can be put through: kills, interrupts, bit flips.

``H2Q_FAULTS=4`` runs four times as many of each.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Kill = Callable[..., list[Any]]


def _run(connection: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    work(connection.send, *arguments)


@pytest.fixture
def times() -> Callable[[int], int]:
    """Return how often to repeat a fault: the given number, times the environment variable H2Q_FAULTS."""
    return lambda number: number * int(os.environ.get("H2Q_FAULTS", "1"))


@pytest.fixture
def kill() -> Kill:
    """Run ``work(acknowledge, *arguments)`` in a process of its own and kill it; return what it acknowledged."""
    context = multiprocessing.get_context("fork")

    def run(work: Callable[..., None], *arguments: Any, after: float, with_signal: int = signal.SIGKILL) -> list[Any]:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_run, args=(sender, work, arguments))
        child.start()
        sender.close()
        acknowledged = [receiver.recv()]  # the child has begun
        time.sleep(after)
        os.kill(child.pid, with_signal)
        try:
            while True:
                acknowledged.append(receiver.recv())
        except EOFError:
            pass
        child.join()
        return acknowledged

    return run


@contextmanager
def interrupt_after(seconds: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block after some time, as Ctrl-C does, unless it is over by then."""
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.fixture
def interrupt() -> Callable[[float], Any]:
    return interrupt_after


@pytest.fixture
def flip() -> Callable[[Path, np.random.Generator], Any]:
    """Flip a random bit of a file for the length of a block."""

    @contextmanager
    def flipped(path: Path, generator: np.random.Generator) -> Iterator[int]:
        content = path.read_bytes()
        bit = int(generator.integers(8 * len(content)))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        try:
            yield bit
        finally:
            path.write_bytes(content)

    return flipped
