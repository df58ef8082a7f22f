"""Measures what ``h2q plan`` extrapolates from, and how far its predictions are from further runs.

    python benchmarks/plan.py --write               # measure, and write src/h2q/index/plan_figures.json
    python benchmarks/plan.py --check               # compare predictions with runs of other sizes
    python benchmarks/plan.py --engines folder faiss --items 100000 1000000

Codes in clusters (see engines.py). Times are processor seconds of one thread, with those of the server where there is
one: a busy machine distorts them least. Memory: growth of the resident set of a process that opens the folder and
searches; for FAISS the size of the files, which are read when they are opened; for PostgreSQL the size of table and
index, which must be cached to be fast; for Milvus the bytes of the fields, which nothing measures.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import faiss
import numba
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import servers
from engines import make_codes
from h2q.index import create_index, open_index
from h2q.index.planning import Run, estimate, measured_runs
from machine import processor

K, BATCH = 10, 100
SIZES = {
    "folder": (100_000, 1_000_000),
    "faiss": (100_000, 1_000_000),
    "postgresql": (10_000, 100_000),
    "milvus": (20_000, 100_000),
}
CHECKED = {"folder": 3_000_000, "faiss": 300_000, "postgresql": 30_000, "milvus": 50_000}
MILVUS_SETTLES = 5  # seconds after which a collection that was flushed is written
MILVUS_FIELDS = 24  # bytes of an item beside its code: id, row and timestamp
FIGURES = Path(__file__).parents[1] / "src/h2q/index/plan_figures.json"


class Clock:
    """Processor seconds of this process, and of a server with the processes that it started or waited for."""

    def __init__(self, server: int | None = None) -> None:
        self._server = None if server is None else psutil.Process(server)

    def seconds(self) -> float:
        total = time.process_time()
        if self._server is not None:
            total += sum(self._server.cpu_times()[:4])
            for child in self._server.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    total += sum(child.cpu_times()[:2])
        return total

    def of_a_query(self, index: Any, queries: np.ndarray) -> float:
        """Return the seconds of a query: the median of five windows that the 10 ms of a server's clock can measure."""
        index.search(queries, K)
        windows = []
        for _ in range(5):
            began, repeats = self.seconds(), 0
            while self.seconds() - began < 0.3:
                index.search(queries, K)
                repeats += 1
            windows.append((self.seconds() - began) / repeats / len(queries))
        return float(np.median(windows))


def size_of(folders: Iterable[Path]) -> int:
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def measure(engine: str, bits: int, items: int) -> Run:
    """Measure one run, in this process, which nothing else has used."""
    codes, queries = make_codes(items, bits, BATCH)
    if engine == "postgresql":
        return on_postgresql(codes, queries, bits)
    if engine == "milvus":
        return on_milvus(codes, queries, bits)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/index"
        address = path if engine == "folder" else f"faiss:{path}?recall=0.95"
        began = clock.seconds()
        with create_index(address, bits) as index:
            index.add(codes)
            if engine == "faiss":
                index.warm_up()
            index.save()
        build = clock.seconds() - began
        memory, search = opened(address, queries)
        disk = size_of([Path(path)])
        return Run(engine, bits, items, memory if engine == "folder" else disk, disk, build, search)


def opened(address: str, queries: np.ndarray) -> tuple[float, float]:
    """Return the bytes by which this process grows, and the seconds of a query, in a process of its own."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(search_opened, address, queries).result()


def search_opened(address: str, queries: np.ndarray) -> tuple[float, float]:
    process = psutil.Process()
    before = process.memory_info().rss
    with open_index(address) as index:
        index.search(queries, K)
        return float(process.memory_info().rss - before), Clock().of_a_query(index, queries)


def on_postgresql(codes: np.ndarray, queries: np.ndarray, bits: int) -> Run:
    import psycopg

    server = servers.Postgres()
    try:
        clock = Clock(server.pid)
        began = clock.seconds()
        with create_index(f"{server.address}?table=items", bits) as index:
            index.add(codes)
            index.save()
            build = clock.seconds() - began
            search = clock.of_a_query(index, queries)
        with psycopg.connect(server.address) as connection:
            (size,) = connection.execute("select pg_total_relation_size('items')").fetchone() or (0,)
        return Run("postgresql", bits, len(codes), size, size, build, search)
    finally:
        server.close()


def on_milvus(codes: np.ndarray, queries: np.ndarray, bits: int) -> Run:
    """Measure processor seconds and files; the memory is that of the fields, since the server does not report it."""
    server = servers.Milvus()
    try:
        clock = Clock(server.pid)
        began = clock.seconds()
        with create_index(f"{server.address}/items", bits) as index:
            index.add(codes)
            index.save()
            time.sleep(MILVUS_SETTLES)
            build = clock.seconds() - began
            search = clock.of_a_query(index, queries)
            disk = size_of(server.stored())
        memory = len(codes) * (codes.shape[1] + MILVUS_FIELDS)
        return Run("milvus", bits, len(codes), memory, disk, build, search)
    finally:
        server.close()


def warm_up(bits: int) -> None:
    """Load and compile what every run needs once, on one thread."""
    numba.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    codes, queries = make_codes(2000, bits, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        for address in (f"{folder}/small", f"faiss:{folder}/structure?recall=0.95"):
            with create_index(address, bits) as index:
                index.add(codes)
                index.search(queries, K)
            with open_index(address) as index:
                index.search(queries, K)


def in_process_of_its_own(engine: str, bits: int, items: int) -> Run:
    """Measure one run in a copy of this process, in which all is loaded and compiled, and nothing else happened."""
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        return pool.submit(measure, engine, bits, items).result()


def check(runs: list[Run], measured: tuple[Run, ...]) -> None:
    print("| engine | bits | codes | memory | disk | build | a query |\n|---|---:|---:|---|---|---|---|")
    for run in runs:
        expected = estimate([known for known in measured if known.engine == run.engine], run.items, run.bits)
        cells = []
        for name in ("memory", "disk", "build", "search"):
            ours, theirs = getattr(expected, name), getattr(run, name)
            scale, unit = (1e-6, "MB") if name in ("memory", "disk") else (1, "s") if name == "build" else (1e3, "ms")
            cells.append(f"{ours * scale:.3g} / {theirs * scale:.3g} {unit} ({100 * (ours / theirs - 1):+.0f} %)")
        print(f"| {run.engine} | {run.bits} | {run.items:,} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engines", nargs="+", default=list(SIZES))
    parser.add_argument("--items", type=int, nargs="+")
    parser.add_argument("--bits", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    for bits in arguments.bits:
        warm_up(bits)
    runs = []
    for engine in arguments.engines:
        for items in arguments.items or ((CHECKED[engine],) if arguments.check else SIZES[engine]):
            for bits in arguments.bits:
                runs.append(in_process_of_its_own(engine, bits, items))
                print(runs[-1], flush=True)
    if arguments.check:
        check(runs, measured_runs()[1])
    if arguments.write:
        known = measured_runs()[1] if FIGURES.exists() else ()
        kept = [run for run in known if run.engine not in arguments.engines]
        measured_on = f"{processor()}, {time.strftime('%Y-%m-%d')}"
        document = {"measured_on": measured_on, "runs": [asdict(run) for run in [*kept, *runs]]}
        FIGURES.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
