"""Draw the picture of README.md: the nearest photos of five queries, by floats and by codes of 32 bytes; print recalls.

The photos are the sample of CIFAR-10 in data/. The queries are the first photo of every other class; all others are searched.
"""

from pathlib import Path

import numpy as np

import h2q
from h2q.datasets import load_dataset
from h2q.evaluation import float_neighbors, neighbor_recall
from h2q.plots import ImageRanking, draw_neighbors
from h2q.similarity import extract_features

ROOT = Path(__file__).parents[1]
N_BYTES, SHOWN = 32, 5

data = load_dataset("cifar10", ROOT / "data" / "cifar10-sample.parquet")
features = np.asarray(extract_features(data))
shown = np.array([np.flatnonzero(data.labels == label)[0] for label in range(0, data.n_classes, 2)])
others = np.setdiff1d(np.random.default_rng(0).permutation(len(features))[:500], shown)
queries = np.concatenate([shown, others])
items = np.setdiff1d(np.arange(len(features)), queries)
truth = float_neighbors(features[queries], features[items], 10)

neighbors = {}
for quantizer in (h2q.SignQuantizer(8 * N_BYTES), h2q.RefinedQuantizer(N_BYTES, random_state=0)):
    index = h2q.BinaryIndex(quantizer=quantizer.fit(features[items]))
    index.add(features[items])
    for scoring in ("hamming", "asymmetric"):
        ids = neighbors[type(quantizer).__name__, scoring] = index.search(features[queries], k=10, scoring=scoring).ids
        print(f"{quantizer!r}, {scoring}: recall@10 {neighbor_recall(truth, ids).value:.3f} of {len(queries)} queries")

rankings = []
for title, ids in (
    ("by embeddings, 5,120 bytes", truth),
    (f"by codes, {N_BYTES} bytes", neighbors["RefinedQuantizer", "asymmetric"]),
):
    rows = items[ids[: len(shown), :SHOWN]]
    rankings.append(ImageRanking(title, [[data.images[row] for row in line] for line in rows], data.labels[rows]))
picture = draw_neighbors(
    [data.images[row] for row in shown], data.labels[shown], rankings, data.class_names, "The five nearest photos"
)
target = ROOT / "docs" / "assets" / "neighbors.png"
picture.quantize(256).save(target, optimize=True)
print(f"{target.stat().st_size:,} bytes")
