"""Exact search beside FAISS, and beside the limit that a plain C loop sets, in one run with the same threads.

    python benchmarks/search.py

Codes: `random` are uniform; `images` are codes (whitened, learned rotation) of the features of 100,000 images (CIFAR-10
and mirrored), enlarged to 1,000,000 by copies with 5% of the bits flipped, since real image collections of that size
are not at hand. Queries are database codes with 10% of the bits flipped. The contestants take turns.
"""

import argparse
import ctypes
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import llvmlite.binding
import numba
import numpy as np

from h2q.hamming import AsymmetricScan, NearestScan, nearest
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


class Limit:
    """The loop of scan_limit.c, compiled for this processor with vectors of 256 or 512 bits."""

    def __init__(self, folder: Path, vector_bits: int, threads: int) -> None:
        library = folder / f"limit{vector_bits}.so"
        source = Path(__file__).with_name("scan_limit.c")
        options = ["-O3", "-march=native", f"-mprefer-vector-width={vector_bits}", "-shared", "-fPIC"]
        subprocess.run(["cc", *options, "-o", library, source], check=True)
        self._function = ctypes.CDLL(str(library)).smallest_distances
        self._pool = ThreadPoolExecutor(threads)

    def scan(self, queries: np.ndarray, database: np.ndarray) -> np.ndarray:
        """Return the smallest distance of each query."""
        query_words, words = queries.view(np.uint64), database.view(np.uint64)
        least = np.full(len(queries), 1 << 30, np.int64)

        def group(start: int) -> None:
            some, part = query_words[start : start + 32], least[start : start + 32]
            pointers = [ctypes.c_void_p(array.ctypes.data) for array in (some, words, part)]
            sizes = [ctypes.c_long(size) for size in (len(some), len(words), words.shape[1])]
            self._function(pointers[0], sizes[0], pointers[1], sizes[1], sizes[2], pointers[2])

        list(self._pool.map(group, range(0, len(queries), 32)))
        return least


def print_machine() -> None:
    text = Path("/proc/cpuinfo").read_text()
    fields = dict(map(str.strip, line.split(":", 1)) for line in text.splitlines() if ":" in line)
    flags = fields["flags"].split()
    print(f"Processor: {fields['model name']}, family {fields['cpu family']}, model {fields['model']},", end=" ")
    print(f"{os.cpu_count()} cores,", end=" ")
    print("with" if "avx512_vpopcntdq" in flags else "without", "VPOPCNTDQ; numba's name for it:", end=" ")
    print(llvmlite.binding.get_host_cpu_name(), f"; load {os.getloadavg()[0]:.1f}")
    print(f"FAISS {faiss.__version__}, compile options: {faiss.get_compile_options()}")


def in_turns(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Wall-clock and processor seconds of each contestant, (rounds, 2); one round lets each run once."""
    seconds = {name: np.empty((rounds, 2)) for name in runs}
    for run in runs.values():
        run()
    for round in range(rounds):
        for name, run in runs.items():
            start, processor_start = time.perf_counter(), time.process_time()
            run()
            seconds[name][round] = time.perf_counter() - start, time.process_time() - processor_start
    return seconds


def ratios(seconds: np.ndarray, ours: np.ndarray) -> str:
    """Median over rounds of the ratio to our seconds: wall clock, and processor time."""
    wall, processor = np.median(seconds / ours, axis=0)
    return f"{wall:.2f}, {processor:.2f}"


def speed(seconds: np.ndarray, n_queries: int) -> str:
    """Median by wall clock: queries a second, or milliseconds of one query."""
    median = float(np.median(seconds[:, 0]))
    return f"{1e3 * median:.2f} ms" if n_queries == 1 else f"{n_queries / median:,.0f}/s"


def against_faiss(threads: int, sources: list[str], lengths: list[int], rounds: int) -> None:
    print(f"\n{N:,} codes, top {K}, {threads} thread(s); ratios: median over rounds, wall clock and processor time\n")
    print("| codes | bits | queries | h2q | FAISS | C loop | FAISS / h2q | C loop / h2q |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        limits = [Limit(Path(folder), bits, threads) for bits in (256, 512)] if shutil.which("cc") else []
        for source, n_bits in itertools.product(sources, lengths):
            generator = np.random.default_rng(n_bits)
            database, queries = {"random": random_codes, "images": image_codes}[source](n_bits, generator)
            peer = faiss.IndexBinaryFlat(n_bits)
            peer.add(database)
            expected, _ = peer.search(queries[:50], K)
            np.testing.assert_array_equal(nearest(queries[:50], database, K).distances, expected)
            for some in (queries, queries[:1]):
                runs = {
                    "h2q": lambda q=some, d=database: nearest(q, d, K),
                    "faiss": lambda q=some, p=peer: p.search(q, K),
                }
                if len(some) > 1:
                    runs |= {f"C {i}": lambda q=some, d=database, x=x: x.scan(q, d) for i, x in enumerate(limits)}
                seconds = in_turns(runs, rounds if len(some) > 1 else 101)
                cells = [source, str(n_bits), str(len(some))]
                cells += [speed(seconds[name], len(some)) for name in ("h2q", "faiss")]
                fastest = min((s for name, s in seconds.items() if name[0] == "C"), key=np.sum, default=None)
                cells.append("" if fastest is None else speed(fastest, len(some)))
                cells.append(ratios(seconds["faiss"], seconds["h2q"]))
                cells.append("" if fastest is None else ratios(fastest, seconds["h2q"]))
                print(f"| {' | '.join(cells)} |", flush=True)


def filtered(rounds: int) -> None:
    print("\nThe same batch with a filter that keeps a share of the rows at random, 256 bits\n")
    print("| kept | queries | with filter | without / with filter |")
    print("|---|---|---|---|")
    generator = np.random.default_rng(0)
    database, queries = random_codes(256, generator)

    def search(some: np.ndarray, alive: np.ndarray | None) -> None:
        scan = NearestScan(some, K)
        scan.add(database, alive=alive)
        scan.finish()

    for some in (queries, queries[:1]):
        masks: dict[str, np.ndarray | None] = {"100%": None}
        masks |= {f"{share:.0%}": generator.random(N) < share for share in (0.5, 0.1, 0.01)}
        runs = {name: lambda q=some, a=alive: search(q, a) for name, alive in masks.items()}
        seconds = in_turns(runs, rounds if len(some) > 1 else 31)
        for name, timed in seconds.items():
            print(
                f"| {name} | {len(some)} | {speed(timed, len(some))} | {ratios(seconds['100%'], timed)} |", flush=True
            )


def asymmetric(rounds: int) -> None:
    print(
        "\nAsymmetric top 10 of 1,000,000 x 48 bytes (376 bits and a scalar) and FAISS IndexRaBitQFastScan (384 bits)\n"
    )
    generator = np.random.default_rng(0)
    centers = generator.standard_normal((2000, 384), dtype=np.float32)
    rows = np.concatenate(
        [
            centers[generator.integers(0, 2000, N // 10)]
            + 1.5 * generator.standard_normal((N // 10, 384), dtype=np.float32)
            for _ in range(10)
        ]
    )
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = rows[generator.permutation(N)[:QUERIES]] + 0.03 * generator.standard_normal(
        (QUERIES, 384), dtype=np.float32
    )
    peer = faiss.IndexRaBitQFastScan(384, faiss.METRIC_INNER_PRODUCT)
    peer.train(rows[:100_000])
    peer.add(rows)
    weights, codes = np.ascontiguousarray(queries[:, :376]), np.packbits(rows[:, :376] > 0, axis=1)
    scalars = generator.integers(0, 256, N, dtype=np.uint8)
    scales = np.exp(np.linspace(-0.3, 0.3, 256)).astype(np.float32)
    tables = byte_tables(weights[:20])

    def search() -> None:
        scan = AsymmetricScan(weights, 10, scales=scales, offsets=np.zeros(256, np.float32))
        scan.add(codes, scalars=scalars)
        scan.finish()

    seconds = in_turns(
        {
            "h2q": search,
            "FAISS RaBitQFastScan": lambda: peer.search(queries, 10),
            "byte tables, 20 queries on one thread": lambda: scan_by_tables(tables, codes, scalars, scales),
        },
        rounds,
    )
    print("| method | queries/s | seconds per query / h2q's: wall clock, processor time |")
    print("|---|---|---|")
    for name, timed in seconds.items():
        n = 20 if name.startswith("byte") else QUERIES
        print(f"| {name} | {speed(timed, n)} | {ratios(timed / n, seconds['h2q'] / QUERIES)} |", flush=True)


def byte_tables(weights: np.ndarray) -> np.ndarray:
    """What each byte of a code adds to the weighted Hamming distance, (n_queries, bytes, 256)."""
    values = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)
    pieces = weights.reshape(len(weights), -1, 8)
    return np.maximum(pieces, 0) @ (1 - values).T + np.maximum(-pieces, 0) @ values.T


@numba.njit(nogil=True, error_model="numpy")
def scan_by_tables(tables, codes, scalars, scales):
    """The plain way: a lookup per byte; the nearest of each query only."""
    smallest = np.full(len(tables), np.inf, np.float32)
    for q in range(len(tables)):
        table = tables[q]
        for i in range(len(codes)):
            distance = np.float32(0)
            for byte in range(codes.shape[1]):
                distance += table[byte, codes[i, byte]]
            smallest[q] = min(smallest[q], scales[scalars[i]] * distance)
    return smallest


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


PARTS = ["hamming", "filters", "asymmetric", "appending"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    parser.add_argument("--codes", nargs="+", choices=["random", "images"], default=["random", "images"])
    parser.add_argument("--bits", nargs="+", type=int, default=[64, 128, 256, 384])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    numba.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    print_machine()
    if "hamming" in arguments.parts:
        against_faiss(arguments.threads, arguments.codes, arguments.bits, arguments.rounds)
    if "filters" in arguments.parts:
        filtered(arguments.rounds)
    if "asymmetric" in arguments.parts:
        asymmetric(arguments.rounds)
    if "appending" in arguments.parts:
        appending()


if __name__ == "__main__":
    main()
