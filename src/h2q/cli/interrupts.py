"""Ctrl-C and SIGTERM: one line and exit code 130 or 143, whatever the command is doing."""

import os
import signal
import sys
from types import FrameType

__all__ = ["Interrupts"]

_GRACE_SECONDS = 5.0
_RETRY_SECONDS = 0.02
_MESSAGES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupts:
    """Handlers of Ctrl-C and SIGTERM for the length of a program.

    The first signal raises KeyboardInterrupt, so that the command cleans up. A second one ends the process at once; so
    does a command that has not ended five seconds after the first, because something waits or swallows the exception.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._received: signal.Signals | None = None
        self._ended = self._said = self._swallowed = False

    def install(self) -> None:
        """Set the handlers, but for signals that the program was started to ignore."""
        for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            if signal.getsignal(number) == default:
                signal.signal(number, self._receive)
        if hasattr(signal, "SIGALRM"):  # not on Windows
            signal.signal(signal.SIGALRM, self._run_out)
            sys.unraisablehook = self._not_raised

    def finish(self) -> None:
        """Let signals end the process at once: the command is done, and Python is about to exit."""
        self._ended = True

    def say(self) -> int:
        """Print the line of the signal on standard error; return the exit code."""
        received = self._received or signal.SIGINT
        if not self._said:
            self._said = True
            os.write(2, f"{_MESSAGES[received]}\n".encode())
        return 128 + received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork: its parent takes care of the message
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self._received is not None or self._ended:
            self._received = self._received or signal.Signals(number)
            os._exit(self.say())
        self._received = signal.Signals(number)
        self._set_timer(_GRACE_SECONDS)
        raise KeyboardInterrupt

    def _run_out(self, number: int, frame: FrameType | None) -> None:
        if not self._swallowed:
            os._exit(self.say())
        self._swallowed = False
        self._set_timer(_GRACE_SECONDS)
        raise KeyboardInterrupt

    def _not_raised(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Raise again what was raised where Python cannot raise, such as in a finalizer."""
        if unraisable.exc_type is not KeyboardInterrupt:
            sys.__unraisablehook__(unraisable)
        elif not self._ended:
            self._swallowed = True
            self._set_timer(_RETRY_SECONDS)

    def _set_timer(self, seconds: float) -> None:
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, seconds)
