"""Tables and figures of codes at equal bytes, from benchmarks/results/codes.jsonl alone.

    python benchmarks/codes_tables.py           # write them into the pages
    python benchmarks/codes_tables.py --check   # tell which page differs from the measurements

A page holds a table between the lines ``<!-- codes: NAME -->`` and ``<!-- end of codes -->``; the functions of `TABLES`
make them. A test runs the check, so that no number of a table can differ from its measurement.
"""

import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "codes.jsonl"
PAGES = ("README.md", "docs/quality.md", "docs/integrations.md", "benchmarks/results/codes.md")
FIGURES = ROOT / "docs" / "results" / "figures"
BLOCK = re.compile(
    r"(?<=<!-- codes: )(?P<name>[a-z-]+)(?P<open> -->\n)(?P<body>.*?)(?=<!-- end of codes -->)", re.DOTALL
)

# Name in the file, name in the tables.
METHODS = {
    "refined": "**refined H²Q**",
    "h2q": "H²Q",
    "itq": "ITQ",
    "random": "random rotation",
    "sign": "sign",
    "FAISS RQ": "FAISS RQ",
    "FAISS OPQ + PQ": "FAISS OPQ + PQ",
    "FAISS PQ": "FAISS PQ",
    "FAISS PQ fast scan": "FAISS PQ fast scan",
    "FAISS RaBitQ": "FAISS RaBitQ",
    "FAISS RaBitQ, 2 bits": "FAISS RaBitQ, 2 bits",
    "FAISS RaBitQ, 3 bits": "FAISS RaBitQ, 3 bits",
    "FAISS RaBitQ, 4 bits": "FAISS RaBitQ, 4 bits",
    "rabitqlib": "rabitqlib",
    "turbovec": "turbovec",
    "sentence-transformers, signs scored again": "sentence-transformers, signs scored again",
}
OURS = ("refined", "h2q", "itq", "random", "sign")
# Columns: data, bytes, and what the page calls the data.
COLUMNS = [
    *[(data, size) for data in ("texts", "docstrings") for size in (16, 48)],
    *[(data, size) for data in ("images", "sample") for size in (48, 160)],
]
N_ITEMS = {"texts": 15_000, "docstrings": 8_000, "images": 15_000, "sample": 5_000}
OPEN, MISSING = "not measured", "–"

Rows = list[dict[str, Any]]


def measurements() -> Rows:
    """Return the rows of the file."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def pick(rows: Rows, **wanted: Any) -> Rows:
    """Return the rows with these values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def measured(rows: Rows) -> list[tuple[str, int]]:
    """Return the data and sizes for which refined codes were measured."""
    return [column for column in COLUMNS if pick(rows, data=column[0], bytes=column[1], method="refined")]


def best_form(rows: Rows) -> Rows:
    """Return the rows of the form whose recall is highest: one row a seed."""
    forms = {row["form"] for row in rows}
    return max(
        ([row for row in rows if row["form"] == form] for form in sorted(forms)),
        key=lambda part: statistics.mean(row["recall"] for row in part),
        default=[],
    )


def mean(rows: Rows, key: str = "recall") -> float | None:
    """Return the mean over seeds in percent, or None without a row that has the key."""
    values = [row[key] for row in rows if key in row]
    return 100 * statistics.mean(values) if values else None


def cell(value: float | None, digits: int = 1) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def table(header: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table whose first column is text."""
    names = list(header)
    lines = ["| " + " | ".join(names) + " |", "|---" + "|---:" * (len(names) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in body]) + "\n"


def sentence_transformers(rows: Rows) -> str:
    """Return recall@10 of text embeddings: sentence-transformers' own codes beside those of h2q at equal bytes."""
    columns = [(data, size) for data, size in measured(rows) if data in ("texts", "docstrings")]
    header = ["recall@10, %", *(f"{data}, {size} bytes" for data, size in columns)]
    names = ("sentence-transformers, signs scored again", "sign", "h2q", "refined")
    body = [
        [METHODS[name]]
        + [cell(mean(best_form(pick(rows, data=d, bytes=size, fitted="apart", method=name)))) for d, size in columns]
        for name in names
    ]
    return table(header, body)


def summary(rows: Rows) -> str:
    """Return recall@10 of all methods on all data, fitted on other rows; one line for RaBitQ of any number of bits.

    The sample has no other rows: there they are fitted on the items.
    """
    header = ["recall@10, %", *(f"{data}, {size} bytes" for data, size in measured(rows))]
    names = [name for name in METHODS if not re.match(r"FAISS RaBitQ, \d", name)]
    body = []
    for name in names:
        cells = []
        for data, size in measured(rows):
            part = pick(rows, data=data, bytes=size, fitted="same" if data == "sample" else "apart")
            if name == "FAISS RaBitQ":
                values = [mean(best_form(pick(part, method=method))) for method in METHODS if method.startswith(name)]
                cells.append(cell(max((value for value in values if value is not None), default=None)))
            else:
                cells.append(cell(mean(best_form(pick(part, method=name)))))
        if set(cells) != {MISSING}:
            label = "FAISS RaBitQ, best of 1 to 4 bits" if name == "FAISS RaBitQ" else METHODS[name]
            body.append([label, *cells])
    return table(header, body)


def all_rows(rows: Rows) -> str:
    """Return one table for each data set and size, with all that was measured."""
    parts = []
    for data, size in measured(rows):
        part, body = pick(rows, data=data, bytes=size), []
        for method in dict.fromkeys([*METHODS, *(row["method"] for row in part)]):
            same, apart = (best_form(pick(part, method=method, fitted=fitted)) for fitted in ("same", "apart"))
            both = same + apart
            if not both:
                continue
            form = ", ".join(dict.fromkeys(row["form"] for row in both if row["form"]))
            body.append([
                METHODS.get(method, method) + (f" ({form})" if form else ""),
                spread(apart), spread(same), cell(mean(apart, "hamming")),
                f"{statistics.mean(row['fit'] for row in both):.1f}",
                f"{1e6 * statistics.mean(row['encode'] for row in both) / N_ITEMS[data]:.0f}",
                f"{both[0]['model'] / 1e6:.2f}", f"{both[0]['code']:g}",
            ])  # fmt: skip
        header = ["", "recall@10, other rows", "on the items", "Hamming", "fit, s", "encode, µs", "model, MB", "bytes"]
        parts.append(f"### {data}, {size} bytes an item\n\n{table(header, body)}")
    return "\n" + "\n".join(parts) + "\n"


def spread(rows: Rows) -> str:
    """Return the mean in percent, with the standard deviation over seeds where there are several."""
    values = [100 * row["recall"] for row in rows]
    return cell(mean(rows)) + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def margins(rows: Rows) -> str:
    """Return by how many points refined codes are ahead of the peers that the bars name."""
    body = []
    for data, size in measured(rows):
        for fitted, words in (("apart", "other rows"), ("same", "the items")):
            part = pick(rows, data=data, bytes=size, fitted=fitted)
            if not part:
                continue
            ours, cells = mean(pick(part, method="refined")), []
            peers = [method for method in METHODS if method not in (*OURS, "FAISS RQ")]
            for names in (
                [method for method in METHODS if method.startswith("FAISS RaBitQ")],
                ["FAISS OPQ + PQ"],
                ["FAISS RQ"],
                peers,
            ):
                values = {name: mean(best_form(pick(part, method=name))) for name in names}
                known = {name: value for name, value in values.items() if value is not None}
                if ours is None or not known:
                    cells.append(OPEN)
                    continue
                name = max(known, key=lambda name: known[name])
                note = f" ({METHODS[name]})" if names is peers else ""
                cells.append(f"{ours - known[name]:+.1f}{note}")
            body.append([f"{data}, {size} bytes, fitted on {words}", cell(ours), *cells])
    header = ["", "refined", "over RaBitQ", "over OPQ + PQ", "over RQ", "over the best other library but RQ"]
    return table(header, body)


STEPS: list[tuple[str, str, str]] = [
    ("signs, Hamming distance", "sign", "hamming"),
    ("random rotation, Hamming distance", "random", "hamming"),
    ("H²Q's rotation, Hamming distance", "h2q", "hamming"),
    ("H²Q's rotation, float queries", "h2q", "recall"),
    ("flipped bits and least-squares decoder, float queries", "refined", "without_scalars"),
    ("and a scale of 4 bits", "refined", "with_scale"),
    ("and an offset of 4 bits", "refined", "recall"),
    ("and the 50 best scored by floats", "refined", "reranked"),
]


def step_values(rows: Rows, size: int) -> list[float | None]:
    part = pick(rows, data="texts", bytes=size, fitted="apart")
    return [mean(pick(part, method=method), key) for _, method, key in STEPS]


def steps(rows: Rows) -> str:
    """Return what each step brings on texts, fitted on other rows."""
    values = [step_values(rows, size) for size in (16, 48)]
    body = [[label, cell(a), cell(b)] for (label, _, _), a, b in zip(STEPS, *values, strict=True)]
    return table(["recall@10, %", "16 bytes", "48 bytes"], body)


CURVE = ("refined", "h2q", "sign", "turbovec", "FAISS RaBitQ")


def curve(rows: Rows) -> str:
    """Return recall on texts by bytes, fitted on other rows."""
    part = pick(rows, data="texts", fitted="apart")
    sizes = sorted({row["bytes"] for row in part})
    body = [[METHODS[m], *(cell(mean(best_form(pick(part, method=m, bytes=size)))) for size in sizes)] for m in CURVE]
    return table(["recall@10, %", *(f"{size} bytes" for size in sizes)], body)


TABLES: dict[str, Callable[[Rows], str]] = {
    "sentence-transformers": sentence_transformers,
    "summary": summary, "all": all_rows, "margins": margins, "steps": steps, "curve": curve,
}  # fmt: skip


def filled(text: str, rows: Rows) -> str:
    """Return a page with its tables made anew."""
    return BLOCK.sub(lambda match: match["name"] + match["open"] + TABLES[match["name"]](rows), text)


def figures(rows: Rows) -> None:
    """Draw the figures of docs/quality.md."""
    draw_steps(rows)
    draw_peers(rows)


def draw_steps(rows: Rows) -> None:
    """Draw recall after each step, a bar a step."""
    from matplotlib import pyplot

    from h2q.plots.style import PALETTE, finish

    figure, axes = pyplot.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained", sharey=True)
    for ax, size in zip(axes, (16, 48), strict=True):
        values = step_values(rows, size)
        colors = ["#e69f00", "#56b4e9", "#0072b2", "#0072b2", *[PALETTE[1]] * 3, "#000000"]
        places = range(len(STEPS) - 1, -1, -1)
        for place, value, color in zip(places, values, colors, strict=True):
            if value is not None:
                ax.barh(place, value, color=color)
                ax.text(value + 0.7, place, f"{value:.1f}", va="center", fontsize=8)
        ax.set_yticks(list(places), [label for label, _, _ in STEPS], fontsize=8)
        ax.set_xlim(0, 108)
        finish(ax, "recall@10, %", "", title=f"{size} bytes an item", grid="x")
    figure.savefig(FIGURES / "quality-steps.png", dpi=110)
    pyplot.close(figure)


def draw_peers(rows: Rows) -> None:
    """Draw every method at equal bytes: a full dot fitted on other rows, an empty one fitted on the items."""
    from matplotlib import pyplot

    from h2q.plots.style import DARK, PALETTE, finish

    shown = [("texts", 16), ("texts", 48), ("docstrings", 48)]
    figure, axes = pyplot.subplots(1, 3, figsize=(10.5, 4.4), layout="constrained", sharey=True)
    colors = {"refined": PALETTE[1], "h2q": "#0072b2", "itq": "#009e73", "random": "#56b4e9", "sign": "#e69f00"}
    for ax, (data, size) in zip(axes, shown, strict=True):
        for place, method in enumerate(reversed(METHODS)):
            for fitted, face in (("same", "white"), ("apart", None)):
                value = mean(best_form(pick(rows, data=data, bytes=size, fitted=fitted, method=method)))
                if value is not None:
                    color = colors.get(method, DARK)
                    ax.plot(value, place, "o", color=color, markerfacecolor=face or color, markersize=6)
        ax.set_yticks(range(len(METHODS)), [name.strip("*") for name in reversed(METHODS.values())], fontsize=8)
        finish(ax, "recall@10, %", "", title=f"{data}, {size} bytes an item")
    figure.savefig(FIGURES / "quality-peers.png", dpi=110)
    pyplot.close(figure)


def main(check: bool) -> None:
    """Write the pages, or tell which would change."""
    rows = measurements()
    for name in PAGES:
        path = ROOT / name
        text = path.read_text()
        new = filled(text, rows)
        if check and new != text:
            sys.exit(f"{name} differs from benchmarks/results/codes.jsonl: run python benchmarks/codes_tables.py")
        if not check:
            path.write_text(new)
    if not check:
        figures(rows)


if __name__ == "__main__":
    main("--check" in sys.argv)
