"""What a fit costs and reaches, beside ITQ, on real embeddings.

    python benchmarks/quantization_fit.py small       # 5,000 rows of 16, 32, 64 dimensions, nine sets (3 minutes)
    python benchmarks/quantization_fit.py objectives  # L2 error that each objective ends at
    python benchmarks/quantization_fit.py text        # 100,000 x 384, ITQ to convergence (20 minutes)
    python benchmarks/quantization_fit.py wide        # 100,000 x 1,024, ITQ to convergence (an hour)

Prints Markdown. Embeddings come from benchmarks/real_embeddings.py. Error is the L2 quantization error on the rows that
were fitted; seconds are of fit alone, the median of five for the fast ones; seconds of processor (all threads together)
tell more on a busy machine. Memory is the most that is allocated at a time during fit (by tracemalloc, in a fit of few
steps), over the bytes of the rows.
"""

import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.pop("OPENBLAS_L2_SIZE", None)

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from h2q.quantization import (
    OBJECTIVES,
    HouseholderQuantizer,
    ITQQuantizer,
    RandomRotationQuantizer,
    Schedule,
    SignQuantizer,
)
from h2q.quantization.sgd import annealed
from real_embeddings import HEAD_BITS, HEAD_LOSSES, head_embeddings, text_embeddings, wide_embeddings

SEEDS = range(5)


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return a result and the seconds that it took on the clock."""
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def max_threads() -> int:
    """Return how many threads NumPy's products may use."""
    return max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")


def small() -> None:
    """Print the table of the small fits: one row a set of embeddings."""
    print(
        "| embeddings | sign | random | ITQ, 50 iterations | best of 20 ITQ, converged | H²Q mean (worst of 5 seeds) "
        "| H²Q / best of 20 | constant rate, 300 epochs | seconds: ITQ 50 | 20 ITQ | H²Q | constant, one core "
        "| H²Q / ITQ 50 |\n" + "|---" * 13 + "|"
    )
    for n_bits in HEAD_BITS[::-1]:
        for loss in HEAD_LOSSES:
            small_row(f"{loss}, {n_bits}", np.array(head_embeddings(loss, n_bits)))


def small_row(name: str, X: np.ndarray) -> None:
    """Print one row."""
    sign, random = (
        kind.fit(X).quantization_error(X) for kind in (SignQuantizer(), RandomRotationQuantizer(random_state=0))
    )
    itq50 = ITQQuantizer(max_iter=50, tol=0, random_state=0)
    # Side by side, each three times, so that both meet the same neighbors on the machine.
    itq_times, h2q_times, errors = [], [], []
    for seed in SEEDS:
        itq_times.append(timed(lambda: itq50.fit(X))[1])
        fitted, seconds = timed(lambda seed=seed: HouseholderQuantizer(random_state=seed).fit(X))
        h2q_times.append(seconds)
        errors.append(fitted.quantization_error(X))
    best, twenty = timed(lambda: ITQQuantizer(n_init=20, random_state=0).fit(X))
    with threadpool_limits(1):
        constant, constant_time = timed(lambda: HouseholderQuantizer(schedule="constant", random_state=0).fit(X))
    best_error, itq_time, h2q_time = (
        best.quantization_error(X),
        statistics.median(itq_times),
        statistics.median(h2q_times),
    )
    print(
        f"| {name} | {sign:.4f} | {random:.4f} | {itq50.quantization_error(X):.4f} | {best_error:.4f} "
        f"| {np.mean(errors):.4f} ({max(errors):.4f}) | {np.mean(errors) / best_error:.3f} "
        f"| {constant.quantization_error(X):.4f} | {itq_time:.3f} | {twenty:.2f} | {h2q_time:.3f} "
        f"| {constant_time:.2f} | {h2q_time / itq_time:.1f} |",
        flush=True,
    )


def objectives() -> None:
    """Print the L2 error that each objective ends at: one row an objective."""
    sets = {
        f"{loss}, {n_bits}": np.array(head_embeddings(loss, n_bits)) for loss in HEAD_LOSSES for n_bits in HEAD_BITS
    }
    print("| objective | " + " | ".join(sets) + " |\n" + "|---" * (len(sets) + 1) + "|")
    for name in OBJECTIVES:
        errors = [
            HouseholderQuantizer(objective=name, random_state=0).fit(X).quantization_error(X) for X in sets.values()
        ]
        print(f"| {name} | " + " | ".join(f"{error:.4f}" for error in errors) + " |", flush=True)


def memory_of_fit(X: np.ndarray) -> float:
    """Return the most that a fit allocates at a time, over the bytes of X."""
    batch_size = annealed(*X.shape, polish=True).batch_size
    short = Schedule(rounds=1, steps=2, batch_size=batch_size, rate=1.0, polish_iterations=1)
    tracemalloc.start()
    HouseholderQuantizer(schedule=short, random_state=0).fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / X.nbytes


def large(X: np.ndarray, max_iter: int) -> None:
    """Print the table of a large fit: H²Q, then ITQ."""
    print(f"{len(X):,} x {X.shape[1]:,}, threads: {max_threads()}\n")
    print("| | error | seconds | seconds of processor | memory / rows |\n|---|---|---|---|---|")
    print(f"| sign | {SignQuantizer().fit(X).quantization_error(X):.4f} | | | |", flush=True)
    quantizers = {
        "H²Q": HouseholderQuantizer(random_state=0),
        "ITQ, 50 iterations": ITQQuantizer(max_iter=50, tol=0, random_state=0),
        f"ITQ, until an iteration gains under 1e-6 or {max_iter}": ITQQuantizer(
            max_iter=max_iter, tol=1e-6, random_state=0
        ),
    }
    for name, quantizer in quantizers.items():
        processor = time.process_time()
        fitted, seconds = timed(lambda quantizer=quantizer: quantizer.fit(X))
        processor = time.process_time() - processor
        iterations = (
            f" ({fitted.n_iter_} iterations, last gain {-np.diff(fitted.loss_curve_)[-1]:.1e})" if "ITQ" in name else ""
        )
        memory = f"{memory_of_fit(X):.2f}" if name == "H²Q" else ""
        print(
            f"| {name}{iterations} | {fitted.quantization_error(X):.4f} | {seconds:.1f} | {processor:.1f} | {memory} |",
            flush=True,
        )


def main(which: str) -> None:
    """Run the part named on the command line."""
    parts: dict[str, Callable[[], None]] = {
        "small": small,
        "objectives": objectives,
        "text": lambda: large(np.array(text_embeddings()[:100_000]), 1000),
        "wide": lambda: large(np.array(wide_embeddings()), 1000),
    }
    parts[which]()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "small")
