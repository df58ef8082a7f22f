"""Recall of codes at equal bytes an item: h2q beside FAISS, on real embeddings.

    python benchmarks/codes_at_equal_bytes.py            # what is missing of the table, a row at a time; then Markdown
    python benchmarks/codes_at_equal_bytes.py texts refined "FAISS PQ"    # only these data and methods
    python benchmarks/codes_at_equal_bytes.py --print    # Markdown of what is done

Every byte of an item counts, scalars included; ids do not. 1,000 queries, 15,000 items, recall@10 of the neighbors by
cosine. Quantizers are fitted on the items themselves ("same") or on as many other rows ("apart"). Rows that are done
lie in benchmarks/results/codes.jsonl: an interrupted run continues where it stopped.

`texts`   WordNet glosses through all-MiniLM-L6-v2, 384 dimensions.
`images`  CIFAR-10 through EfficientNet-Lite0 without a head, 1,280 dimensions; scaled to unit norm.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from h2q.quantization import make_quantizer, unpack_bits
from real_embeddings import cached, embed_texts, wordnet_glosses

RESULTS = Path(__file__).parent / "results" / "codes.jsonl"
N_QUERIES, N_ITEMS, K = 1_000, 15_000, 10
SIZES = {"texts": (16, 48), "images": (16, 48)}
SEEDS = {"h2q": 3, "refined": 3, "random": 3, "itq": 3}
Rows = NDArray[np.float32]


def texts() -> Rows:
    """Return 32,000 embeddings of glosses drawn by seed 0."""
    glosses = wordnet_glosses()
    order = np.random.default_rng(0).permutation(len(glosses))[:32_000]
    return np.asarray(cached("wordnet-minilm-32000", lambda: embed_texts([glosses[i] for i in order])))


def images() -> Rows:
    """Return raw features of 31,000 CIFAR-10 images drawn by seed 0, unit norm."""
    from h2q.datasets import load_dataset
    from h2q.similarity import extract_features

    dataset = load_dataset("cifar10")
    order = np.random.default_rng(0).permutation(len(dataset.images))[:31_000]
    features = np.asarray(extract_features(dataset))[order]
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def recall(scores: Rows, truth: NDArray[np.int64]) -> float:
    """Return the share of the true neighbors among the ten best scores; ties go to the lower row."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :K]
    return float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(best, truth, strict=True)]))


def ours(name: str, n_bytes: int, seed: int, train: Rows, items: Rows, queries: Rows) -> dict[str, Any]:
    """Return scores of one of h2q's quantizers, by Hamming distance and asymmetric."""
    began = time.process_time()
    options = {"n_init": 1, "tol": 1e-6} if name == "itq" else {}
    quantizer = make_quantizer(name, 8 * n_bytes, random_state=seed, **options).fit(train)
    fit = time.process_time() - began
    began = time.process_time()
    encoded = quantizer.encode_items(items)
    encode = time.process_time() - began
    signs = (2 * unpack_bits(encoded.codes, quantizer.n_bits_) - np.float32(1)).astype(np.float32)
    prepared = quantizer.asymmetric_queries(queries)
    products = prepared.weights @ signs.T
    tables = quantizer.scalar_tables()
    if tables is not None and encoded.scalars is not None:
        products = products * tables[0][encoded.scalars] + tables[1][encoded.scalars]
    codes = unpack_bits(quantizer.encode_queries(queries), quantizer.n_bits_)
    model = sum(getattr(quantizer, key).nbytes for key in quantizer.tensor_shapes(1, 1) if key != "rotation_")
    return {
        "scores": products,
        "hamming": np.where(codes, 1, -1).astype(np.float32) @ signs.T,
        "fit": fit,
        "encode": encode,
        "model": model,
    }


def with_faiss(factory: str, train: Rows, items: Rows, queries: Rows) -> dict[str, Any]:
    """Return the ten best items by a FAISS index; all rows have unit norm, so both metrics want the same neighbors."""
    metric = faiss.METRIC_L2 if factory.startswith("PCAR") else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(items.shape[1], factory, metric)
    began = time.process_time()
    index.train(train)
    fit = time.process_time() - began
    model = len(faiss.serialize_index(index))
    began = time.process_time()
    index.add(items)
    encode = time.process_time() - began
    _, rows = index.search(queries, K)
    return {"rows": rows, "fit": fit, "encode": encode, "model": model}


def factories(n_bytes: int) -> dict[str, str]:
    """Return the FAISS indexes that take this number of bytes an item."""
    return {
        "FAISS RaBitQ (PCA)": f"PCA{8 * n_bytes - 64},RaBitQ",
        "FAISS RaBitQ (PCA, random rotation)": f"PCAR{8 * n_bytes - 64},RaBitQ",
        "FAISS PQ": f"PQ{n_bytes}",
        "FAISS PQ fast scan": f"PQ{2 * n_bytes}x4fs",
        "FAISS OPQ": f"OPQ{n_bytes},PQ{n_bytes}",
        "FAISS RQ": f"RQ{n_bytes}x8",
    }


def tasks() -> Iterator[tuple[dict[str, Any], Callable[[Rows, Rows, Rows], dict[str, Any]]]]:
    """Give what identifies each row of the table, and the function that makes it: quick ones first."""
    for data, sizes in SIZES.items():
        for n_bytes in sizes:
            for fitted_on in ("same", "apart"):
                common = {"data": data, "bytes": n_bytes, "fitted": fitted_on}
                for name in ("sign", "random", "itq", "h2q", "refined"):
                    for seed in range(SEEDS.get(name, 1)):
                        yield (
                            common | {"method": name, "seed": seed},
                            lambda *rows, name=name, n=n_bytes, seed=seed: ours(name, n, seed, *rows),
                        )
                for label, factory in factories(n_bytes).items():
                    if label == "FAISS OPQ" and data == "images":
                        continue  # hours at 1,280 dimensions
                    yield common | {"method": label, "seed": 0}, lambda *rows, f=factory: with_faiss(f, *rows)


def done() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run(data_sets: list[str], methods: list[str]) -> None:
    """Make the rows that are missing, of these data and methods (of all, if none is named)."""
    faiss.omp_set_num_threads(1)
    keys = ("data", "bytes", "fitted", "method", "seed")
    have = {tuple(row[key] for key in keys) for row in done()}
    embeddings: dict[str, Rows] = {}
    for task, make in tasks():
        data = task["data"]
        if tuple(task[key] for key in keys) in have or (methods and task["method"] not in methods):
            continue
        if data_sets and data not in data_sets:
            continue
        if data not in embeddings:
            embeddings[data] = {"texts": texts, "images": images}[data]()
        X = embeddings[data]
        queries, items = X[:N_QUERIES], X[N_QUERIES : N_QUERIES + N_ITEMS]
        train = items if task["fitted"] == "same" else X[N_QUERIES + N_ITEMS : N_QUERIES + 2 * N_ITEMS]
        truth = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :K]
        result = make(train, items, queries)
        row = task | {"fit": round(result["fit"], 2), "encode": round(result["encode"], 3), "model": result["model"]}
        if "rows" in result:
            pairs = zip(result["rows"], truth, strict=True)
            row["recall"] = float(np.mean([len(np.intersect1d(a, b)) / K for a, b in pairs]))
        else:
            row |= {"recall": recall(result["scores"], truth), "hamming": recall(result["hamming"], truth)}
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def markdown() -> str:
    """Return the tables of what is done."""
    rows, lines = done(), []
    for data, sizes in SIZES.items():
        for n_bytes in sizes:
            if not any((row["data"], row["bytes"]) == (data, n_bytes) for row in rows):
                continue
            lines += [
                f"\n### {data}, {n_bytes} bytes an item\n",
                "| | recall@10, fitted on the items | on other rows | Hamming | fit, s | encode, µs | model, MB |",
                "|---|---|---|---|---|---|---|",
            ]
            for method in dict.fromkeys(row["method"] for row in rows):
                cells = [method]
                mine = [r for r in rows if (r["data"], r["bytes"], r["method"]) == (data, n_bytes, method)]
                same, apart = ([r for r in mine if r["fitted"] == fitted] for fitted in ("same", "apart"))
                if not mine:
                    continue
                cells += [spread([r["recall"] for r in part]) for part in (same, apart)]
                cells.append(spread([r["hamming"] for r in same if "hamming" in r]))
                cells.append(f"{np.mean([r['fit'] for r in mine]):.1f}")
                cells.append(f"{np.mean([r['encode'] for r in mine]) / N_ITEMS * 1e6:.0f}")
                cells.append(f"{mine[0]['model'] / 1e6:.2f}")
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Return the mean, and the standard deviation over seeds where there are several."""
    if not values:
        return ""
    deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"


if __name__ == "__main__":
    if "--print" not in sys.argv:
        names = sys.argv[1:]
        run([name for name in names if name in SIZES], [name for name in names if name not in SIZES])
    print(markdown())
