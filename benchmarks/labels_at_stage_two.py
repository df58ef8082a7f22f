"""Labels at stage two: H²Q with whitening="auto" beside ITQ and plain H²Q, on embeddings of trained heads.

    python benchmarks/labels_at_stage_two.py            # what is missing of the table, a row at a time; then Markdown
    python benchmarks/labels_at_stage_two.py --print    # Markdown of what is done

The networks are those of ``h2q experiment show cifar10``: 5 losses x 4 lengths x 2 seeds, heads on frozen features
of EfficientNet-Lite0. They are kept in h2q's cache folder, and trained where they are missing (``--trained``: only
those that are there). Quantizers are fitted on the 5,000 training images, "auto" with their labels; mAP@5,000 of
1,000 queries against 53,000 images, ties in expectation. Rows that are done lie in
benchmarks/results/labels.jsonl: an interrupted run continues where it stopped.
"""

import json
import sys
from pathlib import Path
from typing import Any

from h2q.comparison import leaders, score_embeddings, score_quantizer
from h2q.datasets import cache_folder
from h2q.experiments.cells import NetworkSpec, cells_of
from h2q.experiments.networks import obtain_network
from h2q.experiments.plan_file import load_plan
from h2q.experiments.store import ExperimentFolder
from h2q.quantization import make_quantizer

RESULTS = Path(__file__).parent / "results" / "labels.jsonl"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "sign": ("sign", {}),
    "ITQ": ("itq", {"n_init": 10}),
    "H²Q": ("h2q", {}),
    "H²Q, labels": ("h2q", {"whitening": "auto"}),
}
K = 5_000


def networks() -> dict[str, NetworkSpec]:
    """Return the networks of the plan that have no penalty, by loss, bits and seed."""
    specs = [cell.network for cell in cells_of(load_plan("cifar10")) if not cell.network.weights]
    return {f"{spec.loss} {spec.n_bits} {spec.seed}": spec for spec in sorted(specs, key=lambda spec: spec.seed)}


def score(spec: NetworkSpec, folder: ExperimentFolder) -> dict[str, Any]:
    """Return mAP of each method, the whitening that was chosen, and who leads beyond the noise of the queries."""
    folds, _ = obtain_network(spec, folder, 1)
    row: dict[str, Any] = {"loss": spec.loss, "bits": spec.n_bits, "seed": spec.seed}
    per_query = {}
    for name, (quantizer, options) in METHODS.items():
        fitted = make_quantizer(quantizer, spec.n_bits, center=False, random_state=spec.seed, **options)
        result = score_quantizer(fitted, folds, k=K).map_expected
        row[name], per_query[name] = result.value, result.per_query
        if name == "H²Q, labels":
            row["whitening"] = fitted.whitening_
    pair = {name: per_query[name] for name in ("H²Q", "H²Q, labels")}
    row["below H²Q"] = "H²Q, labels" not in leaders(pair)
    row["real-valued"] = score_embeddings(folds, k=K).map_expected.value
    return row


def done() -> list[dict[str, Any]]:
    """Return the rows that are done."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table of means over seeds, and the mean differences."""
    names = [*METHODS, "real-valued"]
    lines = [f"| loss | bits | {' | '.join(names)} | whitening |", "|---|---:|" + "---:|" * (len(names) + 1)]
    for loss, bits in dict.fromkeys((row["loss"], row["bits"]) for row in rows):
        cell = [row for row in rows if (row["loss"], row["bits"]) == (loss, bits)]
        means = [f"{100 * sum(row[name] for row in cell) / len(cell):.1f}" for name in names]
        powers = ", ".join(f"{row['whitening']:g}" for row in cell)
        lines.append(f"| {loss} | {bits} | {' | '.join(means)} | {powers} |")
    for name in ("ITQ", "H²Q"):
        gains = [100 * (row["H²Q, labels"] - row[name]) for row in rows]
        lines.append(
            f"\nH²Q with labels against {name}, {len(rows)} networks: {sum(gains) / len(gains):+.2f} on average, "
            f"{min(gains):+.2f} to {max(gains):+.2f}."
        )
    below = [f"{row['loss']} {row['bits']} seed {row['seed']}" for row in rows if row["below H²Q"]]
    lines.append(f"\nBelow H²Q beyond the noise of the queries: {', '.join(below) or 'none'}.")
    return "\n".join(lines)


def main() -> None:
    """Make what is missing, and print the table."""
    rows = done()
    if "--print" not in sys.argv:
        folder = ExperimentFolder(cache_folder() / "benchmarks" / "stage-two")
        for name in ("networks", "locks"):
            (folder.path / name).mkdir(parents=True, exist_ok=True)
        finished = {f"{row['loss']} {row['bits']} {row['seed']}" for row in rows}
        for key, spec in networks().items():
            if key in finished or ("--trained" in sys.argv and not folder.network_file(spec.key).exists()):
                continue
            rows.append(score(spec, folder))
            with RESULTS.open("a") as file:
                file.write(json.dumps(rows[-1], ensure_ascii=False) + "\n")
            print(rows[-1], flush=True)
    print(markdown(sorted(rows, key=lambda row: (row["loss"], row["bits"], row["seed"]))))


if __name__ == "__main__":
    main()
