"""Searches from several threads, in forked processes, with fewer threads, and interrupted at any moment."""

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
    neighbors, near = nearest(QUERIES, DATABASE, 5), within(QUERIES, DATABASE, 20)
    asymmetric = AsymmetricScan(np.unpackbits(QUERIES, axis=1).astype(np.float32) - 0.25, 5)
    asymmetric.add(DATABASE)
    rows = asymmetric.finish().ids
    return [neighbors.ids, neighbors.distances, near.offsets, near.ids, rows, distances(QUERIES, DATABASE[:9])]


def assert_same(results: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for a, b in zip(results, expected, strict=True):
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
        for results in pool.map(lambda _: everything(), range(8)):
            assert_same(results, expected)


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


def run_script(script: str) -> str:
    """Run a script in a fresh interpreter that must end, too; return what it prints."""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_process_ends_after_an_interrupt_while_the_first_thread_starts() -> None:
    script = """
import faulthandler, threading
from h2q.hamming.threads import run_jobs
faulthandler.dump_traceback_later(20, exit=True)
wait = threading.Event.wait
def interrupted_wait(self, timeout=None):
    threading.Event.wait = wait
    wait(self, timeout)
    raise KeyboardInterrupt
threading.Event.wait = interrupted_wait
try:
    run_jobs(lambda i: i, 10, 2)
except KeyboardInterrupt:
    pass
threading.Event.wait = wait
print(run_jobs(lambda i: i, 3, 2))
"""
    assert run_script(script) == "[0, 1, 2]\n"


def test_an_interrupt_on_any_line_starts_no_new_job_and_breaks_nothing() -> None:
    script = """
import faulthandler, sys, time
from h2q.hamming import threads
faulthandler.dump_traceback_later(60, exit=True)
begun = []
def job(i):
    begun.append(i)
    time.sleep(0.001)
    return i
def interrupt_at(line):
    lines = iter(range(line))
    def trace(frame, event, argument):
        if frame.f_code.co_filename != threads.__file__:
            return None
        if event == "line" and next(lines, None) is None:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace
    return trace
interrupts = 0
while True:
    begun.clear()
    sys.settrace(interrupt_at(interrupts))
    try:
        threads.run_jobs(job, 20, 2)
        break
    except KeyboardInterrupt:
        interrupts += 1
    finally:
        sys.settrace(None)
    time.sleep(0.05)
    ended = len(begun)
    time.sleep(0.005)
    assert len(begun) == ended, "jobs go on after the interrupt"
    assert threads.run_jobs(lambda i: i * i, 5, 2) == [0, 1, 4, 9, 16]
print(interrupts)
"""
    assert int(run_script(script)) > 20


def test_processes_interrupted_at_random_moments_end() -> None:
    # Each child is forked without helper threads, so that many interrupts fall into the start of the first.
    script = """
import os, random, signal, sys, time
from h2q.hamming.threads import run_jobs
generator = random.Random(0)
signal.signal(signal.SIGINT, signal.default_int_handler)
for _ in range(60):
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(tell, b"!")
            while True:
                run_jobs(lambda i: i, 10, 2)
        except KeyboardInterrupt:
            sys.exit(0)
    os.read(ready, 1)
    time.sleep(generator.uniform(0, 0.002))
    os.kill(child, signal.SIGINT)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            sys.exit("a child hangs")
        time.sleep(0.0005)
    assert ended[1] == 0, ended
    os.close(ready)
    os.close(tell)
print("all ended")
"""
    assert run_script(script) == "all ended\n"
