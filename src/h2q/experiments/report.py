"""The report of an experiment: tables, figures and findings, as Markdown, LaTeX and one HTML page."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from h2q.comparison import compare_cells, recovered_share
from h2q.experiments.cells import Setting
from h2q.experiments.figures import draw_figures
from h2q.experiments.paired_tables import paired_table, tanh_table
from h2q.experiments.plan import Plan
from h2q.experiments.results import Results, load_results
from h2q.experiments.tables import (
    TIES,
    comparison_table,
    cuts,
    data_lines,
    label,
    quantization_table,
    reference_score_table,
    reference_table,
    score_table,
    seeds_line,
    signed,
    time_table,
    weight_table,
)
from h2q.files import atomic_path
from h2q.report.document import Block, Bullets, Document, Figure, Section, Table, as_rows
from h2q.report.render_html import render_html
from h2q.report.render_latex import render_latex
from h2q.report.render_markdown import render_markdown
from h2q.similarity.presets import TrainingSettings

__all__ = ["build_report", "write_report"]

_FIGURES = "figures"


def write_report(folder: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> list[Path]:
    """Write the report of the finished cells.

    Parameters
    ----------
    folder : path
        Folder of the experiment.
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
    """Return the report of an experiment's results.

    Raises
    ------
    ValueError
        If no cell is done.
    """
    if not results.rows:
        raise ValueError("no cell is done yet: there is nothing to report; see h2q experiment status")
    sections = [
        Section("How these numbers were made", (_protocol_table(results), *_gaps(results))),
        Section("Gains", (*_findings(results), *(comparison_table(results, metric) for metric in TIES))),
    ]
    main = _main_quantizer(results)
    paired = [paired_table(results, main, metric) for metric in TIES] if main is not None else []
    tables = tuple(table for table in (*paired, tanh_table(results)) if table is not None)
    if tables:
        sections.append(Section("Query by query", tables))
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
    return Document(results.plan.name, _subtitle(results), _facts(results), tuple(sections))


def _subtitle(results: Results) -> str:
    n_settings = len(results.settings)
    return (
        f"Mean average precision of {len(results.quantizers)} quantizers on the same embeddings: "
        f"{len({setting.loss for setting in results.settings})} losses, {n_settings} settings, "
        f"{len({row.seed for row in results.rows})} seeds; {len(results.rows)} of {len(results.cells)} cells done."
    )


def _main_quantizer(results: Results) -> str | None:
    """Return the quantizer of the summary: H²Q with the L2 objective, or else the first H²Q of the plan."""
    names = [name for name in results.quantizers if name.startswith("h2q-")]
    return "h2q-l2" if "h2q-l2" in names else names[0] if names else None


def _facts(results: Results) -> tuple[tuple[str, str], ...]:
    main, facts = _main_quantizer(results), []
    real, sign = results.by_cell("real", "map_embeddings"), results.by_cell("sign", "map_embeddings")
    if real:
        facts.append((f"{100 * np.mean(list(real.values())):.1f} %", "mean mAP of the real-valued embeddings"))
    if main is not None:
        values = results.by_cell(main, "map_embeddings")
        gain = compare_cells(values, sign)
        if gain is not None:
            facts.append((signed(gain.mean).text, f'points of {label(main)} over sign on average, ties "embeddings"'))
            facts.append((f"{gain.n_better} of {gain.n_cells}", f"cells in which {label(main)} is above sign"))
        recovered = recovered_share(values, sign, real)
        if recovered is not None:
            facts.append((f"{100 * recovered:.0f} %", f"of what sign loses is given back by {label(main)}"))
    return tuple(facts)


def _findings(results: Results) -> list[Block]:
    """Say in words what a reader looks for first, results against the method included."""
    main, lines = _main_quantizer(results), []
    real = results.by_cell("real", "map_embeddings")
    if real:
        key, lowest = min(real.items(), key=lambda item: item[1])
        lines.append(f"The lowest real-valued mAP is {100 * lowest:.1f} % ({_name(key)}).")
    if main is not None:
        for metric in TIES:
            lines += [_against_sign(results, main, metric), _against_others(results, main, metric)]
    return [Bullets(tuple(lines))] if lines else []


def _against_sign(results: Results, main: str, metric: str) -> str:
    values, sign = results.by_cell(main, metric), results.by_cell("sign", metric)
    not_above = [key for key in values if key in sign and values[key] <= sign[key]]
    if not_above:
        return f'Ties "{TIES[metric]}": {label(main)} is not above sign in: {"; ".join(map(_name, not_above))}.'
    return f'Ties "{TIES[metric]}": {label(main)} is above sign in every cell.'


def _against_others(results: Results, main: str, metric: str) -> str:
    values = results.by_cell(main, metric)
    above = []
    for name in results.quantizers:
        comparison = compare_cells(results.by_cell(name, metric), values)
        if name not in ("real", "sign", main) and comparison is not None and comparison.mean > 0:
            cells = f"{comparison.n_better} of {comparison.n_cells} cells"
            above.append(f"{label(name)} by {signed(comparison.mean).text} ({cells})")
    if above:
        return f'Ties "{TIES[metric]}": above {label(main)} on average, in points: {", ".join(above)}.'
    return f'Ties "{TIES[metric]}": no quantizer is above {label(main)} on average.'


def _name(key: tuple[Setting, int]) -> str:
    setting, seed = key
    return f"{setting.loss}, {setting.n_bits} bits, seed {seed}"


def _protocol_table(results: Results) -> Table:
    plan = results.plan
    settings = results.rows[0].cell.network.settings
    rows = [
        ("data", "; ".join(data_lines(results))),
        ("stage one", f"{', '.join(plan.backbones)}; preset {plan.preset}; {_settings_line(settings)}"),
        ("folds", "train: networks, quantizers; validation: early stopping, penalties; query: scores only"),
        ("seeds", f"{seeds_line(plan)}: each draws folds, initial weights, batches and rotations"),
        ("score", f"mAP@{cuts(results)}, divisor {plan.divisor}, queries without relevant items: {plan.empty}"),
        (
            "ties",
            "embeddings: broken by the embeddings (the authors' key); expected: mean over all orders, codes alone",
        ),
        ("quantizers", _options_line(plan)),
        ("versions", "; ".join(sorted({_versions_line(row.record.versions) for row in results.rows}))),
    ]
    caption = "The protocol of every number below."
    return Table(name="protocol", caption=caption, columns=("part", "protocol"), rows=as_rows(rows), text_columns=2)


def _settings_line(settings: TrainingSettings) -> str:
    names = ("optimizer", "learning_rate", "weight_decay", "schedule", "batch_size", "epochs", "hidden")
    return ", ".join(f"{name.replace('_', ' ')} {getattr(settings, name)}" for name in names)


def _options_line(plan: Plan) -> str:
    """Return the options of the quantizers: the shared one, and those of each."""
    parts = [f"center {str(plan.center).lower()}"]
    for name, options in plan.quantizer_options.items():
        if options:
            parts.append(f"{name} " + ", ".join(f"{option} {value}" for option, value in options.items()))
    return "; ".join(parts)


def _versions_line(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _gaps(results: Results) -> list[Block]:
    """Say what is missing, if anything is."""
    missing = len(results.cells) - len(results.rows) - len(results.failed)
    lines = [f"{missing} of {len(results.cells)} cells are not done yet."] if missing else []
    for record in results.failed:
        network = record.cell.network
        where = f"{network.loss}, {network.n_bits} bits, seed {network.seed}, {label(record.cell.quantizer)}"
        lines.append(f"Failed: {where}: {record.error}")
    return [Bullets(tuple(lines))] if lines else []
