"""Compress embeddings to codes and search them: bytes an item, and recall of the true neighbors.

    python examples/compress_embeddings.py [EMBEDDINGS.npy [BYTES]]

Without a file: the handwritten digits of scikit-learn. Without a number of bytes: one bit a dimension.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

import h2q
from h2q.evaluation import float_neighbors, neighbor_recall


def main(embeddings: np.ndarray, n_bytes: int | None = None, n_queries: int = 100) -> dict[str, float]:
    """Return the share of the ten nearest embeddings that each search finds."""
    order = np.random.default_rng(0).permutation(len(embeddings))
    queries, database = embeddings[order[:n_queries]], embeddings[order[n_queries:]]
    truth = float_neighbors(queries, database, k=10)
    n_bytes = n_bytes or database.shape[1] // 8

    recalls = {}
    for quantizer in (
        h2q.HouseholderQuantizer(min(8 * n_bytes, database.shape[1]), random_state=0),
        h2q.RefinedQuantizer(n_bytes, random_state=0),
    ):
        index = h2q.BinaryIndex(quantizer=quantizer.fit(database), keep_embeddings=True)
        index.add(database)
        name = type(quantizer).__name__
        # Codes of queries; float queries against codes; codes propose 100 candidates, which the kept embeddings rank.
        for label, options in {
            "Hamming": {"scoring": "hamming"},
            "asymmetric": {"scoring": "asymmetric"},
            "re-ranked": {"scoring": "asymmetric", "rerank": 100},
        }.items():
            neighbors = index.search(queries, k=10, **options)
            recalls[f"{name}, {label}"] = neighbor_recall(truth, neighbors.ids).value

    print(f"{embeddings.shape[1] * 4} bytes an embedding, {n_bytes} an item as a code")
    for name, recall in recalls.items():
        print(f"recall@10 {recall:.0%}: {name}")
    return recalls


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(np.load(sys.argv[1], mmap_mode="r"), int(sys.argv[2]) if len(sys.argv) > 2 else None)
    else:
        pixels = load_digits().data.astype(np.float32)
        main(pixels[:, pixels.std(axis=0) > 0])
