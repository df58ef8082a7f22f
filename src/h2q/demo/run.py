"""The demo from images to results in a folder."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.demo.data import DemoData
from h2q.demo.picture import PictureRow, draw_neighbors, one_query_a_class
from h2q.demo.scores import (
    CONTENDERS,
    K_PRECISION,
    K_RECALL,
    Contender,
    Embedded,
    Score,
    embed_folds,
    score_codes,
    score_embeddings,
)
from h2q.files import atomic_path, write_json
from h2q.progress import progress_bar

__all__ = [
    "COLUMNS",
    "LENGTHS",
    "DemoResult",
    "Stage",
    "explain",
    "frozen_stage",
    "run_stage",
    "section_ends",
    "table_row",
    "write_results",
]

LENGTHS = (16, 32, 64, 128)
PICTURED = "H²Q"
_PICTURED_BITS = 64
_N_PICTURED = 10


@dataclass(frozen=True)
class Stage:
    """Where embeddings come from, and what turns them into codes.

    Attributes
    ----------
    title : str
        For people.
    lengths : tuple of int
        Bits of the codes.
    embed : callable
        From bits and variant to the embeddings of all folds; of a frozen network they are always the same.
    contenders : tuple of Contender
        The quantizers, in the order of the table.
    """

    title: str
    lengths: tuple[int, ...]
    embed: Callable[[int, str], Embedded]
    contenders: tuple[Contender, ...] = CONTENDERS


@dataclass(frozen=True)
class DemoResult:
    """The table of a stage, and what H²Q found for each query at the pictured length."""

    stage: Stage
    scores: tuple[Score, ...]
    pictured_bits: int
    found: NDArray[np.int64]


def frozen_stage(data: DemoData) -> Stage:
    """Return the stage whose embeddings are the frozen features themselves."""
    embedded = embed_folds(data.features, data.labels, data.folds, max(LENGTHS))
    width = data.features.shape[1]
    return Stage(
        data.title, tuple(sorted({min(n_bits, width) for n_bits in LENGTHS})), lambda n_bits, variant: embedded
    )


def run_stage(stage: Stage, *, random_state: int = 0) -> DemoResult:
    """Score the real-valued embeddings and every contender at every length.

    The real-valued embeddings have one row where they are the same at every length.
    """
    pictured = min(stage.lengths, key=lambda n_bits: abs(n_bits - _PICTURED_BITS))
    scores: list[Score] = []
    found = np.zeros((0, 0), np.int64)
    scored: Embedded | None = None
    with progress_bar("scoring", len(stage.lengths) * len(stage.contenders)) as advance:
        for n_bits in stage.lengths:
            plain = stage.embed(n_bits, "")
            if plain is not scored:
                scores.append(score_embeddings(plain))
                scored = plain
            for contender in stage.contenders:
                score, ids = score_codes(stage.embed(n_bits, contender.variant), contender, n_bits, random_state)
                scores.append(score)
                if n_bits == pictured and contender.label == PICTURED:
                    found = ids
                advance(1)
    return DemoResult(stage, tuple(scores), pictured, found)


COLUMNS = ("quantizer", "bits", "error", "mAP expected", "mAP float", f"recall@{K_RECALL}", "fit")


def table_row(score: Score) -> list[str]:
    """Return the cells of a score, under `COLUMNS`."""
    return [
        score.quantizer,
        "" if score.n_bits is None else str(score.n_bits),
        "" if score.quantization_error is None else f"{score.quantization_error:.3f}",
        f"{100 * score.map_expected:.1f}",
        f"{100 * score.map_embeddings:.1f}",
        f"{100 * score.recall:.1f}",
        "" if score.fit_seconds is None else f"{score.fit_seconds:.2f} s",
    ]


def section_ends(result: DemoResult) -> set[int]:
    """Return the rows, from 1, after which the code length changes."""
    lengths = [score.n_bits for score in result.scores]
    return {row for row in range(1, len(lengths)) if lengths[row] != lengths[row - 1]}


def explain(data: DemoData) -> list[str]:
    """Say in words what the table shows, a paragraph an entry."""
    train, query, database = (len(data.folds[name]) for name in ("train", "query", "database"))
    k, width = min(K_PRECISION, database), 4 * data.features.shape[1]
    return [
        f"{query:,} queries against {database:,} images; quantizers fitted on {train:,} others, never on queries. An "
        f"embedding takes {width:,} bytes, a code of 64 bits 8.",
        f"mAP: mean average precision at {k:,} by class, in percent; equal distances in an average order (expected) "
        f"or broken by the embeddings (float). recall@{K_RECALL}: the share of the {K_RECALL} nearest by cosine that "
        "the codes find, in percent. error: L2 quantization error of the queries. fit: without the principal "
        "components, which all methods share.",
    ]


def write_results(folder: Path, data: DemoData, results: Sequence[DemoResult], *, random_state: int) -> dict[str, Path]:
    """Write the tables as JSON and Markdown, and the picture of the last stage; return where each is.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {"table": folder / "table.md", "json": folder / "results.json"}
    write_json(written["json"], to_document(data, results, random_state))
    with atomic_path(written["table"]) as temporary:
        temporary.write_text(_markdown(data, results), encoding="utf-8")
    if data.images is not None:
        written["picture"] = folder / "neighbors.png"
        _draw(written["picture"], data, results[-1])
    return written


def to_document(data: DemoData, results: Sequence[DemoResult], random_state: int) -> dict[str, Any]:
    """Return everything in the tables, for programs."""
    return {
        "data": data.title,
        "notes": list(data.notes),
        "folds": {name: len(rows) for name, rows in data.folds.items()},
        "map_at": min(K_PRECISION, len(data.folds["database"])),
        "recall_at": K_RECALL,
        "seed": random_state,
        "stages": [
            {"title": result.stage.title, "scores": [asdict(score) for score in result.scores]} for result in results
        ],
    }


def _markdown(data: DemoData, results: Sequence[DemoResult]) -> str:
    lines = ["# h2q demo", "", *data.notes, *([""] if data.notes else [])]
    for result in results:
        lines += [
            f"## {result.stage.title}",
            "",
            f"| {' | '.join(COLUMNS)} |",
            "|---" + "|---:" * (len(COLUMNS) - 1) + "|",
        ]
        lines += [f"| {' | '.join(table_row(score))} |" for score in result.scores]
        lines.append("")
    return "\n".join([*lines, "\n\n".join(explain(data)), ""])


def _draw(path: Path, data: DemoData, result: DemoResult) -> None:
    images = data.images
    if images is None:
        return
    query, database = data.folds["query"], data.folds["database"]
    rows = []
    for chosen in one_query_a_class(data.labels[query], _N_PICTURED):
        items = database[result.found[chosen]]
        rows.append(
            PictureRow(
                images[int(query[chosen])],
                int(data.labels[query[chosen]]),
                [images[int(item)] for item in items],
                data.labels[items].tolist(),
            )
        )
    title = f"The ten nearest images by {result.pictured_bits}-bit codes, {PICTURED}"
    draw_neighbors(path, rows, data.class_names, title)
