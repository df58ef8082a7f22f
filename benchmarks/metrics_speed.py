"""Mean average precision beside the loop that hashing repositories use, its scale, and a large run.

    python benchmarks/metrics_speed.py             # peer and scale, about two minutes
    python benchmarks/metrics_speed.py --large     # 10,000 queries x 1,000,000 items as well

The peer is a loop over queries in NumPy: a row of distances, argsort, cumulative sums; once from packed codes with a
table of bit counts, and once as those repositories have it, from codes of -1 and 1 by a matrix product. Both sides
compute five numbers: mAP@5000, mAP, and mAP within Hamming radius 0, 1, 2. Codes are drawn around ten centers, one a
class, so that there are as many ties as in real ones; the peer breaks ties by row and runs on a sample of the queries.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.pop("OPENBLAS_L2_SIZE", None)

import numpy as np

from h2q.evaluation import evaluate_codes, mean_average_precision

N_BITS, K, RADII = 64, 5_000, (0, 1, 2)
POPCOUNTS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


def clustered(n: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    centers = np.random.default_rng(7).random((10, N_BITS)) < 0.5
    labels = generator.integers(0, 10, n)
    codes = np.empty((n, N_BITS // 8), np.uint8)
    for start in range(0, n, 100_000):
        part = labels[start : start + 100_000]
        flips = generator.random((len(part), N_BITS), dtype=np.float32) < 0.25
        codes[start : start + 100_000] = np.packbits(centers[part] ^ flips, axis=1)
    return codes, labels


def average_precisions(hamming: np.ndarray, relevant: np.ndarray) -> list[float]:
    order = np.argsort(hamming, kind="stable")
    ordered = relevant[order].astype(np.float64)
    hits = np.cumsum(ordered)
    precisions = np.cumsum(ordered * hits / np.arange(1, len(order) + 1))
    ends = [K, len(order), *np.searchsorted(hamming[order], RADII, side="right")]
    return [precisions[end - 1] / hits[end - 1] if end and hits[end - 1] else 0.0 for end in ends]


def peer_packed(queries: np.ndarray, database: np.ndarray, query_labels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = []
    for query, label in zip(queries, query_labels, strict=True):
        hamming = POPCOUNTS[query ^ database].sum(axis=1, dtype=np.int64)
        rows.append(average_precisions(hamming, labels == label))
    return np.mean(rows, axis=0)


def peer_signs(queries: np.ndarray, database: np.ndarray, query_labels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = []
    for query, label in zip(queries, query_labels, strict=True):
        rows.append(average_precisions(0.5 * (N_BITS - query @ database.T), labels == label))
    return np.mean(rows, axis=0)


def signs(codes: np.ndarray) -> np.ndarray:
    return 2 * np.unpackbits(codes, axis=1).astype(np.float32) - 1


def ours(ties: str, *arguments: Any, **options: Any) -> np.ndarray:
    found = evaluate_codes(*arguments, n_bits=N_BITS, ks=[K, None], radii=list(RADII), ties=ties, **options)
    cuts = [*found.at_k.values(), *found.within_radius.values()]
    return np.array([cut.mean_average_precision.value for cut in cuts])


def seconds(run: Callable[[], Any], rounds: int = 1) -> tuple[float, Any]:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - start)
    return float(np.median(times)), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="also 10,000 queries x 1,000,000 items")
    parser.add_argument("--sample", type=int, default=100, help="queries that the peers run on")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    n_queries, n = 1_000, 53_000
    (queries, query_labels), (database, labels) = clustered(n_queries, generator), clustered(n, generator)
    arguments = (queries, database, query_labels, labels)
    ours("expected", *arguments), ours("row", *arguments)  # compile
    few = slice(0, options.sample)
    sample = (queries[few], database, query_labels[few], labels)
    sign_sample = (signs(queries[few]), signs(database), query_labels[few], labels)
    share = n_queries / options.sample
    print(f"{n_queries:,} queries x {n:,} items, {N_BITS} bits: mAP@{K}, mAP, mAP within radius 0, 1, 2\n")
    print("| what | seconds | times faster than the loop (packed) | than the loop (signs) |\n|---|---|---|---|")
    packed_seconds, packed = seconds(lambda: peer_packed(*sample))
    sign_seconds, by_signs = seconds(lambda: peer_signs(*sign_sample))
    np.testing.assert_allclose(by_signs, packed, atol=1e-12)
    np.testing.assert_allclose(ours("row", *sample), packed, atol=1e-9)
    print(f"| loop over packed codes | {packed_seconds * share:.1f} | | |")
    print(f"| loop over signs | {sign_seconds * share:.1f} | | |")
    for ties in ("expected", "optimistic", "row"):
        taken, _ = seconds(lambda ties=ties: ours(ties, *arguments), rounds=5)
        ratios = (one * share / taken for one in (packed_seconds, sign_seconds))
        print(f'| h2q, ties "{ties}" | {taken:.3f} | {" | ".join(f"{ratio:.0f}" for ratio in ratios)} |')
    embeddings = (signs(queries) + generator.standard_normal((n_queries, N_BITS), dtype=np.float32),
                  signs(database) + generator.standard_normal((n, N_BITS), dtype=np.float32))  # fmt: skip
    taken, _ = seconds(
        lambda: mean_average_precision(
            *arguments, n_bits=N_BITS, k=K, ties="embeddings", query_embeddings=embeddings[0],
            database_embeddings=embeddings[1],
        )
    )  # fmt: skip
    print(f'| h2q, ties "embeddings", mAP@{K} alone | {taken:.3f} | | |')
    print("\nScale: 1,000 queries, the same five numbers\n\n| items | seconds | nanoseconds a pair |\n|---|---|---|")
    for size in (10_000, 100_000, 1_000_000):
        database, labels = clustered(size, generator)
        taken, _ = seconds(
            lambda database=database, labels=labels: ours("expected", queries, database, query_labels, labels), rounds=3
        )
        print(f"| {size:,} | {taken:.3f} | {taken / n_queries / size * 1e9:.2f} |")
    if options.large:
        queries, query_labels = clustered(10_000, generator)
        taken, found = seconds(
            lambda: mean_average_precision(queries, database, query_labels, labels, n_bits=N_BITS, k=K)
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"\n10,000 queries x 1,000,000 items, mAP@{K} = {found.value:.4f}: {taken:.1f} s; ", end="")
        print(f"the process never took more than {peak:.2f} GiB, the data and the runs above included")


if __name__ == "__main__":
    main()
