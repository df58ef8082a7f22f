"""Heads on frozen features of CIFAR-10: each loss's real-valued mAP, its codes with and without a rotation, and time.

The paper's split; queries against the database of 53,000, mAP@5000, ties broken by the real-valued embeddings.

    python benchmarks/training.py                       # the whole grid, on the query fold
    python benchmarks/training.py --fold validation     # what settings are chosen on
    python benchmarks/training.py --loss DCH --bits 64 --seeds 1 --set dropout=0.3
"""

import argparse
import dataclasses
import json
import time

import numpy as np

from h2q.datasets import load_dataset
from h2q.evaluation import embeddings_mean_average_precision, mean_average_precision
from h2q.quantization import HouseholderQuantizer, ITQQuantizer, SignQuantizer
from h2q.similarity.features import extract_features
from h2q.similarity.frozen import train_head
from h2q.similarity.presets import settings_for

LOSSES = ("CosineEmbedding", "DCH", "DPSH", "HyP2", "WGLHH")


def evaluate(
    embeddings: dict[str, np.ndarray], labels: dict[str, np.ndarray], fold: str, n_bits: int
) -> dict[str, float]:
    queries, database = embeddings[fold], embeddings["database"]
    relevance = (labels[fold], labels["database"])
    result = {"real": embeddings_mean_average_precision(queries, database, *relevance, k=5000).value}
    quantizers = {
        "sign": SignQuantizer(center=False),
        "h2q": HouseholderQuantizer(center=False, random_state=0),
        "h2q centered": HouseholderQuantizer(random_state=0),
        "itq": ITQQuantizer(center=False, random_state=0),
    }
    for name, quantizer in quantizers.items():
        quantizer.fit(embeddings["train"])
        for ties in ("embeddings", "expected"):
            found = mean_average_precision(
                quantizer.encode(queries), quantizer.encode(database), *relevance, n_bits=n_bits, k=5000, ties=ties,
                query_embeddings=queries if ties == "embeddings" else None,
                database_embeddings=database if ties == "embeddings" else None,
            )  # fmt: skip
            result[f"{name} {ties}"] = found.value
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", nargs="+", default=LOSSES)
    parser.add_argument("--bits", nargs="+", type=int, default=(16, 32, 48, 64))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--fold", choices=("query", "validation"), default="query")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="change training settings")
    arguments = parser.parse_args()
    changes = {name: json.loads(value) for name, value in (pair.split("=") for pair in arguments.set)}
    dataset = load_dataset("cifar10")
    features = extract_features(dataset)
    parts = {fold: np.asarray(features[positions]) for fold, positions in dataset.folds.items()}
    labels = {fold: dataset.labels[positions] for fold, positions in dataset.folds.items()}
    columns = ("real", "sign float", "h2q float", "h2q centered float", "itq float", "sign expected", "h2q expected")
    print("| loss | bits | seed | seconds | validation | " + " | ".join(columns) + " |")
    print("|---" * (5 + len(columns)) + "|")
    rows = []
    for loss in arguments.loss:
        for n_bits in arguments.bits:
            for seed in range(arguments.seeds):
                settings = dataclasses.replace(settings_for(loss), **changes)
                began = time.perf_counter()
                trained = train_head(
                    parts["train"], labels["train"], loss=loss, n_bits=n_bits, settings=settings, random_state=seed,
                    validation=(parts["validation"], labels["validation"]),
                )  # fmt: skip
                seconds = time.perf_counter() - began
                embeddings = {fold: trained.embed(part) for fold, part in parts.items()}
                row = evaluate(embeddings, labels, arguments.fold, n_bits)
                rows.append(row)
                reached = 100 * trained.history.validation_map
                numbers = " | ".join(f"{100 * row[column]:.2f}" for column in columns)
                print(
                    f"| {loss} | {n_bits} | {seed} | {seconds:.1f} | {reached:.2f} | {numbers} |",
                    flush=True,
                )
    mean = {column: np.mean([row[column] for row in rows]) for column in columns}
    print("| mean | | | | | " + " | ".join(f"{100 * mean[column]:.2f}" for column in columns) + " |")
    lost, kept = mean["real"] - mean["sign float"], mean["h2q float"] - mean["sign float"]
    least = min(row["h2q float"] - row["sign float"] for row in rows)
    print(
        f"\nH²Q above sign: {100 * kept:.2f} points on average, {100 * least:.2f} in the worst cell; "
        f"given back of what sign loses: {100 * kept / lost:.0f} %; worst real-valued mAP: "
        f"{100 * min(row['real'] for row in rows):.2f}"
    )


if __name__ == "__main__":
    main()
