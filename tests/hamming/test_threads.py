"""Searches from several threads, in forked processes, with fewer threads, and interrupted."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from h2q.hamming import AsymmetricScan
from h2q.hamming.scans import distances, nearest, within
from h2q.hamming.threads import run_jobs, threads_for

GENERATOR = np.random.default_rng(0)
DATABASE = GENERATOR.integers(0, 256, (50_000, 8), dtype=np.uint8)
QUERIES = DATABASE[:40]


def everything() -> list[np.ndarray]:
    found, near = nearest(QUERIES, DATABASE, 5), within(QUERIES, DATABASE, 20)
    asymmetric = AsymmetricScan(np.unpackbits(QUERIES, axis=1).astype(np.float32) - 0.25, 5)
    asymmetric.add(DATABASE)
    rows = asymmetric.finish().ids
    return [found.ids, found.distances, near.offsets, near.ids, rows, distances(QUERIES, DATABASE[:9])]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def _search_in_a_child(results: "multiprocessing.SimpleQueue[list[np.ndarray]]") -> None:
    results.put(everything())


def test_a_process_forked_after_a_search_searches() -> None:
    expected = everything()
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=_search_in_a_child, args=(results,))
    child.start()
    assert_same(results.get(), expected)
    child.join()
    assert child.exitcode == 0


def test_threads_search_at_once() -> None:
    expected = everything()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: everything(), range(8)):
            assert_same(found, expected)


def test_the_users_number_of_threads_is_kept_to() -> None:
    expected, before = everything(), numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert threads_for(1 << 40) == 1
        assert_same(everything(), expected)
    finally:
        numba.set_num_threads(before)
    assert threads_for(1 << 40) == before
    assert threads_for(100) == 1


def test_an_error_in_any_thread_is_raised_and_begins_no_new_job() -> None:
    begun = []

    def fail(i: int) -> None:
        begun.append(i)
        raise RuntimeError(f"job {i}")

    for threads in (1, 3):
        begun.clear()
        with pytest.raises(RuntimeError, match="job"):
            run_jobs(fail, 1000, threads)
        assert len(begun) <= threads


def test_a_long_search_can_be_interrupted() -> None:
    # Minutes of work, far beyond the timeout below.
    code = (
        "import signal\n"
        "import numpy as np\n"
        "from h2q.hamming.scans import nearest\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "database = np.random.default_rng(0).integers(0, 256, (200_000, 128), dtype=np.uint8)\n"
        "nearest(database[:1], database[:9], 1)\n"
        "try:\n"
        "    print('searching', flush=True)\n"
        "    nearest(np.tile(database, (5, 1)), database, 10)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "searching\n"
        time.sleep(1)
        os.kill(child.pid, signal.SIGINT)
        assert child.communicate(timeout=30)[0] == "interrupted\n"
    assert child.returncode == 0
