"""Thresholds of drift: what its measures say of the same and of other data, beside what a refit would give.

    python benchmarks/drift.py
    python benchmarks/drift.py --data CIFAR-10 --seeds 10

CIFAR-10: the first 256 of the EfficientNet-Lite0 features. A quantizer is fitted on five classes drawn at random.
WordNet: glosses through all-MiniLM-L6-v2; it is fitted on half of the lexicographer files (noun.animal, verb.motion,
...), or on nouns. Then it is shown held-out rows of the same classes, rows of the others, and mixtures of both. The
first table has the values of each measure as multiples of its threshold, the second the shares of the runs that alarm,
the third recall before and after a refit.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import h2q
from codes_at_equal_bytes import drawn, image_features
from h2q.datasets import load_dataset
from h2q.index.drift import Drift, code_recall, measure_drift
from h2q.quantization.base import BaseQuantizer
from machine import processor
from real_embeddings import cached, embed_texts, wordnet_files, wordnet_glosses

Rows = NDArray[np.float32]
SHARES = (0.0, 0.2, 0.5, 1.0)  # of other data among the new rows
N_IMAGES, N_TEXTS, N_FITTED = 12_000, 12_000, 2_000
MEASURES = ("mean_shift", "bit_balance", "quantization_error", "recall_loss")


def images() -> tuple[Rows, NDArray[np.object_]]:
    """Return features and class of each image, in the order of seed 0."""
    dataset = load_dataset("cifar10")
    order = np.random.default_rng(0).permutation(len(dataset.images))[:N_IMAGES]
    rows = np.ascontiguousarray(image_features(dataset, N_IMAGES)[:, :256])
    return rows, np.asarray(dataset.labels)[order].astype(str).astype(object)


def glosses() -> tuple[Rows, NDArray[np.object_]]:
    """Return embedding and lexicographer file of each gloss, in the order of seed 0."""
    rows = cached(f"wordnet-minilm-{N_TEXTS}", lambda: embed_texts(drawn(wordnet_glosses(), N_TEXTS)))
    return np.asarray(rows), np.array(drawn(wordnet_files(), N_TEXTS), object)


def divisions(seed: int) -> Iterator[tuple[str, Rows, NDArray[np.bool_]]]:
    """Yield the name of a set, its rows, and which of them are of the old classes."""
    generator = np.random.default_rng(seed)
    for name, (rows, classes) in DATA.items():
        known = np.unique(classes)
        old = generator.permutation(known)[: len(known) // 2]
        yield name, rows, np.isin(classes.astype(str), old.astype(str))
        if name == "WordNet" and seed == 0:
            yield "WordNet, nouns", rows, np.array([str(c).startswith("noun") for c in classes])


def quantizers(seed: int) -> Iterator[tuple[str, BaseQuantizer]]:
    """Yield quantizers that are not fitted."""
    yield "H²Q 64", h2q.HouseholderQuantizer(64, random_state=seed)
    if seed == 0:
        yield "random 128", h2q.RandomRotationQuantizer(128, random_state=seed)


def runs(n_seeds: int) -> Iterator[tuple[str, str, int, float, Drift, float | None]]:
    """Yield set, quantizer, new rows, share of others, what drift says, and the recall of new rows after a refit."""
    for seed in range(n_seeds):
        for name, rows, old in divisions(seed):
            generator = np.random.default_rng(seed)
            same, others = generator.permutation(np.flatnonzero(old)), generator.permutation(np.flatnonzero(~old))
            n_fit = min(N_FITTED, len(same) // 2)
            for label, quantizer in quantizers(seed):
                quantizer.fit(rows[same[:n_fit]])
                for n_new in (200, 1_000):
                    for share in SHARES:
                        n_others = int(share * n_new)
                        held_out = generator.choice(same[n_fit:], n_new - n_others, replace=False)
                        chosen = np.concatenate([held_out, generator.choice(others, n_others, replace=False)])
                        new = rows[generator.permutation(chosen)]
                        kept = rows[same[:n_fit]]
                        drift = measure_drift(quantizer, new, kept=kept)
                        again = None
                        if n_new > 200 and share == 1 and label.startswith("H²Q"):
                            refitted = type(quantizer)(**quantizer.get_params()).fit(np.concatenate([kept, new]))
                            again = float(code_recall(refitted, kept, new)[1].mean())
                        yield name, label, n_new, share, drift, again


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", choices=tuple(MAKERS), default=tuple(MAKERS))
    arguments = parser.parse_args()
    print(processor())
    DATA.update({name: MAKERS[name]() for name in arguments.data})
    results = []
    for result in runs(arguments.seeds):
        results.append(result)
        print(result, file=sys.stderr, flush=True)
    print(
        "\n| set | others | rows | runs | " + " | ".join(f"{measure}: 5 %, 50 %, 95 %" for measure in MEASURES) + " |"
    )
    print("|---|---:|---:|---:|" + "---|" * len(MEASURES))
    values = defaultdict(list)
    for name, _, n_new, share, drift, _ in results:
        # The error as a part of what is allowed: its threshold depends on the rows of the fit.
        values[name, share, n_new].append([measure.value / measure.threshold for measure in drift.measures])
    for (name, share, n_new), several in sorted(values.items()):
        cells = [
            ", ".join(f"{value:.2f}" for value in np.quantile(m, (0.05, 0.5, 0.95))) for m in zip(*several, strict=True)
        ]
        print(f"| {name} | {100 * share:.0f} % | {n_new:,} | {len(several)} | " + " | ".join(cells) + " |")
    print("\n| set | others | rows | runs | alarms | refit | " + " | ".join(MEASURES) + " |")
    print("|---|---:|---:|---:|---:|---:|" + "---:|" * len(MEASURES))
    alarms = defaultdict(list)
    for name, _, n_new, share, drift, _ in results:
        flags = [drift.drifted, drift.refit, *(measure.exceeded for measure in drift.measures)]
        alarms[name, share, n_new].append(flags)
    for (name, share, n_new), flags in sorted(alarms.items()):
        cells = " | ".join(f"{100 * value:.0f} %" for value in np.mean(flags, axis=0))
        print(f"| {name} | {100 * share:.0f} % | {n_new:,} | {len(flags)} | {cells} |")
    print("\n| set | quantizer | others | refit advised | recall of old | of new | of new after a refit |")
    print("|---|---|---:|---|---:|---:|---:|")
    recalls = defaultdict(list)
    for name, label, _, share, drift, again in results:
        if again is not None:
            recalls[name, label, share, drift.refit].append((drift.old_recall, drift.new_recall, again))
    for (name, label, share, refit), several in sorted(recalls.items()):
        cells = " | ".join(f"{value:.3f}" for value in np.mean(several, axis=0))
        print(f"| {name} | {label} | {100 * share:.0f} % | {'yes' if refit else 'no'} ({len(several)}) | {cells} |")


DATA: dict[str, tuple[Rows, NDArray[np.object_]]] = {}
MAKERS = {"CIFAR-10": images, "WordNet": glosses}

if __name__ == "__main__":
    main()
