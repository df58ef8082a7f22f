"""Fine-tuning the last blocks of a backbone against a head on frozen features: CIFAR-10, the paper's folds.

Queries against part of the database; mAP@5000 of the real-valued embeddings, and of the codes of sign and of H²Q.

    python benchmarks/fine_tuning.py                             # small images, two cores
    python benchmarks/fine_tuning.py --losses HyP2 --blocks 2    # fewer blocks
"""

import argparse
import dataclasses
import time
from typing import Any

import numpy as np

from h2q.datasets import ImageDataset, load_dataset
from h2q.evaluation import embeddings_mean_average_precision, mean_average_precision
from h2q.quantization import HouseholderQuantizer, SignQuantizer
from h2q.similarity import Hardware, RunOptions, extract_features, fine_tune, load_backbone, settings_for, train_head
from h2q.similarity.images import SelectedImages

COLUMNS = ("real", "sign embeddings", "h2q embeddings", "sign expected", "h2q expected")


def evaluate(embeddings: dict[str, np.ndarray], labels: dict[str, np.ndarray], n_bits: int) -> dict[str, float]:
    queries, database = embeddings["query"], embeddings["database"]
    relevance = (labels["query"], labels["database"])
    scores = {"real": embeddings_mean_average_precision(queries, database, *relevance, k=5000).value}
    quantizers = {"sign": SignQuantizer(center=False), "h2q": HouseholderQuantizer(center=False, random_state=0)}
    for name, quantizer in quantizers.items():
        quantizer.fit(embeddings["train"])
        codes = quantizer.encode(queries), quantizer.encode(database)
        for ties in ("embeddings", "expected"):
            scores[f"{name} {ties}"] = mean_average_precision(
                *codes, *relevance, n_bits=n_bits, k=5000, ties=ties,
                query_embeddings=queries if ties == "embeddings" else None,
                database_embeddings=database if ties == "embeddings" else None,
            ).value  # fmt: skip
    return scores


def print_row(name: str, validation: float, seconds: float, scores: dict[str, float]) -> None:
    numbers = " | ".join(f"{100 * scores[column]:.2f}" for column in COLUMNS)
    print(f"| {name} | {100 * validation:.2f} | {numbers} | {seconds:.0f} |", flush=True)


def compare(dataset: ImageDataset, folds: dict[str, np.ndarray], loss: str, seed: int, arguments: Any) -> None:
    backbone = load_backbone("efficientnet-lite0", image_size=arguments.image_size)
    images = {fold: SelectedImages(dataset.images, positions) for fold, positions in folds.items()}
    labels = {fold: dataset.labels[positions] for fold, positions in folds.items()}
    features = {
        fold: np.asarray(extract_features(dataset.images, backbone, positions=positions, cache_key=dataset.fingerprint))
        for fold, positions in folds.items()
    }
    head = train_head(
        features["train"], labels["train"], loss=loss, n_bits=arguments.bits, random_state=seed,
        validation=(features["validation"], labels["validation"]),
    )  # fmt: skip
    scores = evaluate({fold: head.embed(part) for fold, part in features.items()}, labels, arguments.bits)
    print_row(f"{loss} | {seed} | frozen", head.history.validation_map or 0.0, head.history.seconds, scores)
    settings = settings_for(loss, "fine-tune")
    if arguments.epochs is not None:
        settings = dataclasses.replace(settings, epochs=arguments.epochs)
    tuned = fine_tune(
        images["train"], labels["train"], loss=loss, n_bits=arguments.bits, backbone=backbone, start=head,
        train_blocks=arguments.blocks, validation=(images["validation"], labels["validation"]), settings=settings,
        random_state=seed, run=RunOptions(hardware=Hardware(threads=arguments.threads)),
    )  # fmt: skip
    epochs = ", ".join(f"{100 * epoch['validation_map']:.1f}" for epoch in tuned.history.epochs)
    scores = evaluate({fold: tuned.embed(part) for fold, part in images.items()}, labels, arguments.bits)
    name = f"{loss} | {seed} | last {arguments.blocks} blocks, epoch {tuned.history.best_epoch + 1}"
    print_row(name, tuned.history.validation_map or 0.0, tuned.history.seconds, scores)
    print(f"    validation by epoch: {epochs}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", default=("CosineEmbedding", "HyP2"))
    parser.add_argument("--bits", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--database", type=int, default=20_000, help="images of the database fold to search")
    arguments = parser.parse_args()
    began = time.perf_counter()
    print("| loss | seed | network | validation | " + " | ".join(COLUMNS) + " | training (s) |")
    print("|---" * (len(COLUMNS) + 5) + "|")
    for seed in arguments.seeds:
        dataset = load_dataset("cifar10", random_state=seed)
        folds = {**dataset.folds, "database": dataset.folds["database"][: arguments.database]}
        for loss in arguments.losses:
            compare(dataset, folds, loss, seed, arguments)
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
