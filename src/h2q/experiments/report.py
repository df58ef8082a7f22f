"""The report of an experiment: tables, figures and what they say, as Markdown, LaTeX and one HTML page."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from h2q.experiments.figures import draw_figures
from h2q.experiments.results import Results, Setting, load_results
from h2q.experiments.statistics import compare, given_back
from h2q.experiments.tables import (
    TIES,
    comparison_table,
    data_lines,
    label,
    quantization_table,
    reference_score_table,
    reference_table,
    score_table,
    signed,
    time_table,
    weight_table,
)
from h2q.files import atomic_path
from h2q.report.document import Block, Bullets, Document, Figure, Section, Value
from h2q.report.document import Table as DocumentTable
from h2q.report.render_html import render_html
from h2q.report.render_latex import render_latex
from h2q.report.render_markdown import render_markdown

__all__ = ["build_report", "write_report"]

_FIGURES = "figures"


def write_report(folder: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> list[Path]:
    """Write the report of the cells that are done so far.

    Parameters
    ----------
    folder : path
        The experiment.
    output : path, optional
        Folder for report.md, report.tex, report.html and figures/; made if missing. Default: the experiment's.

    Returns
    -------
    list of Path
        The three reports.

    Raises
    ------
    FileNotFoundError
        If the folder holds no experiment.
    ValueError
        If no cell is done yet.
    """
    document = build_report(load_results(Path(folder)))
    target = Path(folder if output is None else output)
    figures = target / _FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    for section in document.sections:
        for block in section.blocks:
            if isinstance(block, Figure):
                _write(figures / f"{block.name}.png", block.png)
    rendered = {
        "report.md": render_markdown(document, _FIGURES),
        "report.tex": render_latex(document, _FIGURES),
        "report.html": render_html(document),
    }
    for name, text in rendered.items():
        _write(target / name, text.encode())
    return [target / name for name in rendered]


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def build_report(results: Results) -> Document:
    """Return the report of some results.

    Raises
    ------
    ValueError
        If there are none yet.
    """
    if not results.rows:
        raise ValueError("no cell is done yet, so there is nothing to report; see h2q experiment status")
    sections = [
        Section("How these numbers were made", (_protocol_table(results), *_gaps(results))),
        Section("Gains", (*_findings(results), *(comparison_table(results, metric) for metric in TIES))),
    ]
    figures = draw_figures(results)
    if figures:
        sections.append(Section("Figures", figures))
    sections.append(Section("Every setting", tuple(score_table(results, metric) for metric in TIES)))
    reference = [table for table in (reference_table(results), reference_score_table(results)) if table is not None]
    if reference:
        sections.append(Section("Beside the authors' numbers", (reference[0],)))
        sections += [Section("The authors' numbers in full", (table,), folded=True) for table in reference[1:]]
    sections.append(Section("Quantization", (quantization_table(results),)))
    weights = weight_table(results)
    if weights is not None:
        sections.append(Section("Weights of penalties", (weights,), folded=True))
    sections.append(Section("Time", (time_table(results),), folded=True))
    return Document(results.name, _subtitle(results), _facts(results), tuple(sections))


def _subtitle(results: Results) -> str:
    n_settings = len(results.settings)
    return (
        f"Mean average precision of {len(results.quantizers)} quantizers on the same embeddings: "
        f"{len({setting.loss for setting in results.settings})} losses, {n_settings} settings, "
        f"{len({row.seed for row in results.rows})} seeds; {len(results.rows)} of {results.n_cells} cells done."
    )


def _main_quantizer(results: Results) -> str | None:
    """Return the quantizer that the summary speaks of: H²Q with the L2 objective, or the first H²Q there is."""
    names = [name for name in results.quantizers if name.startswith("h2q-")]
    return "h2q-l2" if "h2q-l2" in names else names[0] if names else None


def _facts(results: Results) -> tuple[tuple[str, str], ...]:
    main, facts = _main_quantizer(results), []
    real, sign = results.by_cell("real", "map_embeddings"), results.by_cell("sign", "map_embeddings")
    if real:
        facts.append((f"{100 * np.mean(list(real.values())):.1f} %", "mean mAP of the real-valued embeddings"))
    if main is not None:
        values = results.by_cell(main, "map_embeddings")
        found = compare(values, sign)
        if found is not None:
            facts.append((signed(found.mean).text, f'points of {label(main)} over sign on average, ties "embeddings"'))
            facts.append((f"{found.n_better} of {found.n_cells}", f"cells in which {label(main)} is above sign"))
        back = given_back(values, sign, real)
        if back is not None:
            facts.append((f"{100 * back:.0f} %", f"of what sign loses is given back by {label(main)}"))
    return tuple(facts)


def _findings(results: Results) -> list[Block]:
    """Say in words what a reader would look for, the unwelcome included."""
    main, lines = _main_quantizer(results), []
    real = results.by_cell("real", "map_embeddings")
    if real:
        key, lowest = min(real.items(), key=lambda item: item[1])
        lines.append(f"The lowest real-valued mAP is {100 * lowest:.1f} % ({_name(key)}).")
    for metric, ties in TIES.items():
        if main is None:
            break
        values, sign = results.by_cell(main, metric), results.by_cell("sign", metric)
        below = [key for key in values if key in sign and values[key] <= sign[key]]
        if below:
            lines.append(f'Ties "{ties}": {label(main)} is not above sign in: {"; ".join(map(_name, below))}.')
        else:
            lines.append(f'Ties "{ties}": {label(main)} is above sign in every cell.')
        found = {
            name: compare(results.by_cell(name, metric), values)
            for name in results.quantizers
            if name not in ("real", "sign", main)
        }
        above = [
            f"{label(name)} by {signed(each.mean).text} ({each.n_better} of {each.n_cells} cells)"
            for name, each in found.items()
            if each is not None and each.mean > 0
        ]
        lines.append(
            f'Ties "{ties}": '
            + (f"above {label(main)} on average, in points: {', '.join(above)}." if above else "no quantizer is above "
               f"{label(main)} on average.")
        )  # fmt: skip
    return [Bullets(tuple(lines))] if lines else []


def _name(key: tuple[Setting, int]) -> str:
    setting, seed = key
    return f"{setting.loss}, {setting.n_bits} bits, seed {seed}"


def _protocol_table(results: Results) -> DocumentTable:
    plan, first = results.plan, results.rows[0].record
    ks = sorted({f"{row.record['options']['quantizer']['k']:,}" for row in results.rows})
    settings = first["options"]["network"]["settings"]
    rows = [
        ("data", "; ".join(data_lines(results))),
        ("stage one", f"{', '.join(plan['backbones'])}; preset {plan['preset']}; {_settings_line(settings)}"),
        ("folds", "train: networks, quantizers; validation: early stopping, weights of penalties; query: scores only"),
        ("seeds", f"{', '.join(map(str, plan['seeds']))}: each draws folds, initial weights, batches and rotations"),
        ("score", f"mAP@{'/'.join(ks)}, divisor {plan['divisor']}, queries without relevant items: {plan['empty']}"),
        ("ties", "float: broken by the embeddings (the authors' key); expected: mean over all orders, codes alone"),
        ("quantizers", f"center {str(plan['center']).lower()}; ITQ {plan['n_init']} starts to convergence; "
         f"H²Q schedule {plan['schedule']}"),
        ("versions", "; ".join(sorted({_versions_line(row.record["versions"]) for row in results.rows}))),
    ]  # fmt: skip
    values = tuple((Value(name), Value(text)) for name, text in rows)
    return DocumentTable("protocol", "The protocol of every number below.", "", ("what", "how"), values, 2)


def _settings_line(settings: dict[str, Any]) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {settings[name]}"
        for name in ("optimizer", "learning_rate", "weight_decay", "schedule", "batch_size", "epochs", "hidden")
    )


def _versions_line(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _gaps(results: Results) -> list[Block]:
    """Say what is missing, where something is."""
    missing = results.n_cells - len(results.rows) - len(results.failed)
    lines = [f"{missing} of {results.n_cells} cells are not done yet."] if missing else []
    lines += [
        f"Failed: {cell['loss']}, {cell['n_bits']} bits, seed {cell['seed']}, {label(cell['quantizer'])}: {why}"
        for cell, why in results.failed
    ]
    return [Bullets(tuple(lines))] if lines else []
