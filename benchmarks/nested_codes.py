"""Recall of the prefixes of a nested code beside codes of their own length; speed of searching a prefix first.

    python benchmarks/nested_codes.py            # the rows that are missing, one at a time; then Markdown
    python benchmarks/nested_codes.py texts      # only these data
    python benchmarks/nested_codes.py --print    # Markdown of what is done
    python benchmarks/nested_codes.py --speed    # search with prefix= beside the plain scan, interleaved, in one run

1,000 queries, 15,000 items, recall@10 of the neighbors by cosine, fitted on the items, three seeds. Data as in
benchmarks/codes_at_equal_bytes.py. The peer of a prefix is `HouseholderQuantizer` fitted for that length: principal
components, then a rotation. Settings of `NestedQuantizer` were chosen with 1,000 other queries, rows 16,000 to 17,000
of the text embeddings. Rows that are done lie in benchmarks/results/nested.jsonl.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codes_at_equal_bytes import images, texts
from h2q import BinaryIndex, HouseholderQuantizer, NestedQuantizer
from h2q.evaluation import float_neighbors, neighbor_recall

RESULTS = Path(__file__).parent / "results" / "nested.jsonl"
N_QUERIES, N_ITEMS, K = 1_000, 15_000, 10
LENGTHS = (16, 32, 64, 128, 256, 384)
SEEDS = 3
DATA = {"texts": texts, "images": images}
KEYS = ("data", "method", "bits", "seed")
Rows = NDArray[np.float32]


def tasks() -> Iterator[dict[str, Any]]:
    """Give what identifies each fit; a nested code is one for all lengths."""
    for data in DATA:
        for seed in range(SEEDS):
            yield {"data": data, "method": "nested", "bits": LENGTHS[-1], "seed": seed}
            for n_bits in LENGTHS:
                yield {"data": data, "method": "h2q", "bits": n_bits, "seed": seed}


def score(task: dict[str, Any], items: Rows, queries: Rows, truth: NDArray[np.int64]) -> dict[str, Any]:
    """Return fit time (seconds of one core) and recall by Hamming distance and asymmetric, at each length."""
    kind = NestedQuantizer if task["method"] == "nested" else HouseholderQuantizer
    began = time.process_time()
    quantizer = kind(task["bits"], random_state=task["seed"]).fit(items)
    fit = time.process_time() - began
    index = BinaryIndex(quantizer=quantizer)
    index.add(items)
    lengths = LENGTHS if task["method"] == "nested" else (task["bits"],)
    result: dict[str, Any] = {"fit": round(fit, 1)}
    for scoring in ("hamming", "asymmetric"):
        result[scoring] = {
            n_bits: neighbor_recall(truth, index.search(queries, K, scoring=scoring, n_bits=n_bits).ids).value
            for n_bits in lengths
        }
    return result


def done() -> list[dict[str, Any]]:
    """Return the rows that are there."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run(names: list[str]) -> None:
    """Make the rows that are missing, of these data (of all, if none is named)."""
    have = {tuple(row[key] for key in KEYS) for row in done()}
    embeddings: dict[str, Rows] = {}
    for task in tasks():
        if tuple(task[key] for key in KEYS) in have or (names and task["data"] not in names):
            continue
        X = embeddings.setdefault(task["data"], np.zeros((0, 0), np.float32))
        if not len(X):
            X = embeddings[task["data"]] = DATA[task["data"]]()
        queries, items = X[:N_QUERIES], X[N_QUERIES : N_QUERIES + N_ITEMS]
        row = task | score(task, items, queries, float_neighbors(queries, items, K))
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, file=sys.stderr, flush=True)


def table() -> str:
    """Return the mean recall over seeds in percent, as Markdown."""
    rows = done()
    lines = ["| data | codes | " + " | ".join(map(str, LENGTHS)) + " | fit, s |", "|---" * 2 + "|---:" * 7 + "|"]
    for data in DATA:
        for scoring in ("hamming", "asymmetric"):
            for method, label in (("h2q", "H²Q, fitted for each length"), ("nested", "one nested code")):
                mine = [row for row in rows if row["data"] == data and row["method"] == method]
                cells = []
                for n_bits in LENGTHS:
                    values = [row[scoring][str(n_bits)] for row in mine if str(n_bits) in row[scoring]]
                    spread = f" ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
                    cells.append(f"{100 * np.mean(values):.1f}{spread}" if values else "")
                seconds = [sum(row["fit"] for row in mine if row["seed"] == seed) for seed in {r["seed"] for r in mine}]
                if mine:
                    fit = f"{np.mean(seconds):.0f}"
                    lines.append(f"| {data}, {scoring} | {label} | " + " | ".join(cells) + f" | {fit} |")
    return "\n".join(lines)


def speed(n_items: int = 1_000_000, n_queries: int = 200) -> str:
    """Return times of searches by a prefix first as shares of the plain scan's: the best of five, interleaved."""
    X = texts()
    quantizer = NestedQuantizer(LENGTHS[-1], random_state=0, steps=300).fit(X[N_QUERIES : N_QUERIES + N_ITEMS])
    index, generator = BinaryIndex(quantizer=quantizer), np.random.default_rng(0)
    for _ in range(n_items // 50_000):
        # Rows between two texts, and noise: as many different items as wanted, with neighbors.
        parts = [X[generator.integers(N_QUERIES, len(X), 50_000)] for _ in range(2)]
        mixed = parts[0] + np.float32(0.5) * parts[1]
        index.add(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
    index.compact()
    queries = X[:n_queries]
    lines = [
        "| scoring | first pass | time, share of the plain scan's | recall of the plain scan's 10 |",
        "|---|---|---:|---:|",
    ]
    for scoring in ("hamming", "asymmetric"):
        trials: list[dict[str, Any]] = [{}, *({"prefix": p, "shortlist": s} for p in (64, 128) for s in (100, 1000))]
        if scoring == "hamming":
            trials += [{"prefix": 128}, {"prefix": 256}]
        times = np.full(len(trials), np.inf)
        for _ in range(5):
            for number, options in enumerate(trials):
                began = time.perf_counter()
                index.search(queries, K, scoring=scoring, **options)
                times[number] = min(times[number], time.perf_counter() - began)
        plain = index.search(queries, K, scoring=scoring).ids
        for options, seconds in zip(trials, times, strict=True):
            recall = neighbor_recall(plain, index.search(queries, K, scoring=scoring, **options).ids).value
            name = ", ".join(f"{key}={value}" for key, value in options.items()) or "none"
            lines.append(f"| {scoring} | {name} | {seconds / times[0]:.2f} | {recall:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--speed" in arguments:
        print(speed())
    else:
        if "--print" not in arguments:
            run(arguments)
        print(table())
