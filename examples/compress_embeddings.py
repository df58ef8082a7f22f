"""Embeddings of yours to codes, and their search: what it costs, what it keeps.

    python examples/compress_embeddings.py [EMBEDDINGS.npy]

Without a file: the handwritten digits that scikit-learn carries.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

import h2q
from h2q.evaluation import float_neighbors, neighbor_recall


def main(embeddings: np.ndarray, n_bits: int = 32, n_queries: int = 100) -> float:
    """Return the share of the ten nearest embeddings that the codes find."""
    order = np.random.default_rng(0).permutation(len(embeddings))
    queries, database = embeddings[order[:n_queries]], embeddings[order[n_queries:]]

    quantizer = h2q.HouseholderQuantizer(n_bits, random_state=0).fit(database)
    index = h2q.BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    index.add(database)

    truth = float_neighbors(queries, database, k=10)
    by_codes = neighbor_recall(truth, index.search(queries, k=10).ids).value
    # The codes propose 100 candidates, the kept embeddings put them in order.
    reranked = neighbor_recall(truth, index.search(queries, k=10, rerank=100).ids).value

    print(f"{embeddings.shape[1] * 4} bytes an embedding, {quantizer.encode(queries).shape[1]} a code")
    print(f"recall@10: codes {by_codes:.0%}, codes and re-ranking {reranked:.0%}")
    return reranked


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(np.load(sys.argv[1], mmap_mode="r"))
    else:
        pixels = load_digits().data.astype(np.float32)
        main(pixels[:, pixels.std(axis=0) > 0])
