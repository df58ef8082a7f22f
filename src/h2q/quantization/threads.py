"""Threads: chunks in parallel, each matrix product on one thread."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from itertools import chain, islice
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

__all__ = ["SMALL", "in_order", "one_thread_if_small"]

Result = TypeVar("Result")

SMALL = 192  # dimensions below which a product is too small for a second thread


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread_if_small(k: int) -> Any:
    """Return a context in which products of few dimensions use one thread: more would be slower.

    >>> with one_thread_if_small(64):
    ...     pass
    """
    return _controller().limit(limits=1 if k < SMALL else None, user_api="blas")


def in_order(tasks: Iterator[Callable[[], Result]]) -> Iterator[Result]:
    """Yield the results of tasks in their order, computed by as many threads as NumPy's products may use.

    Chunks in parallel, each on one thread, are faster than one chunk after another on all threads: no product waits for
    its slowest thread, and checks and packing run in parallel, too. Only a few tasks are taken ahead.

    >>> list(in_order(iter([lambda: 1, lambda: 2])))
    [1, 2]
    """
    blas = _controller().select(user_api="blas")
    first = list(islice(tasks, 2))
    if len(first) < 2:  # nothing to do in parallel, such as one query of a search
        with blas.limit(limits=1):
            yield from (task() for task in first)
        return
    n_threads = max((library["num_threads"] for library in blas.info()), default=1)
    with blas.limit(limits=1), ThreadPoolExecutor(n_threads) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for task in chain(first, tasks):
                pending.append(pool.submit(task))
                if len(pending) > 2 * n_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
