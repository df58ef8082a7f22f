"""Repeats what a server did not answer: a bounded number of times, with growing pauses."""

import time
from collections.abc import Callable
from typing import TypeVar

from h2q.errors import EngineUnavailableError

__all__ = ["repeat"]

T = TypeVar("T")

_FIRST_PAUSE = 0.2  # seconds, doubled each time


def repeat(
    work: Callable[[], T],
    failures: tuple[type[Exception], ...],
    *,
    retries: int,
    place: str,
    again: Callable[[Exception], bool] = lambda error: True,
) -> T:
    """Return what `work` returns, called again when it fails because the server does not answer.

    Parameters
    ----------
    work : callable
        Must have the same effect whether it is called once or again after a failure.
    failures : tuple of exceptions
        What says that the server does not answer.
    retries : int
        Calls after the first one.
    place : str
        The server, for errors.
    again : callable
        Whether one of `failures` is of that kind; others are raised as they are.

    Raises
    ------
    EngineUnavailableError
        If the last call failed, too.

    Examples
    --------
    >>> answers = iter([ConnectionError("down"), "an answer"])
    >>> def ask():
    ...     answer = next(answers)
    ...     if isinstance(answer, Exception):
    ...         raise answer
    ...     return answer
    >>> repeat(ask, (ConnectionError,), retries=1, place="a server")
    'an answer'
    """
    began, pause = time.monotonic(), _FIRST_PAUSE
    for attempt in range(retries + 1):
        try:
            return work()
        except failures as error:
            if not again(error):
                raise
            if attempt == retries:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                raise EngineUnavailableError(
                    f"{place} does not answer: {retries + 1} attempts in {time.monotonic() - began:.1f} s, the last "
                    f"one: {reason}"
                ) from error
        time.sleep(pause)
        pause *= 2
    raise RuntimeError("unreachable")  # pragma: no cover
