"""Work that takes the processor, in a few threads, so that other requests go on."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from h2q.web.settings import Refusal

__all__ = ["WorkPool"]

P = ParamSpec("P")
Result = TypeVar("Result")


class WorkPool:
    """Threads with a queue of bounded length.

    Parameters
    ----------
    name : str
        Name of the threads.
    threads : int
        Number of them.
    max_waiting : int
        Calls that may run or wait; further ones are refused.
    initializer : callable, optional
        Called in each thread when it starts.
    """

    def __init__(self, name: str, threads: int, max_waiting: int, initializer: Callable[[], Any] | None = None) -> None:
        self._make = partial(ThreadPoolExecutor, threads, name, initializer)
        self._pool: ThreadPoolExecutor | None = None
        self._max_waiting, self._waiting = max_waiting, 0

    async def run(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Call a function in a thread, and wait for its result.

        Raises
        ------
        Refusal
            If too many calls wait already (503).
        """
        if self._waiting >= self._max_waiting:
            raise Refusal(503, "the server is busy; try again in a moment")
        if self._pool is None:
            self._pool = self._make()
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(function, *args, **kwargs))
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Let the threads end; calls that wait are dropped. A further call starts new threads."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
