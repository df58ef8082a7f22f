"""Measures what ``h2q plan`` extrapolates from, and how far its predictions are from further runs.

    python benchmarks/plan.py --write               # measure, and write src/h2q/index/plan_figures.json
    python benchmarks/plan.py --check               # compare predictions with runs of other sizes
    python benchmarks/plan.py --engines folder faiss --items 100000 1000000

Codes in clusters (see engines.py). Times are processor seconds of the process and of its server: a busy machine
distorts them least. Memory: growth of the resident set of a process that opens the index and searches; for PostgreSQL
the size of table and index, which must be cached to be fast.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import servers
from engines import clustered_codes
from h2q.index import create_index, open_index
from h2q.index.planning import Run, estimate, measured_runs
from machine import processor

K, BATCH = 10, 100
SIZES = {"folder": (100_000, 1_000_000), "faiss": (100_000, 400_000), "postgresql": (10_000, 50_000)}
CHECKED = {"folder": (300_000, 3_000_000, 10_000_000), "faiss": (1_000_000,), "postgresql": (100_000,)}
FIGURES = Path(__file__).parents[1] / "src/h2q/index/plan_figures.json"


def processor_seconds(processes: list[psutil.Process]) -> float:
    """Return the processor seconds of processes and of their children, those that ended included."""
    total = 0.0
    for process in processes:
        total += sum(process.cpu_times()[:4])
        for child in process.children():
            with suppress(psutil.NoSuchProcess):
                total += sum(child.cpu_times()[:2])
    return total


def resident(processes: list[psutil.Process]) -> float:
    return float(sum(process.memory_info().rss for process in processes))


def size_of(folder: str) -> int:
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


def measure(engine: str, bits: int, items: int) -> Run:
    """Measure one run, in this process, which nothing else has used."""
    centers = max(1, items // 1000)
    codes, queries = clustered_codes(items, bits, centers, 0), clustered_codes(BATCH, bits, centers, 1)
    own = [psutil.Process()]
    with tempfile.TemporaryDirectory() as folder:
        if engine == "folder":
            address = f"{folder}/index"
        elif engine == "faiss":
            address = f"faiss:{folder}/index?recall=0.95"
        else:
            return on_postgresql(codes, queries, bits)
        began = processor_seconds(own)
        with create_index(address, bits) as index:
            index.add(codes)
        build = processor_seconds(own) - began
        del codes
        before = resident(own)
        with open_index(address) as index:
            index.search(queries, K)
            memory = resident(own) - before
            search = searched(index, queries, own)
        return Run(engine, bits, items, memory, size_of(f"{folder}/index"), build, search)


def searched(index: Any, queries: np.ndarray, processes: list[psutil.Process]) -> float:
    """Return the processor seconds of a query, over enough batches that the 10 ms of the clock do not matter."""
    began, repeats = processor_seconds(processes), 0
    while processor_seconds(processes) - began < 0.5:
        index.search(queries, K)
        repeats += 1
    return (processor_seconds(processes) - began) / repeats / len(queries)


def on_postgresql(codes: np.ndarray, queries: np.ndarray, bits: int) -> Run:
    """Measure a run on a PostgreSQL server that is started for it."""
    server = servers.Postgres()
    try:
        processes = [psutil.Process(), psutil.Process(server.pid)]
        began = processor_seconds(processes)
        with create_index(f"{server.address}?table=items", bits) as index:
            index.add(codes)
            index.save()
            index.search(queries, K)
            build = processor_seconds(processes) - began
            search = searched(index, queries, processes)
        size = float(table_bytes(server.address))
        return Run("postgresql", bits, len(codes), size, size, build, search)
    finally:
        server.close()


def table_bytes(address: str) -> int:
    import psycopg

    with psycopg.connect(address) as connection:
        row = connection.execute("select pg_total_relation_size('items')").fetchone()
    return int(row[0]) if row else 0


def warm_up(bits: int) -> None:
    """Load and compile what every run needs once."""
    codes = clustered_codes(1000, bits, 10, 0)
    with tempfile.TemporaryDirectory() as folder:
        with create_index(f"{folder}/small", bits) as index:
            index.add(codes)
        with open_index(f"{folder}/small") as index:
            index.search(codes[:BATCH], K)


def in_process_of_its_own(engine: str, bits: int, items: int) -> Run:
    """Measure one run in a copy of this process, in which all is loaded and compiled, and nothing else happened."""
    with get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (engine, bits, items))


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
    sizes = CHECKED if arguments.check else SIZES
    runs = []
    for engine in arguments.engines:
        for items in arguments.items or sizes[engine]:
            for bits in arguments.bits:
                runs.append(in_process_of_its_own(engine, bits, items))
                print(runs[-1], flush=True)
    if arguments.check:
        check(runs, measured_runs()[1])
    if arguments.write:
        kept = [run for run in measured_runs()[1] if run.engine not in arguments.engines] if FIGURES.exists() else []
        measured_on = f"{processor()}, {time.strftime('%Y-%m-%d')}"
        document = {"measured_on": measured_on, "runs": [asdict(run) for run in [*kept, *runs]]}
        FIGURES.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
