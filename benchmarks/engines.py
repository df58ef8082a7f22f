"""Engines behind h2q beside the same engines by hand and exact search, in turns, in one run.

    python benchmarks/engines.py recall build faiss postgresql milvus two-steps [--items 1000000] [--embeddings FILE]

Codes in clusters: each of n / 1000 random centers, with 10% of the bits flipped; queries are made alike. By hand means
the engine's own client with the same settings and the same batches. Times are processor time (with that of the server,
where there is one), so that other programs on the machine count little; ratios are medians over the rounds.

- `recall`: codes of 256 bits, ``faiss:...?recall=0.95`` beside exact search.
- `build`: codes of 64 bits, the structure beside FAISS's own training and adding.
- `faiss`, `postgresql`, `milvus`: codes of 256 bits, a batch of queries; the servers hold a tenth of the codes.
- `two-steps`: embeddings in an .npy file, 32 times less memory; candidates by codes, then their floats from the file.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import servers
from h2q import HouseholderQuantizer
from h2q.converters import to_milvus, to_pgvector
from h2q.index import BinaryIndex, create_index
from h2q.index.faiss_graph import make_ivf
from machine import processor

BITS, K = 256, 100


def clustered(n: int, centers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    codes = centers[generator.integers(0, len(centers), n)]
    bits = 8 * centers.shape[1]
    parts = np.array_split(codes, max(1, n // 50_000))
    return np.concatenate([part ^ np.packbits(generator.random((len(part), bits)) < 0.1, axis=1) for part in parts])


def make_codes(n: int, bits: int, n_queries: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and queries."""
    generator = np.random.default_rng(0)
    centers = generator.integers(0, 256, (max(1, n // 1000), bits // 8), dtype=np.uint8)
    return clustered(n, centers, generator), clustered(n_queries, centers, generator)


def in_turns(contestants: Sequence[Callable[[], Any]], rounds: int, pid: int | None = None) -> np.ndarray:
    """Return processor seconds, of a server's processes too, in each round, after one round to warm up."""

    def clock() -> float:
        total = time.process_time()
        if pid is not None:
            server = psutil.Process(pid)
            for process in (server, *server.children(recursive=True)):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    seconds = np.zeros((rounds + 1, len(contestants)))
    for turn in range(rounds + 1):
        for place, contestant in enumerate(contestants):
            began = clock()
            contestant()
            seconds[turn, place] = clock() - began
    return seconds[1:]


def report(name: str, seconds: np.ndarray, other: str = "by hand") -> None:
    """Print medians, and the ratios of the rounds."""
    ours, theirs = np.median(seconds, axis=0)
    ratios = seconds[:, 0] / seconds[:, 1]
    print(
        f"{name}: h2q {ours:.3f} s, {other} {theirs:.3f} s, ratio {np.median(ratios):.3f} "
        f"({ratios.min():.3f} to {ratios.max():.3f} in {len(ratios)} rounds)",
        flush=True,
    )


def measure_faiss(n: int, rounds: int, *, exact: bool) -> None:
    """Compare ``recall=0.95`` with exact search, or with FAISS by hand."""
    codes, queries = make_codes(n, BITS)
    with tempfile.TemporaryDirectory() as folder, create_index(f"faiss:{folder}/index?recall=0.95", BITS) as index:
        index.add(codes)
        index.warm_up()
        structure = index._graph.structure
        if not exact:
            turns = [lambda: index.search(queries, K), lambda: structure.search(queries, K)]
            report(f"faiss, {n:,} codes, {len(queries):,} queries", in_turns(turns, rounds))
            return
        oracle = BinaryIndex(BITS)
        oracle.add(codes)
        seconds = in_turns([lambda: index.search(queries, K), lambda: oracle.search(queries, K)], rounds)
        report(f"recall, {n:,} codes", seconds, "exact search")
        found, true = index.search(queries, K).distances, oracle.search(queries, K).distances
        recall = index.recall
        print(
            f"recall, {n:,} codes: {recall.lists:,} lists, {recall.effort} visited; recall@100 asked for "
            f"{recall.target}, measured when built {recall.value:.3f}, of {len(queries):,} other queries "
            f"{(found <= true[:, -1:]).mean():.3f}; {np.median(seconds[:, 1] / seconds[:, 0]):.1f} times as fast"
        )


def measure_build(n: int, rounds: int) -> None:
    codes, _ = make_codes(n, 64)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            index = create_index(f"faiss:{folder}/index?recall=0.95", 64)
            index.add(codes)
            index.warm_up()

    def by_hand() -> None:
        lists = round(2 * np.sqrt(n))
        structure = make_ivf(64, lists)
        structure.train(codes[np.random.default_rng(0).permutation(n)[: 40 * lists]])
        structure.add(codes)

    report(f"build, {n:,} codes of 64 bits, adding and measuring included", in_turns([ours, by_hand], rounds))


def measure_postgresql(n: int, rounds: int) -> None:
    import psycopg

    codes, queries = make_codes(n // 10, BITS, 100)
    server = servers.Postgres()
    statement = (
        f"select q.n, i.id, i.d from unnest(%s::bit({BITS})[]) with ordinality q(code, n) cross join lateral "
        f"(select id, codes <~> q.code d from items order by codes <~> q.code limit {K}) i"
    )
    try:
        with (
            create_index(f"{server.address}?table=items", BITS) as index,
            psycopg.connect(server.address, autocommit=True) as connection,
        ):
            index.add(codes)
            index.save()

            def by_hand() -> list[Any]:
                with connection.transaction():
                    connection.execute(f"set local hnsw.ef_search = {K}")
                    connection.execute("set local hnsw.iterative_scan = strict_order")
                    texts = "{" + ",".join(to_pgvector(queries, BITS)) + "}"
                    return connection.cursor(binary=True).execute(statement, [texts]).fetchall()

            seconds = in_turns([lambda: index.search(queries, K), by_hand], rounds, server.pid)
            report(f"postgresql, {len(codes):,} codes, {len(queries)} queries", seconds)
    finally:
        server.close()


def measure_milvus(n: int, rounds: int) -> None:
    from pymilvus import MilvusClient

    codes, queries = make_codes(n // 10, BITS, 100)
    server = servers.Milvus()
    try:
        with create_index(f"{server.address}/items", BITS) as index:
            index.add(codes)
            index.save()
            client = MilvusClient(uri=server.address.replace("milvus:", "http:"))

            def by_hand() -> Any:
                hits = client.search(
                    "items", data=to_milvus(queries, BITS), limit=K, search_params={"metric_type": "HAMMING"},
                    consistency_level="Strong",
                )  # fmt: skip
                return [[(hit["id"], hit["distance"]) for hit in row] for row in hits]

            seconds = in_turns([lambda: index.search(queries, K), by_hand], rounds, server.pid)
            report(f"milvus, {len(codes):,} codes, {len(queries)} queries", seconds)
            client.close()
    finally:
        server.close()


def measure_two_steps(path: Path) -> None:
    """Compare the ten nearest by codes and then by floats with the ten nearest by floats."""
    embeddings = np.load(path, mmap_mode="r")
    queries, items = np.asarray(embeddings[-1000:], np.float32), np.asarray(embeddings[:-1000], np.float32)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (queries, items)]
    true = np.argpartition(-(unit[0] @ unit[1].T), 10, axis=1)[:, :10]
    quantizer = HouseholderQuantizer(random_state=0, max_samples=5000).fit(items)
    with tempfile.TemporaryDirectory() as folder:
        with create_index(f"{folder}/index", quantizer=quantizer, keep_embeddings=True) as index:
            index.add(items)
        with BinaryIndex.open(f"{folder}/index") as index:
            print(
                f"two steps, {path.name}, {items.shape[0]:,} x {items.shape[1]:,}: {items[0].nbytes} bytes an item as "
                f"floats, {-(-index.n_bits // 8)} as codes ({items[0].nbytes * 8 / index.n_bits:.0f} times less)"
            )
            for scoring in ("asymmetric", "hamming"):
                for candidates in (50, 100, 200):
                    found = index.search(queries, 10, scoring=scoring, rerank=candidates).ids
                    shared = [len(set(a) & set(b)) / 10 for a, b in zip(found, true.tolist(), strict=True)]
                    print(f"  {candidates} candidates, {scoring}: recall@10 {np.mean(shared):.4f}", flush=True)


def main() -> None:
    parts: dict[str, Callable[[int, int], None]] = {
        "recall": lambda n, rounds: measure_faiss(n, rounds, exact=True),
        "build": measure_build,
        "faiss": lambda n, rounds: measure_faiss(n, rounds, exact=False),
        "postgresql": measure_postgresql,
        "milvus": measure_milvus,
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=[*parts, "two-steps"])
    parser.add_argument("--items", type=int, default=1_000_000, help="Codes; servers hold a tenth of them.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--embeddings", type=Path, help="For two-steps: an .npy file, the last 1,000 rows are queries.")
    arguments = parser.parse_args()
    if "two-steps" in arguments.parts and arguments.embeddings is None:
        parser.error("two-steps needs --embeddings")
    print(processor())
    for name in arguments.parts:
        if name == "two-steps":
            measure_two_steps(arguments.embeddings)
        else:
            parts[name](arguments.items, arguments.rounds)


if __name__ == "__main__":
    main()
