"""Does `h2q tune` choose well? Its choice beside the best on queries that it never saw.

    python benchmarks/tuning.py                       # texts, docstrings and sample; what is missing, then Markdown
    python benchmarks/tuning.py --methods sign,random,h2q,refined    # only these, which are fast
    python benchmarks/tuning.py --print               # Markdown of what is done

`tune` gets 5,000 embeddings. Then everything that it tried is fitted on all these rows and judged by 1,000 fresh
queries: by recall@10 of the float neighbors among these rows. A choice is right if it is the best there, or not below
the best beyond noise (95% paired bootstrap). Rows that are done lie in benchmarks/results/tuning.jsonl.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from codes_at_equal_bytes import split
from h2q.comparison import EmbeddedFolds, TuningResult, leaders, score_quantizer, tune
from h2q.comparison.tuning import SCORINGS, Trial
from h2q.evaluation import float_neighbors

RESULTS = Path(__file__).parent / "results" / "tuning.jsonl"
EMBEDDINGS = (("texts", 16), ("texts", 48), ("docstrings", 16), ("docstrings", 48), ("sample", 16), ("sample", 48))
N_ROWS, K = 5_000, 10


def judge(result: TuningResult, folds: EmbeddedFolds) -> dict[str, Any]:
    """Return the choice, the best on fresh queries, and whether the choice is the best or within noise of it."""
    scores = {}
    for trial in result.trials:
        bits = 8 * result.n_bytes if trial.contender.in_bytes else min(8 * result.n_bytes, result.n_features)
        quantizer = trial.contender.make(bits, result.random_state)
        score = score_quantizer(quantizer, folds, name=trial.name, asymmetric=True, n_found=K)
        fresh = Trial(trial.contender, score, trial.by_labels)
        for scoring in SCORINGS:
            scores[f"{trial.name}, {scoring}"] = fresh.value(scoring).per_query
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    choice = f"{result.best.name}, {result.scoring}"
    best = max(means, key=lambda name: means[name])
    return {
        "choice": choice, "value": means[choice], "best": best, "best_value": means[best],
        "right": choice in leaders({name: scores[name] for name in dict.fromkeys((choice, best))}),
        "estimate": result.best.value(result.scoring).value, "tried": [trial.name for trial in result.trials],
        "verdict": list(result.verdict()),
    }  # fmt: skip


def by_neighbors(data: str, n_bytes: int, methods: list[str] | None) -> dict[str, Any]:
    """Return what `tune` chooses for embeddings, and what fresh queries say."""
    queries, items, _, _ = split(data)
    rows = np.ascontiguousarray(items[:N_ROWS])
    folds = EmbeddedFolds(rows, queries, rows, true_neighbors=float_neighbors(queries, rows, K))
    return judge(tune(rows, n_bytes, quantizers=methods), folds)


def done() -> list[dict[str, Any]]:
    """Return the rows that are done."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def write(row: dict[str, Any], began: float) -> None:
    """Add a row to the file, and print it."""
    row["seconds"] = round(time.process_time() - began, 1)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(row, flush=True)


def markdown(rows: list[dict[str, Any]]) -> str:
    """Return the table."""
    lines = ["| embeddings | bytes | choice | its value, % | best on fresh queries | its value, % | right |"]
    lines.append("|---|---:|---|---:|---|---:|---|")
    lines += [
        f"| {row['data']} | {row['bytes']} | {row['choice']} | {100 * row['value']:.1f} | {row['best']} | "
        f"{100 * row['best_value']:.1f} | {'yes' if row['right'] else 'no'} |"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Make what is missing, and print the table."""
    finished = {(row["data"], row["bytes"]) for row in done()}
    methods = arguments[arguments.index("--methods") + 1].split(",") if "--methods" in arguments else None
    if "--print" not in arguments:
        for data, n_bytes in EMBEDDINGS:
            if (data, n_bytes) not in finished:
                began = time.process_time()
                write({"data": data, "bytes": n_bytes} | by_neighbors(data, n_bytes, methods), began)
    print(markdown(done()))


if __name__ == "__main__":
    main(sys.argv[1:])
