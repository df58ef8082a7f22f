"""What refined codes cost: fit and encode at 48 bytes an item, 384 dimensions.

    python benchmarks/quantization_refined.py                   # three measurements (3 minutes on two idle cores)
    python benchmarks/quantization_refined.py fit-15000         # only these: fit-15000, fit-100000, encode-1000000
    python benchmarks/quantization_refined.py encode-100000     # any number of rows

Prints Markdown. Embeddings are 32,000 WordNet glosses through all-MiniLM-L6-v2; rows beyond these are the same with
noise of a tenth of their norm, so that no row repeats. Seconds of processor (all threads together) tell more on a busy
machine than those of the clock. Compiled code is loaded before the clock starts.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from codes_at_equal_bytes import texts
from h2q.quantization import RefinedQuantizer
from machine import processor

DEFAULT = ("fit-15000", "fit-100000", "encode-1000000")


def rows(count: int) -> NDArray[np.float32]:
    """Return that many embeddings."""
    real, generator = texts(), np.random.default_rng(0)
    X = np.tile(real, (-(-count // len(real)), 1))[:count]
    for start in range(len(real), count, len(real)):
        part = X[start : start + len(real)]
        part += np.float32(0.1 / part.shape[1] ** 0.5) * generator.standard_normal(part.shape, dtype=np.float32)
    return X


def measured(action: Callable[[], object], threads: int) -> tuple[float, float]:
    """Return seconds of the clock and of the processor."""
    with threadpool_limits(threads, user_api="blas"):
        wall, used = time.perf_counter(), time.process_time()
        action()
        return time.perf_counter() - wall, time.process_time() - used


def main(tasks: list[str]) -> None:
    """Measure and print the table."""
    small = rows(15_000)
    quantizer = RefinedQuantizer(48, random_state=0, max_samples=2_000).fit(small)
    quantizer.encode_items(small[:100])
    print(f"{processor()}\n")
    print(
        "| what | threads | seconds, clock | seconds, processor | µs a row a core |\n|---|---|---|---|---|", flush=True
    )
    for task in tasks:
        kind, _, size = task.partition("-")
        count = int(size)
        X, threads = rows(count), 1 if count <= 15_000 else 2
        if kind == "fit":
            wall, used = measured(lambda X=X: RefinedQuantizer(48, random_state=0).fit(X), threads)
        elif kind == "encode":
            wall, used = measured(lambda X=X: quantizer.encode_items(X), threads)
        else:
            sys.exit(f"a measurement must be fit-ROWS or encode-ROWS; got {task}")
        print(
            f"| {kind} {count:,} x 384 | {threads} | {wall:.1f} | {used:.1f} | {used / count * 1e6:.1f} |", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:] or list(DEFAULT))
