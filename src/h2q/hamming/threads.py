"""Threads over compiled kernels that let go of the interpreter's lock.

Plain threads instead of numba's own parallel loops, since these end the process where it was forked after a search
(OpenMP), or where two threads search at once (work queue), and cannot be interrupted.
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar, cast

from numba import config, get_num_threads

__all__ = ["run_jobs", "threads_for"]

Result = TypeVar("Result")
_WORTH_A_THREAD = 1 << 20  # scanning fewer takes less time than waking a thread


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads that wait for work; none is started before it is needed."""
    threads: int = config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return ThreadPoolExecutor(threads, thread_name_prefix="h2q")


# A forked process has none of its parent's threads.
os.register_at_fork(after_in_child=_pool.cache_clear)


def threads_for(words: int) -> int:
    """Return how many threads to scan so many 64-bit words with: numba's number of threads, one for little work."""
    return max(1, min(get_num_threads(), words // _WORTH_A_THREAD))


def run_jobs(job: Callable[[int], Result], n_jobs: int, threads: int) -> list[Result]:
    """Return ``[job(0), ..., job(n_jobs - 1)]``, computed by several threads, this one among them.

    Where one raises, or the user interrupts, no new job is begun, and the error is raised.

    Examples
    --------
    >>> run_jobs(lambda i: i * i, 5, threads=2)
    [0, 1, 4, 9, 16]
    """
    results: list[Result | None] = [None] * n_jobs
    remaining = iter(range(n_jobs))  # its next() is one step under the interpreter's lock

    def work() -> None:
        try:
            for i in remaining:
                results[i] = job(i)
        except BaseException:
            deque(remaining, maxlen=0)
            raise

    others = [_pool().submit(work) for _ in range(min(threads, n_jobs) - 1)]
    work()
    for other in others:
        # Nothing is left to do for those that did not begin: the threads were busy with another search.
        if not other.cancel():
            other.result()
    return cast(list[Result], results)
