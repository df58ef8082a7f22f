"""Other libraries' codes for embeddings of unit norm, at a given number of bytes an item.

Each function is fitted on `train`, encodes `items` and returns the ten best items of each query, with processor
seconds, the bytes of what must be kept beside the codes, and the bytes of a code as the library itself counts them.
"""

import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

K = 10
Rows = NDArray[np.float32]


def clock(action: Callable[[], Any]) -> tuple[Any, float]:
    """Return what an action returns, and the processor seconds it took."""
    began = time.process_time()
    result = action()
    return result, time.process_time() - began


def with_faiss(factory: str, train: Rows, items: Rows, queries: Rows) -> dict[str, Any]:
    """Return the ten best items of a FAISS index; `factory` may end in ``@l2``, the default is the inner product."""
    description, _, metric = factory.partition("@")
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(items.shape[1], description, kind)
    _, fit = clock(lambda: index.train(train))
    model = len(faiss.serialize_index(index))
    _, encode = clock(lambda: index.add(items))
    _, rows = index.search(queries, K)
    inner = faiss.downcast_index(index.index) if "," in description else index
    code = inner.code_size
    return {"rows": rows, "fit": fit, "encode": encode, "model": model, "code": code}


def reduced(n_features: int, train: Rows) -> tuple[Callable[[Rows], Rows], int]:
    """Return FAISS's projection onto principal components, and the bytes of its matrix."""
    if n_features == train.shape[1]:
        return (lambda X: X), 0
    transform = faiss.PCAMatrix(train.shape[1], n_features)
    transform.train(train)
    return (lambda X: np.asarray(transform.apply(X), np.float32)), 4 * n_features * train.shape[1]


def with_turbovec(bits: int, n_bytes: int, train: Rows, items: Rows, queries: Rows) -> dict[str, Any]:
    """Return the ten best items by turbovec: `bits` bits a component, and 4 bytes an item for its norm."""
    from turbovec import TurboQuantIndex

    n_features = min(8 * (n_bytes - 4) // bits, train.shape[1]) // 8 * 8
    (project, model), fit = clock(lambda: reduced(n_features, train))
    index = TurboQuantIndex(dim=n_features, bit_width=bits)
    index.calibrate(project(train))
    _, encode = clock(lambda: index.add(project(items)))
    _, rows = index.search(project(queries), k=K)
    code = n_features * bits // 8 + 4
    return {"rows": rows, "fit": fit, "encode": encode, "model": model, "code": code}


def with_rabitqlib(bits: int, n_bytes: int, train: Rows, items: Rows, queries: Rows) -> dict[str, Any] | None:
    """Return the ten best items by rabitqlib with one cluster; None if no number of components is small enough.

    Its scalars take 12 bytes an item at one bit and 20 at more, as the sizes of its files tell, ids not counted;
    components are a multiple of 32, at least 64.
    """
    from rabitqlib import IvfIndex

    scalars = 12 if bits == 1 else 20
    n_features = min(8 * (n_bytes - scalars) // bits, train.shape[1]) // 32 * 32
    if n_features < 64:
        return None
    (project, model), fit = clock(lambda: reduced(n_features, train))
    projected = project(items)
    index = IvfIndex(dim=n_features, max_elements=len(items), num_clusters=1, nbits=bits, metric="l2")
    center, assignment = project(train).mean(axis=0, keepdims=True), np.zeros(len(items), np.uint32)
    _, encode = clock(lambda: index.build(projected, center, assignment))
    rows, _ = index.search(project(queries), K, 1, high_accuracy=True)
    return {
        "rows": np.asarray(rows),
        "fit": fit,
        "encode": encode,
        "model": model,
        "code": n_features * bits // 8 + scalars,
    }


def with_sentence_transformers(int8: bool, n_bytes: int, train: Rows, items: Rows, queries: Rows) -> dict[str, Any]:
    """Return the ten best items by sentence-transformers: Hamming distance of the signs, 40 candidates scored again.

    With `int8`, candidates are scored by int8 embeddings, whose d bytes an item must be kept, too; otherwise by float
    query and signs. Fewer bytes than d / 8 are the first components, as its option ``truncate_dim`` takes them.
    """
    from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

    n_features = min(8 * n_bytes, items.shape[1])
    short = [np.ascontiguousarray(rows[:, :n_features]) for rows in (items, queries)]
    codes, encode = clock(lambda: quantize_embeddings(short[0], precision="ubinary"))
    options = {"corpus_precision": "ubinary", "exact": True, "rescore_multiplier": 4}
    model, code = 0, n_bytes
    if int8:
        candidates, _ = semantic_search_faiss(short[1], codes, top_k=4 * K, rescore=False, **options)
        ranges = np.vstack([train.min(axis=0), train.max(axis=0)])
        exact, more = clock(lambda: quantize_embeddings(items, precision="int8", ranges=ranges))
        steps = (ranges[1] - ranges[0]) / 255
        decoded = ranges[0] + (exact.astype(np.float32) + 128) * steps
        encode, model, code = encode + more, ranges.nbytes, n_bytes + items.shape[1]
        places = np.array([[hit["corpus_id"] for hit in hits] for hits in candidates])
        scores = np.einsum("id,ikd->ik", queries, decoded[places])
        rows = np.take_along_axis(places, np.argsort(-scores, axis=1, kind="stable")[:, :K], axis=1)
    else:
        hits_of_queries, _ = semantic_search_faiss(short[1], codes, top_k=K, rescore=True, **options)
        rows = np.array([[hit["corpus_id"] for hit in hits] for hits in hits_of_queries])
    return {"rows": rows, "fit": 0.0, "encode": encode, "model": model, "code": code}


def faiss_forms(n_bytes: int, d: int) -> dict[str, list[str]]:
    """Return the FAISS indexes that take this number of bytes an item, by method; the forms of a method compete.

    Where the dimensions cannot be divided, PQ works on a random projection to a few less. RaBitQ keeps as many
    principal components as fit, rotated or not, for either metric. OPQ works on all dimensions where that is feasible,
    and on four (images at 48 bytes: eight) a byte, as FAISS's guide advises.
    """
    even = d - d % (2 * n_bytes)  # parts of a product quantizer have equal dimensions
    rotated = "" if even == d else f"RR{even},"
    forms = {
        "FAISS PQ": [f"{rotated}PQ{n_bytes}"],
        "FAISS PQ fast scan": [f"{rotated}PQ{2 * n_bytes}x4fs"],
        "FAISS OPQ + PQ": [f"OPQ{n_bytes}_{4 * n_bytes},PQ{n_bytes}", f"OPQ{n_bytes},PQ{n_bytes}"],
        "FAISS RQ": [f"RQ{n_bytes}x8"],
    }
    if d > 512:
        forms["FAISS OPQ + PQ"] = [f"OPQ{n_bytes}_{(8 if n_bytes < 100 else 4) * n_bytes},PQ{n_bytes}"]
    for bits in (1, 2, 3, 4):
        name = "RaBitQ" if bits == 1 else f"RaBitQ{bits}"
        sizes = [n for n in range(8, d + 1) if faiss.index_factory(n, name).code_size <= n_bytes]
        if sizes and sizes[-1] >= 32:
            forms["FAISS RaBitQ" + (f", {bits} bits" if bits > 1 else "")] = [
                f"{reduction}{sizes[-1]},{name}{metric}" for reduction in ("PCA", "PCAR") for metric in ("", "@l2")
            ]
    return forms
