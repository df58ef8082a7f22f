"""Exact Hamming search beside faiss.IndexBinaryFlat, in one run with the same threads.

    python benchmarks/search.py

Codes: `random` are uniform; `images` are codes (whitened, learned rotation) of the features of 100,000 images (CIFAR-10
and mirrored), enlarged to 1,000,000 by copies with 5% of the bits flipped, since real image collections of that size
are not at hand. Queries are database codes with 10% of the bits flipped. Medians over rounds; faiss and h2q take turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numba
import numpy as np

from h2q.hamming.scans import nearest
from h2q.index import BinaryIndex

N, QUERIES, K = 1_000_000, 1000, 100


def flip(codes: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    mask = np.packbits(generator.random((len(codes), 8 * codes.shape[1]), dtype=np.float32) < share, axis=1)
    return codes ^ mask


def random_codes(n_bits: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    database = generator.integers(0, 256, (N, n_bits // 8), dtype=np.uint8)
    return database, flip(database[generator.permutation(N)[:QUERIES]], 0.1, generator)


def image_codes(n_bits: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    from h2q.quantization import HouseholderQuantizer
    from real_embeddings import wide_embeddings

    features = wide_embeddings()
    codes = (
        HouseholderQuantizer(n_bits, whitening=1.0, max_samples=20_000, random_state=0).fit(features).encode(features)
    )
    copies = codes[np.arange(N) % len(codes)]
    database = np.concatenate([flip(part, 0.05, generator) for part in np.array_split(copies, 20)])
    return database, flip(database[generator.permutation(N)[:QUERIES]], 0.1, generator)


def in_turns(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Wall-clock and processor seconds of h2q and faiss, both (rounds, 2)."""
    ours(), theirs()
    wall, processor = np.empty((rounds, 2)), np.empty((rounds, 2))
    for round in range(rounds):
        for i, run in enumerate((ours, theirs)):
            start, processor_start = time.perf_counter(), time.process_time()
            run()
            wall[round, i] = time.perf_counter() - start
            processor[round, i] = time.process_time() - processor_start
    return wall, processor


def against_faiss(threads: int, sources: list[str]) -> None:
    print(f"\n{N:,} codes, top {K}, {threads} thread(s); median (fastest) over rounds\n")
    print("| codes | bits | queries | h2q | faiss | faiss / h2q, wall clock | faiss / h2q, processor time |")
    print("|---|---|---|---|---|---|---|")
    for source in sources:
        for n_bits in (64, 256):
            generator = np.random.default_rng(n_bits)
            database, queries = {"random": random_codes, "images": image_codes}[source](n_bits, generator)
            peer = faiss.IndexBinaryFlat(n_bits)
            peer.add(database)
            expected, _ = peer.search(queries[:50], K)
            np.testing.assert_array_equal(nearest(queries[:50], database, K).distances, expected)
            for some, rounds in ((queries, 4), (queries[:1], 101)):
                wall, processor = in_turns(
                    lambda q=some, d=database: nearest(q, d, K), lambda q=some, p=peer: p.search(q, K), rounds
                )
                medians, fastest = np.median(wall, axis=0), wall.min(axis=0)
                row = [source, str(n_bits), str(len(some))]
                for i in (0, 1):
                    if len(some) == 1:
                        row.append(f"{1e3 * medians[i]:.2f} ({1e3 * fastest[i]:.2f}) ms")
                    else:
                        row.append(f"{len(some) / medians[i]:,.0f} ({len(some) / fastest[i]:,.0f}) queries/s")
                for seconds in (wall, processor):
                    ratio = np.divide(*np.median(seconds, axis=0)[::-1])
                    row.append(f"{ratio:.2f} ({np.divide(*seconds.min(axis=0)[::-1]):.2f})")
                print(f"| {' | '.join(row)} |", flush=True)


def appending() -> None:
    generator = np.random.default_rng(0)
    print("\nSaving after adding 10,000 codes of 64 bits to an index of 10,000,000\n")
    print("| step | seconds | bytes written |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path, index = Path(folder) / "index", BinaryIndex(64)
        index.add(generator.integers(0, 256, (10_000_000, 8), dtype=np.uint8))

        def timed(step: str, run: Callable[[], object]) -> None:
            before = {f.name: f.stat().st_mtime_ns for f in path.iterdir()} if path.exists() else {}
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            written = sum(f.stat().st_size for f in path.iterdir() if before.get(f.name) != f.stat().st_mtime_ns)
            print(f"| {step} | {seconds:.3f} | {written:,} |", flush=True)

        timed("first save", lambda: index.save(path))
        opened = BinaryIndex.open(path)
        timed("open", lambda: BinaryIndex.open(path))
        opened.add(generator.integers(0, 256, (10_000, 8), dtype=np.uint8))
        timed("save after adding 10,000", lambda: opened.save(path))
        query = generator.integers(0, 256, (1, 8), dtype=np.uint8)
        timed("open and search once", lambda: BinaryIndex.open(path).search(query, 100))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    parser.add_argument("--codes", nargs="+", choices=["random", "images"], default=["random", "images"])
    arguments = parser.parse_args()
    numba.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    against_faiss(arguments.threads, arguments.codes)
    appending()


if __name__ == "__main__":
    main()
