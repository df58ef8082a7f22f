"""Threads over compiled kernels that release the interpreter's lock.

Plain threads instead of numba's own parallel loops: those end a process that was forked after a search (OpenMP) or in
which two threads search at once (work queue), and they cannot be interrupted. Our own helpers instead of
`concurrent.futures`: its executor loses a thread whose start is interrupted, and the interpreter then waits for that
thread for ever.
"""

import _thread
import os
from collections import deque
from collections.abc import Callable
from functools import cache
from queue import SimpleQueue
from typing import TypeVar, cast

from numba import config, get_num_threads

__all__ = ["run_jobs", "threads_for"]

Result = TypeVar("Result")
_WORTH_A_THREAD = 1 << 20  # 64-bit words; scanning fewer takes less time than waking a thread


class _Helpers:
    """Threads that wait for calls. Starting one waits for nothing, and the interpreter exits without waiting for it."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._started: list[int] = []

    def call(self, function: Callable[[], None], times: int) -> None:
        """Let helpers call a function that raises nothing, as soon as they are free."""
        limit: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
        while len(self._started) < min(times, limit):
            self._started.append(_thread.start_new_thread(self._serve, ()))
        for _ in range(times):
            self._calls.put(function)

    def _serve(self) -> None:
        while True:
            self._calls.get()()


@cache
def _helpers() -> _Helpers:
    """Return the helpers of this process."""
    return _Helpers()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    # A forked process has none of its parent's threads.
    os.register_at_fork(after_in_child=_helpers.cache_clear)


def threads_for(words: int) -> int:
    """Return the number of threads to scan this many 64-bit words with: at most numba's, one if there are few words."""
    return max(1, min(get_num_threads(), words // _WORTH_A_THREAD))


def run_jobs(job: Callable[[int], Result], n_jobs: int, threads: int) -> list[Result]:
    """Return ``[job(0), ..., job(n_jobs - 1)]``, computed by several threads, this one among them.

    If a job raises, or the user interrupts, no new job begins, and the error is raised.

    Examples
    --------
    >>> run_jobs(lambda i: i * i, 5, threads=2)
    [0, 1, 4, 9, 16]
    """
    results: list[Result | None] = [None] * n_jobs
    remaining = iter(range(n_jobs))  # next() is one step under the interpreter's lock
    begun: list[None] = []
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def work() -> None:
        for i in remaining:
            results[i] = job(i)

    def help_out() -> None:
        begun.append(None)
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            deque(remaining, maxlen=0)
            error = raised
        ended.put(error)

    try:
        helpers = min(threads, n_jobs) - 1
        if helpers > 0:
            _helpers().call(help_out, helpers)
        work()
        # A helper that begins only now, after another search, finds no job left: there is no need to wait for it.
        for _ in range(len(begun)):
            error = ended.get()
            if error is not None:
                raise error
    except BaseException:
        deque(remaining, maxlen=0)
        raise
    return cast(list[Result], results)
