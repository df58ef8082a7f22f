"""Draw the picture of README.md: the nearest photos of five queries, by floats and by codes of 32 bytes.

The photos are the sample of CIFAR-10 in data/. The queries that are drawn are the first photo of
every other class; recall is that of 500 more.
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

found = {"floats": truth}
for name, quantizer, scoring in (
    ("signs", h2q.SignQuantizer(8 * N_BYTES), "hamming"),
    ("h2q", h2q.RefinedQuantizer(N_BYTES, random_state=0), "asymmetric"),
):
    index = h2q.BinaryIndex(quantizer=quantizer.fit(features[items]))
    index.add(features[items])
    found[name] = index.search(features[queries], k=10, scoring=scoring).ids
    print(f"{name}: recall@10 {neighbor_recall(truth, found[name]).value:.3f} of {len(queries)} queries")

titles = {
    "floats": "floats, 5,120 bytes",
    "signs": f"signs, {N_BYTES} bytes",
    "h2q": f"refined codes, {N_BYTES} bytes",
}
rankings = []
for name, ids in found.items():
    rows = items[ids[: len(shown), :SHOWN]]
    rankings.append(
        ImageRanking(titles[name], [[data.images[row] for row in line] for line in rows], data.labels[rows])
    )
title = "The five nearest photos of a query, by embeddings and by codes"
picture = draw_neighbors([data.images[row] for row in shown], data.labels[shown], rankings, data.class_names, title)
target = ROOT / "docs" / "assets" / "neighbors.png"
picture.quantize(256).save(target, optimize=True)
print(f"{target.stat().st_size:,} bytes")
