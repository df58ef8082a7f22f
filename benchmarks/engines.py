"""Engines behind h2q beside the same engines by hand, in turns, in one run.

    python benchmarks/engines.py [--items 1000000] [--engines faiss postgresql milvus]

Codes of 256 bits in clusters: each of n / 1000 random centers, with 10% of the bits flipped; queries are made alike. By
hand means the engine's own client with the same settings and the same batches. `faiss` is also compared with exact
search, and its build with FAISS's own training and adding.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import servers
from h2q.converters import to_milvus, to_pgvector
from h2q.index import BinaryIndex, create_index
from h2q.index.faiss_graph import make_ivf

BITS, K, ROUNDS = 256, 100, 5


def clustered(n: int, centers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    codes = centers[generator.integers(0, len(centers), n)]
    parts = np.array_split(codes, max(1, n // 50_000))
    return np.concatenate([part ^ np.packbits(generator.random((len(part), BITS)) < 0.1, axis=1) for part in parts])


def in_turns(*contestants: Callable[[], Any]) -> list[float]:
    """Return the median seconds of each, after one round to warm up."""
    seconds: list[list[float]] = [[] for _ in contestants]
    for turn in range(ROUNDS + 1):
        for times, contestant in zip(seconds, contestants, strict=True):
            began = time.perf_counter()
            contestant()
            if turn:
                times.append(time.perf_counter() - began)
    return [float(np.median(times)) for times in seconds]


def report(name: str, ours: float, by_hand: float) -> None:
    print(f"{name:<34} ours {ours:8.3f} s   by hand {by_hand:8.3f} s   ratio {ours / by_hand:.3f}", flush=True)


def faiss_engine(codes: np.ndarray, queries: np.ndarray) -> None:
    import faiss

    with tempfile.TemporaryDirectory() as folder, create_index(f"faiss:{folder}/index?recall=0.95", BITS) as index:
        index.add(codes)
        began = time.perf_counter()
        index.warm_up()
        ours = time.perf_counter() - began
        recall = index.recall
        began = time.perf_counter()
        structure = make_ivf(BITS, recall.lists)
        structure.train(codes[np.random.default_rng(0).permutation(len(codes))[: 40 * recall.lists]])
        structure.add(codes)
        report("faiss: build, measuring included", ours, time.perf_counter() - began)
        structure.nprobe = recall.effort
        exact = BinaryIndex(BITS)
        exact.add(codes)
        times = in_turns(
            lambda: index.search(queries, K), lambda: structure.search(queries, K), lambda: exact.search(queries, K)
        )
        report(f"faiss: {len(queries)} queries", times[0], times[1])
        found, true = index.search(queries, K).distances, exact.search(queries, K).distances
        value = (found <= true[:, -1:]).mean()
        print(
            f"faiss: {recall.lists} lists, {recall.effort} visited; recall@100 measured {recall.value:.3f}, of these "
            f"queries {value:.3f}; {times[2] / times[0]:.1f} times as fast as exact search ({times[2]:.3f} s)"
        )
        print(f"FAISS {faiss.__version__} ({faiss.get_compile_options().strip()})")


def postgresql_engine(codes: np.ndarray, queries: np.ndarray) -> None:
    server = servers.Postgres()
    try:
        with create_index(f"{server.address}?table=items", BITS) as index:
            index.add(codes)
            index.save()
            statement = (
                "select q.n, i.id, i.d from unnest(%s::bit(256)[]) with ordinality q(code, n) cross join lateral "
                f"(select id, codes <~> q.code d from items order by codes <~> q.code limit {K}) i"
            )

            def by_hand() -> list[Any]:
                import psycopg

                with psycopg.connect(server.address) as connection:
                    connection.execute(f"set local hnsw.ef_search = {K}")
                    connection.execute("set local hnsw.iterative_scan = strict_order")
                    texts = "{" + ",".join(to_pgvector(queries, BITS)) + "}"
                    return connection.cursor(binary=True).execute(statement, [texts]).fetchall()

            report(f"postgresql: {len(queries)} queries", *in_turns(lambda: index.search(queries, K), by_hand))
    finally:
        server.close()


def milvus_engine(codes: np.ndarray, queries: np.ndarray) -> None:
    from pymilvus import MilvusClient

    server = servers.Milvus()
    try:
        with create_index(f"{server.address}/items", BITS) as index:
            index.add(codes)
            index.save()
            client = MilvusClient(uri=server.address.replace("milvus:", "http:"))

            def by_hand() -> Any:
                parameters = {"metric_type": "HAMMING"}
                data = to_milvus(queries, BITS)
                hits = client.search("items", data=data, limit=K, search_params=parameters, consistency_level="Strong")
                return [[(hit["id"], hit["distance"]) for hit in row] for row in hits]

            report(f"milvus: {len(queries)} queries", *in_turns(lambda: index.search(queries, K), by_hand))
            client.close()
    finally:
        server.close()


def main() -> None:
    engines = {"faiss": faiss_engine, "postgresql": postgresql_engine, "milvus": milvus_engine}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000, help="Codes in FAISS; servers hold a tenth of them.")
    parser.add_argument("--engines", nargs="+", choices=engines, default=list(engines))
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    centers = generator.integers(0, 256, (max(1, arguments.items // 1000), BITS // 8), dtype=np.uint8)
    codes = clustered(arguments.items, centers, generator)
    queries = clustered(1000, centers, generator)
    processor = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    print(f"{processor.partition(': ')[2]}; {arguments.items:,} codes of {BITS} bits, top {K}")
    for name in arguments.engines:
        share = codes if name == "faiss" else codes[: len(codes) // 10]
        engines[name](share, queries if name == "faiss" else queries[:100])


if __name__ == "__main__":
    main()
