"""The results of the demo as tables, sentences, JSON and a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.comparison import Score
from h2q.demo.data import DemoData
from h2q.demo.run import K_PRECISION, PICTURED, DemoResult, Row, say_order, say_winners
from h2q.demo.stages import K_RECALL
from h2q.files import atomic_path, write_json
from h2q.report.document import Document, Paragraph, Section, Table, Value
from h2q.report.render_markdown import render_markdown

__all__ = ["as_json", "explain", "result_table", "say_results", "write_results"]

_N_PICTURED = 10

_Part = Callable[[Score], float | None]


def _map_expected(score: Score) -> float | None:
    return None if score.map_expected is None else score.map_expected.value


def _map_embeddings(score: Score) -> float | None:
    return None if score.map_embeddings is None else score.map_embeddings.value


def _recall(score: Score) -> float | None:
    return None if score.recall is None else score.recall.value


def _error(score: Score) -> float | None:
    return score.quantization_error_l2


def _fit_seconds(score: Score) -> float | None:
    return score.fit_seconds


_PARTS: dict[str, _Part] = {
    "quantization_error": _error,
    "map_expected": _map_expected,
    "map_embeddings": _map_embeddings,
    "recall": _recall,
    "fit_seconds": _fit_seconds,
}


def result_table(result: DemoResult) -> Table:
    """Return the table of a stage."""
    columns = ("quantizer", "bits", "error", "mAP\nexpected", "mAP\nembeddings", f"recall@{K_RECALL}", "fit")
    rows = tuple(
        (
            Value(row.name),
            Value("" if row.n_bits is None else str(row.n_bits)),
            Value(_text(row, _error, "{:.3f}")),
            *(Value(_percent(row, part)) for part in (_map_expected, _map_embeddings, _recall)),
            Value(_text(row, _fit_seconds, "{:.2f} s")),
        )
        for row in result.rows
    )
    lengths = [row.n_bits for row in result.rows]
    rules = tuple(row for row in range(1, len(lengths)) if lengths[row] != lengths[row - 1])
    return Table(columns=columns, rows=rows, rules=rules)


def _text(row: Row, part: _Part, layout: str) -> str:
    spread = row.spread(part)
    return "" if spread is None else layout.format(spread[0])


def _percent(row: Row, part: _Part) -> str:
    """Return a mean in percent, with the standard deviation over seeds if it is not 0.0."""
    spread = row.spread(part)
    if spread is None:
        return ""
    mean, deviation = spread
    shown = f"{100 * (deviation or 0.0):.1f}"
    return f"{100 * mean:.1f}" + (f" ± {shown}" if shown != "0.0" else "")


def say_results(result: DemoResult) -> list[Paragraph]:
    """Return what the table of a stage shows, in sentences."""
    sentences = [say_winners(result), say_order(result)]
    return [Paragraph(sentence) for sentence in sentences if sentence is not None]


def explain(data: DemoData, n_seeds: int) -> list[Paragraph]:
    """Return what the columns of the tables mean."""
    train, query, database = (len(data.folds[name]) for name in ("train", "query", "database"))
    k, width = min(K_PRECISION, database), 4 * data.features.shape[1]
    return [
        Paragraph(
            f"{query:,} queries against {database:,} images; quantizers fitted on {train:,} others, never on queries. "
            f"An embedding takes {width:,} bytes, a code of 64 bits 8. Means over {n_seeds} seeds of the quantizers, ± "
            "one standard deviation."
        ),
        Paragraph(
            f"mAP: mean average precision at {k:,} by class, in percent; equal Hamming distances averaged over all "
            f"orders (expected) or ordered by the embeddings. recall@{K_RECALL}: share of the {K_RECALL} nearest "
            "embeddings by cosine among the nearest codes, in percent. error: L2 quantization error of the queries. "
            "fit: seconds, without the principal components, which all quantizers share."
        ),
    ]


def as_json(data: DemoData, results: Sequence[DemoResult], random_state: int, n_seeds: int) -> dict[str, Any]:
    """Return everything in the tables, for programs."""
    return {
        "data": data.title,
        "notes": list(data.notes),
        "folds": {name: len(rows) for name, rows in data.folds.items()},
        "map_at": min(K_PRECISION, len(data.folds["database"])),
        "recall_at": K_RECALL,
        "seeds": list(range(random_state, random_state + n_seeds)),
        "stages": [
            {
                "title": result.stage.title,
                "scores": [_row_json(row) for row in result.rows],
                "findings": [paragraph.text for paragraph in say_results(result)],
            }
            for result in results
        ],
    }


def _row_json(row: Row) -> dict[str, Any]:
    spreads = {name: row.spread(part) for name, part in _PARTS.items()}
    return {
        "quantizer": row.name,
        "n_bits": row.n_bits,
        "n_bytes": row.scores[0].n_bytes,
        **{name: None if spread is None else spread[0] for name, spread in spreads.items()},
        "deviation": {name: None if spread is None else spread[1] for name, spread in spreads.items()},
    }


def write_results(
    folder: Path, data: DemoData, results: Sequence[DemoResult], *, random_state: int, n_seeds: int
) -> dict[str, Path]:
    """Write the tables as JSON and Markdown, and the picture of the last stage; return the path of each.

    Raises
    ------
    OSError
        If the folder cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {"table": folder / "table.md", "json": folder / "results.json"}
    write_json(written["json"], as_json(data, results, random_state, n_seeds))
    with atomic_path(written["table"]) as temporary:
        temporary.write_text(_markdown(data, results, n_seeds), encoding="utf-8")
    if data.images is not None:
        written["picture"] = folder / "neighbors.png"
        picture = _draw(data, data.images, results[-1])
        with atomic_path(written["picture"]) as temporary:
            picture.save(temporary, format="PNG", optimize=True)
    return written


def _markdown(data: DemoData, results: Sequence[DemoResult], n_seeds: int) -> str:
    sections = [Section(result.stage.title, (result_table(result), *say_results(result))) for result in results]
    explanation = Section("How to read the tables", tuple(explain(data, n_seeds)))
    return render_markdown(Document("h2q demo", " ".join(data.notes), (), (*sections, explanation)), "")


def one_query_a_class(labels: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the first query of each class, at most n: nobody chose them.

    >>> one_query_a_class(np.array([2, 2, 0, 1, 0]), 2)
    array([2, 3])
    """
    _, first = np.unique(labels, return_index=True)
    return np.asarray(first[:n])


def _ordinal(number: int) -> str:
    """Return a number as a rank.

    >>> _ordinal(2), _ordinal(11), _ordinal(33)
    ('2nd', '11th', '33rd')
    """
    special = {1: "st", 2: "nd", 3: "rd"}
    ending = "th" if number % 100 in (11, 12, 13) else special.get(number % 10, "th")
    return f"{number}{ending}"


def _draw(data: DemoData, images: Sequence[Any], result: DemoResult) -> Any:
    from h2q.plots.neighbors import ImageRanking, draw_neighbors

    query, database = data.folds["query"], data.folds["database"]
    chosen = one_query_a_class(data.labels[query], _N_PICTURED)
    rankings, first_ten = [], []
    depth, step = 0, 1
    for name in PICTURED:
        items = database[result.neighbors[name]]
        is_right = data.labels[items] == data.labels[query][:, None]
        depth = items.shape[1]
        step = depth // _N_PICTURED
        shown = items[chosen, step - 1 :: step][:, :_N_PICTURED]
        rankings.append(
            ImageRanking(
                f"{name}: {100 * is_right.mean():.1f} % right over all {len(query):,} queries; here",
                [[images[int(item)] for item in row] for row in shown],
                data.labels[shown].tolist(),
            )
        )
        first_ten.append(f"{name} {100 * is_right[:, :K_RECALL].mean():.1f} %")
    return draw_neighbors(
        [images[int(query[each])] for each in chosen],
        data.labels[query[chosen]].tolist(),
        rankings,
        data.class_names,
        f"Every {_ordinal(step)} of the {depth:,} nearest images, as many as a class has, by {result.pictured_bits}-bit"
        f" codes. Right among the {K_RECALL} nearest: {', '.join(first_ten)}",
    )
