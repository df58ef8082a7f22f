"""The metrics beside scikit-learn, torchmetrics, ranx and the authors' key, on embeddings of CIFAR-10.

    python benchmarks/metrics_agreement.py

500 queries and 4,500 items that heads trained with three losses never saw, 16 to 64 dimensions. torchmetrics computes
in float32, so its own lines are run in float64.
"""

import warnings
from typing import Any

import numpy as np
import torch
import torchmetrics.functional.retrieval.average_precision as of_torchmetrics
from ranx import Qrels, Run, evaluate
from sklearn.metrics import average_precision_score

from h2q.datasets import load_dataset
from h2q.evaluation import embeddings_mean_average_precision, mean_average_precision
from h2q.quantization import HouseholderQuantizer
from real_embeddings import HEAD_BITS, HEAD_LOSSES, head_embeddings

warnings.filterwarnings("ignore")  # ranx's kernels warn of their own casts
N_QUERIES, K, LIBRARY_QUERIES = 500, 1_000, 50


class Float64Torch:
    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name == "float32" else getattr(torch, name)


def unit_rows(x: np.ndarray) -> np.ndarray:
    exact = x.astype(np.float64)
    return exact / np.linalg.norm(exact, axis=1, keepdims=True)


def authors(codes: np.ndarray, x: np.ndarray, labels: np.ndarray) -> float:
    """Mean average precision as the authors compute it: argsort of 10 * hamming + squared distance."""
    unit = unit_rows(x)
    signs = 2.0 * np.unpackbits(codes, axis=1, count=x.shape[1]) - 1
    values = []
    for q in range(N_QUERIES):
        hamming = 0.5 * (x.shape[1] - signs[q] @ signs[N_QUERIES:].T)
        key = 10 * hamming + ((unit[q] - unit[N_QUERIES:]) ** 2).sum(axis=1)
        relevant = (labels[N_QUERIES:] == labels[q])[np.argsort(key)][:K]
        found = relevant.sum()
        values.append((np.arange(1, found + 1) / (1 + np.flatnonzero(relevant))).mean() if found else 0.0)
    return float(np.mean(values))


def main() -> None:
    of_torchmetrics.torch = Float64Torch()
    dataset = load_dataset("cifar10")
    others = np.sort(np.random.default_rng(0).choice(dataset.folds["database"], 5_000, replace=False))
    labels = dataset.labels[others]
    split = labels[:N_QUERIES], labels[N_QUERIES:]
    columns = ("embeddings", 'mAP, ties "embeddings"', "the authors' loop", "difference", "farthest from scikit-learn",
               "from torchmetrics", "from ranx")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for loss in HEAD_LOSSES:
        for n_bits in HEAD_BITS:
            x = np.asarray(head_embeddings(loss, n_bits))
            codes = HouseholderQuantizer(random_state=0).fit(x[N_QUERIES:]).encode(x)
            ours = mean_average_precision(
                codes[:N_QUERIES], codes[N_QUERIES:], *split, n_bits=n_bits, k=K, ties="embeddings",
                query_embeddings=x[:N_QUERIES], database_embeddings=x[N_QUERIES:],
            ).value  # fmt: skip
            theirs = authors(codes, x, labels)
            unit = unit_rows(x)
            similarity = unit[:LIBRARY_QUERIES] @ unit[N_QUERIES:].T
            of_all = embeddings_mean_average_precision(x[:LIBRARY_QUERIES], x[N_QUERIES:], labels[:LIBRARY_QUERIES],
                                                       split[1]).per_query  # fmt: skip
            farthest = np.zeros(3)
            documents = [f"d{i}" for i in range(len(split[1]))]
            for q in range(LIBRARY_QUERIES):
                relevant = split[1] == labels[q]
                ranks = np.argsort(np.argsort(-similarity[q]))
                run = Run({"q": dict(zip(documents, (1e4 - ranks).tolist(), strict=True))})
                qrels = Qrels({"q": {d: 1 for d, good in zip(documents, relevant, strict=True) if good}})
                libraries = (
                    average_precision_score(relevant, similarity[q]),
                    float(
                        of_torchmetrics.retrieval_average_precision(torch.tensor(1e4 - ranks), torch.tensor(relevant))
                    ),
                    float(evaluate(qrels, run, "map")),
                )
                farthest = np.maximum(farthest, np.abs(np.array(libraries) - of_all[q]))
            cells = [f"{loss}, {n_bits}", f"{ours:.6f}", f"{theirs:.6f}"]
            cells += [f"{difference:.0e}" for difference in (abs(ours - theirs), *farthest)]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
