"""Labels at stage two: H²Q with whitening="auto" beside ITQ and plain H²Q, on embeddings of trained heads.

    python benchmarks/labels_at_stage_two.py FOLDER     # what is missing of the table, a row at a time; then Markdown
    python benchmarks/labels_at_stage_two.py            # Markdown of what is done

FOLDER holds an experiment (``h2q experiment run cifar10 --output FOLDER``, or the plan cifar10-all), which may still
run: 5 losses x 4 lengths x 2 seeds, heads on frozen features of EfficientNet-Lite0. Sign, ITQ (best of 10 starts), H²Q
and the embeddings themselves were scored there. Added here is H²Q with labels, fitted like them on the 5,000 training
images without centering. Where it chooses power 0 it is H²Q, and has its score. mAP@5,000 of 1,000 queries against
53,000 images, ties in expectation. Rows that are done lie in benchmarks/results/labels.jsonl: an interrupted run
continues where it stopped.
"""

import json
import sys
from pathlib import Path
from typing import Any

from h2q.comparison import fit_quantizer, leaders
from h2q.evaluation import mean_average_precision
from h2q.experiments.networks import obtain_network
from h2q.experiments.records import Record
from h2q.experiments.store import ExperimentFolder
from h2q.quantization import HouseholderQuantizer

RESULTS = Path(__file__).parent / "results" / "labels.jsonl"
METHODS = {"sign": "sign", "ITQ": "itq", "H²Q": "h2q-l2"}
LOSSES = ("CosineEmbedding", "DCH", "DPSH", "HyP2", "WGLHH")
SEEDS = (0, 1)


def heads(folder: ExperimentFolder) -> dict[str, dict[str, Record]]:
    """Return the finished cells of each head, by quantizer; only heads of which all that is needed is finished."""
    found: dict[str, dict[str, Record]] = {}
    for record in folder.records().values():
        spec, quantizer = record.cell.network, record.cell.quantizer
        if record.is_done and spec.penalty is None and spec.loss in LOSSES and spec.seed in SEEDS:
            found.setdefault(f"{spec.loss} {spec.n_bits} {spec.seed}", {})[quantizer] = record
    return {name: cells for name, cells in found.items() if cells.keys() >= {"real", *METHODS.values()}}


def score(cells: dict[str, Record], folder: ExperimentFolder) -> dict[str, Any]:
    """Return mAP of each method, the whitening that was chosen, and whether it is below H²Q beyond noise."""
    plain = cells["h2q-l2"].cell
    spec = plain.network
    folds, _ = obtain_network(spec, folder, 1)
    quantizer = HouseholderQuantizer(spec.n_bits, center=False, whitening="auto", random_state=spec.seed)
    fit_quantizer(quantizer, folds)
    row: dict[str, Any] = {"loss": spec.loss, "bits": spec.n_bits, "seed": spec.seed}
    row |= {name: cells[key].scores.map_expected for name, key in METHODS.items()}
    row |= {"H²Q, labels": row["H²Q"], "whitening": quantizer.whitening_, "below H²Q": False}
    if quantizer.whitening_ > 0:
        result = mean_average_precision(
            quantizer.encode(folds.queries), quantizer.encode(folds.database), folds.query_labels,
            folds.database_labels, n_bits=spec.n_bits, k=plain.k, divisor=plain.divisor, empty=plain.empty,
        )  # fmt: skip
        by_query = {"plain": folder.query_scores(plain.key)["map_expected"], "labels": result.per_query}
        row |= {"H²Q, labels": result.value, "below H²Q": "labels" not in leaders(by_query)}
    row["real-valued"] = cells["real"].scores.map_real
    return row


def done() -> list[dict[str, Any]]:
    """Return the rows that are done."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return a table of means over seeds, and the mean differences."""
    names = [*METHODS, "H²Q, labels", "real-valued"]
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


def main(folders: list[str]) -> None:
    """Make what is missing, and print the table."""
    rows = done()
    finished = {f"{row['loss']} {row['bits']} {row['seed']}" for row in rows}
    for folder in map(ExperimentFolder, folders):
        for name, cells in heads(folder).items():
            if name in finished:
                continue
            rows.append(score(cells, folder))
            with RESULTS.open("a") as file:
                file.write(json.dumps(rows[-1], ensure_ascii=False) + "\n")
            print(rows[-1], flush=True)
    print(markdown(sorted(rows, key=lambda row: (row["loss"], row["bits"], row["seed"]))))


if __name__ == "__main__":
    main(sys.argv[1:])
