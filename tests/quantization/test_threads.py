import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from h2q.quantization.threads import in_order, one_thread_if_small


def blas_threads() -> list[int]:
    """Return the number of threads of NumPy's BLAS; SciPy and PyTorch may load libraries of their own at any time."""
    return [
        library["num_threads"]
        for library in threadpool_info()
        if library["user_api"] == "blas" and "numpy" in library["filepath"]
    ]


def test_results_come_in_order_and_threads_are_given_back():
    before = blas_threads()
    barrier = threading.Event()
    tasks = [lambda: barrier.wait(0.1) or 0, *(lambda i=i: barrier.set() or i for i in range(1, 50))]
    assert list(in_order(iter(tasks)))[1:] == list(range(1, 50))
    assert blas_threads() == before


def test_an_error_comes_out_at_its_place_and_ends_it():
    before, done = blas_threads(), []

    def fail() -> int:
        raise ValueError("third")

    results = in_order(iter([lambda: 1, lambda: 2, fail, *[lambda: done.append(1) or 4] * 1000]))
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(results)
    assert len(done) <= 2 * max(before) + 1
    assert blas_threads() == before


def test_only_a_few_tasks_are_taken_ahead():
    taken = []
    with threadpool_limits(2, user_api="blas"):
        results = in_order(taken.append(i) or (lambda: np.ones(1)) for i in range(1000))
        next(results)
        assert len(taken) == 2 * 2 + 1
        results.close()


def test_a_single_task_needs_no_thread():
    before, inside = blas_threads(), []
    tasks = iter([lambda: inside.extend(blas_threads()) or threading.get_ident()])
    assert list(in_order(tasks)) == [threading.get_ident()]
    assert set(inside) == {1}
    assert list(in_order(iter([]))) == []
    assert blas_threads() == before


def test_small_products_use_one_thread():
    with threadpool_limits(2, user_api="blas"):
        with one_thread_if_small(64):
            assert set(blas_threads()) == {1}
        with one_thread_if_small(512):
            assert set(blas_threads()) == {2}
