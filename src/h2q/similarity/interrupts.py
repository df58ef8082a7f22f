"""Ctrl-C during a training: Lightning turns it into an exit, and finalizers of its objects drop it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["interrupts_kept"]


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the block if Ctrl-C came and something in the block swallowed it.

    Then the handler of Ctrl-C is the caller's again, which Lightning replaces by one that ignores further signals.
    """
    previous, received = signal.getsignal(signal.SIGINT), False

    def receive(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        if callable(previous):
            previous(number, frame)

    try:
        signal.signal(signal.SIGINT, receive if callable(previous) else previous)
    except (ValueError, TypeError):  # another thread than the main one, or a handler that is not Python's
        yield
        return
    try:
        yield
    except SystemExit as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        received = True
    finally:
        signal.signal(signal.SIGINT, previous)
    if received:
        raise KeyboardInterrupt
