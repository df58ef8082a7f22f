"""The tables of a report, each computed from the results alone."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from h2q.comparison import CellComparison, compare_cells, count_wins, mean_and_deviation, recovered_share
from h2q.experiments.cells import Setting
from h2q.experiments.plan import Plan, resolve_quantizer
from h2q.experiments.records import CellScores, DataVersion
from h2q.experiments.results import Results, Row, reference_rows
from h2q.quantization import quantizer_info
from h2q.report.document import Table, Value

__all__ = [
    "comparison_table",
    "comparison_values",
    "label",
    "protocol",
    "quantization_table",
    "reference_table",
    "score_table",
    "seeds_line",
    "signed",
    "time_table",
    "weight_table",
]

_LABELS = {"real": "real-valued", "penalty": "penalty", "hswd": "HSWD", "-": "own"}
TIES = {"map_embeddings": "embeddings", "map_expected": "expected"}
_NOTHING = Value("–")


def label(quantizer: str) -> str:
    """Return the name of a plan's quantizer in tables and figures.

    >>> label("h2q-l2"), label("hswd")
    ('H²Q l2', 'HSWD')
    """
    if quantizer in _LABELS:
        return _LABELS[quantizer]
    name, implied = resolve_quantizer(quantizer)
    return " ".join([quantizer_info(name).label, *implied.values()])


def protocol(results: Results, metric: str | None = None) -> str:
    """Return the protocol of a table's numbers, in a line."""
    plan = results.plan
    parts = []
    if metric is not None:
        parts.append(
            f'mAP@{cuts(results)} in percent, ties "{TIES[metric]}", divisor "{plan.divisor}", queries without '
            f'relevant items "{plan.empty}"'
        )
    parts += data_lines(results)
    parts.append(seeds_line(plan))
    parts.append("h2q " + ", ".join(sorted({row.record.versions.get("h2q", "?") for row in results.rows})))
    return "; ".join(parts) + "."


def seeds_line(plan: Plan) -> str:
    """Return the seeds, by loss where they differ."""
    losses: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for loss in plan.losses:
        losses[plan.seeds_for(loss)].append(loss)
    lines = [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" for seeds in losses]
    if len(lines) == 1:
        return lines[0]
    return "; ".join(f"{line} ({', '.join(names)})" for line, names in zip(lines, losses.values(), strict=True))


def cuts(results: Results) -> str:
    """Return the k of mAP@k, or all of them where data sets differ."""
    return "/".join(f"{k:,}" for k in sorted({row.cell.k for row in results.rows}))


def data_lines(results: Results) -> list[str]:
    """Return a phrase for each data set: its folds and the fingerprint of its images."""
    versions: dict[str, DataVersion] = {}
    for row in results.rows:
        versions.setdefault(row.setting.dataset, row.record.data)
    lines = []
    for name, data in versions.items():
        folds = ", ".join(f"{fold} {size:,}" for fold, size in data.folds.items())
        lines.append(f"{name} ({folds}; images {data.fingerprint})")
    return lines


def comparison_table(results: Results, metric: str) -> Table:
    """Quantizers against plain sign and against ITQ, over all cells."""
    scores = {name: results.by_cell(name, metric) for name in results.quantizers}
    codes = {name: values for name, values in scores.items() if name != "real"}
    wins = count_wins(_mean_over_seeds(codes))
    sign, itq, real = scores.get("sign", {}), scores.get("itq", {}), scores.get("real", {})
    columns = (
        "quantizer", "cells", "mAP", "− sign", "min to max", "improved", "p", "given back",
        "− ITQ", "min to max", "improved", "p", "wins",
    )  # fmt: skip
    rows = []
    for name, values in scores.items():
        if not values:
            continue
        back = None if name in ("real", "sign") else recovered_share(values, sign, real)
        rows.append(
            (
                Value(label(name)),
                Value(str(len(values))),
                Value(f"{100 * np.mean(list(values.values())):.2f}"),
                *comparison_values(None if name == "sign" else compare_cells(values, sign)),
                _NOTHING if back is None else Value(f"{round(100 * back)} %".replace("-", "−")),
                *comparison_values(None if name == "itq" else compare_cells(values, itq)),
                Value(f"{wins[name]:g}") if name in wins else _NOTHING,
            )
        )
    caption = (
        f'Every quantizer against plain sign and against converged ITQ, ties "{TIES[metric]}": points of mAP, each '
        "difference over the cells that both have. Improved: share of cells. p: two-sided sign test over cells. Given "
        "back: share of what sign loses against the real-valued embeddings. Wins: settings, of those that all "
        "codes have, in which it is the best, mean over seeds."
    )
    return Table(
        name=f"comparison-{TIES[metric]}", caption=caption, note=protocol(results, metric), columns=columns,
        rows=tuple(rows),
    )  # fmt: skip


def comparison_values(comparison: CellComparison | None) -> tuple[Value, ...]:
    """Return four cells: mean difference, smallest to largest, share improved, p."""
    if comparison is None:
        return (_NOTHING,) * 4
    return (
        signed(comparison.mean),
        Value(f"{signed(comparison.smallest).text} to {signed(comparison.largest).text}"),
        Value(f"{100 * comparison.share_better:.0f} %"),
        Value(_p_value(comparison.p_value)),
    )


def signed(difference: float) -> Value:
    """Return a difference in points, marked as a gain or a loss where it is not 0.00."""
    points = f"{100 * difference:+.2f}".replace("-", "−")
    mark = "" if points[1:] == "0.00" else "up" if difference > 0 else "down"
    return Value("0.00" if not mark else points, mark)


def _p_value(p: float) -> str:
    if p >= 0.001:
        return f"{p:.3f}"
    exponent = int(np.floor(np.log10(p)))
    return f"{p / 10.0**exponent:.0f}e{exponent}".replace("-", "−")


def score_table(results: Results, metric: str) -> Table:
    """Every setting: mean and deviation over the seeds, the best code in bold."""
    columns = (*_setting_heads(results), *(label(name) for name in results.quantizers))
    scores = {name: _by_setting(results.by_cell(name, metric)) for name in results.quantizers}
    rows = []
    for setting in results.settings:
        means = {name: mean_and_deviation(scores[name][setting]) for name in scores if setting in scores[name]}
        best = max((means[name][0] for name in means if name != "real"), default=None)
        values = []
        for name in results.quantizers:
            if name not in means:
                values.append(_NOTHING)
                continue
            mean, deviation = means[name]
            text = f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")
            values.append(Value(text, "best" if name != "real" and mean == best else ""))
        rows.append((*_setting_values(results, setting), *values))
    caption = f'Mean average precision of every setting, ties "{TIES[metric]}": mean ± standard deviation over seeds.'
    return Table(
        name=f"scores-{TIES[metric]}", caption=caption, note=protocol(results, metric), columns=columns,
        rows=tuple(rows), text_columns=len(_setting_heads(results)), rules=_rules(results.settings),
    )  # fmt: skip


def reference_table(results: Results) -> Table | None:
    """Our gains beside the authors', who trained other backbones: gains compare, the numbers themselves do not."""
    datasets = {setting.dataset for setting in results.settings}
    reference = [row for row in reference_rows(sorted(datasets)) if row.quantizer != "-"]
    backbones = sorted({row.setting.backbone for row in reference})
    ours = sorted({setting.backbone for setting in results.settings})
    losses = [loss for loss in results.plan.losses if any(row.setting.loss == loss for row in reference)]
    if not losses or not results.by_cell("sign", "map_embeddings"):
        return None
    theirs = {(row.setting, row.quantizer): row.map_percent / 100 for row in reference}
    mean = _mean_over_seeds({name: results.by_cell(name, "map_embeddings") for name in results.quantizers})
    here = {(setting, name): value for name, values in mean.items() for setting, value in values.items()}
    sources: list[tuple[str, str, Mapping[tuple[Setting, str], float]]] = [
        *((f"{backbone} (here)", backbone, here) for backbone in ours),
        *((f"{backbone} (authors)", backbone, theirs) for backbone in backbones),
    ]
    names = [name for name in results.quantizers if name in {row.quantizer for row in reference}]
    rows: list[tuple[Value, ...]] = []
    rules: list[int] = []
    for dataset in sorted(datasets):
        for loss in losses:
            rules.append(len(rows))
            for name in names:
                values = [_mean_of(source, dataset, backbone, loss, name) for _, backbone, source in sources]
                if any(value is not None for value in values):
                    baseline = [_mean_of(source, dataset, backbone, loss, "sign") for _, backbone, source in sources]
                    head = (*([Value(dataset)] if len(datasets) > 1 else []), Value(loss), Value(label(name)))
                    rows.append((*head, *_beside(name, values, baseline)))
    columns = (*(["data set"] if len(datasets) > 1 else []), "loss", "quantizer")
    heads = [head for source, _, _ in sources for head in (source, "− sign")]
    note = (
        "Here: " + protocol(results, "map_embeddings") + " Authors: mAP in percent, mean over 4 seeds, whole networks "
        "fine-tuned, their re-run of 2025 in which ITQ is computed correctly; ties by their key, which is "
        'ties="embeddings". Columns of different backbones are different experiments.'
    )
    caption = "Beside the authors' numbers: mean over code lengths, and the difference from sign, by loss."
    return Table(
        name="reference", caption=caption, note=note, columns=(*columns, *heads), rows=tuple(rows),
        text_columns=len(columns), rules=tuple(rules),
    )  # fmt: skip


def _mean_of(
    source: Mapping[tuple[Setting, str], float], dataset: str, backbone: str, loss: str, quantizer: str
) -> float | None:
    values = [
        value
        for (setting, name), value in source.items()
        if (setting.dataset, setting.backbone, setting.loss, name) == (dataset, backbone, loss, quantizer)
    ]
    return float(np.mean(values)) if values else None


def _beside(name: str, values: Sequence[float | None], baseline: Sequence[float | None]) -> list[Value]:
    cells = []
    for value, sign in zip(values, baseline, strict=True):
        cells.append(_NOTHING if value is None else Value(f"{100 * value:.1f}"))
        cells.append(_NOTHING if value is None or sign is None or name == "sign" else signed(value - sign))
    return cells


def reference_score_table(results: Results) -> Table | None:
    """The authors' mAP in every setting of the plan, backbones apart."""
    settings = {(each.dataset, each.loss, each.n_bits) for each in results.settings}
    datasets = sorted({setting.dataset for setting in results.settings})
    reference = [
        row
        for row in reference_rows(datasets)
        if (row.setting.dataset, row.setting.loss, row.setting.n_bits) in settings
    ]
    if not reference:
        return None
    names = list(dict.fromkeys(row.quantizer for row in reference))
    by_setting: dict[Setting, dict[str, Value]] = defaultdict(dict)
    for row in reference:
        by_setting[row.setting][row.quantizer] = Value(f"{row.map_percent:.1f} ± {row.map_std:.1f}")
    rows = [
        (
            Value(setting.dataset), Value(setting.backbone), Value(setting.loss), Value(str(setting.n_bits)),
            *(values.get(name, _NOTHING) for name in names),
        )
        for setting, values in by_setting.items()
    ]  # fmt: skip
    note = (
        "mAP in percent, mean ± standard deviation over 4 seeds; ties by the authors' key. Not the backbone used here."
    )
    columns = ("data set", "backbone", "loss", "bits", *(label(name) for name in names))
    return Table(
        name="reference-scores", caption="The authors' numbers in these settings.", note=note, columns=columns,
        rows=tuple(rows), text_columns=3, rules=_rules(tuple(by_setting)),
    )  # fmt: skip


def quantization_table(results: Results) -> Table:
    """Quantization errors and distinct codes by quantizer and code length."""
    lengths = sorted({setting.n_bits for setting in results.settings})
    columns = ("quantizer", *(f"{name} {n}" for name in ("L2", "L1", "codes") for n in lengths))
    parts: tuple[tuple[Callable[[CellScores], float | None], str], ...] = (
        (lambda scores: scores.quantization_error_l2, "{:.3f}"),
        (lambda scores: scores.quantization_error_l1, "{:.3f}"),
        (lambda scores: scores.distinct_codes, "{:,.0f}"),
    )
    rows = []
    for name in results.quantizers:
        of_quantizer = [row for row in results.rows if row.quantizer == name and name != "real"]
        if of_quantizer:
            values = [_cell_mean(of_quantizer, n_bits, part, layout) for part, layout in parts for n_bits in lengths]
            rows.append((Value(label(name)), *values))
    caption = (
        "Quantization error (mean (z − sgn z)² and mean |z − sgn z| of database rows scaled to norm √k) and distinct "
        "codes in the database, by bits: mean over losses and seeds."
    )
    return Table(name="quantization", caption=caption, note=protocol(results), columns=columns, rows=tuple(rows))


def _cell_mean(rows: Sequence[Row], n_bits: int, part: Callable[[CellScores], float | None], layout: str) -> Value:
    scores = [part(row.scores) for row in rows if row.setting.n_bits == n_bits]
    values = [score for score in scores if score is not None]
    return Value(layout.format(np.mean(values))) if values else _NOTHING


def weight_table(results: Results) -> Table | None:
    """The weight of each penalty that was best on the validation fold, and the validation mAP of every weight."""
    rows = []
    for row in sorted(results.rows, key=lambda each: (each.quantizer, each.setting, each.seed)):
        network, penalty = row.network, row.cell.network.penalty
        if penalty is None:
            continue
        tried = ", ".join(
            f"{trial.weight:g}{' tanh' if trial.tanh else ''}: {100 * trial.validation_map:.2f}"
            for trial in network.tried
        )
        rows.append(
            (
                *_setting_values(results, row.setting), Value(str(row.seed)), Value(label(row.quantizer)),
                Value(penalty), Value(f"{network.weight:g}"), Value("yes" if network.tanh else "no"), Value(tried),
            )
        )  # fmt: skip
    if not rows:
        return None
    heads = ("seed", "quantizer", "penalty", "best weight", "tanh", "weight: validation mAP")
    columns = (*_setting_heads(results), *heads)
    return Table(
        name="weights", columns=columns, rows=tuple(rows), text_columns=len(columns),
        caption="The weights of penalties: chosen on the validation fold, by the mAP of sign codes within it.",
        note='Validation mAP in percent: each held-out item searches the others, whole ranking, ties "embeddings".',
    )  # fmt: skip


def time_table(results: Results) -> Table:
    """The time of each part."""
    networks = {row.network.key: row for row in results.rows}
    rows = []
    for kind, chosen in _network_kinds(networks.values()):
        rows += [
            _times(f"train {kind}", [row.network.train_seconds for row in chosen]),
            _times(f"embed with {kind}", [row.network.embed_seconds for row in chosen]),
        ]
    for name in results.quantizers:
        seconds = [row.seconds for row in results.rows if row.quantizer == name]
        fits = [each.fit for each in seconds if each.fit is not None]
        for part, values in (("fit", fits), ("score", [each.score for each in seconds])):
            if values:
                rows.append(_times(f"{part} {label(name)}", values))
    rows.append(_times("all, processor time", [row.seconds.processor for row in results.rows]))
    caption = "Seconds of each part: wall-clock on a shared machine, except for the processor time of the last line."
    columns = ("part", "times", "mean", "max", "total")
    return Table(name="seconds", caption=caption, note=protocol(results), columns=columns, rows=tuple(rows))


def _network_kinds(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        has_penalty = row.cell.network.penalty is not None
        kinds[f"networks with {label(row.quantizer)} (all weights)" if has_penalty else "networks"].append(row)
    return sorted(kinds.items())


def _times(part: str, values: Sequence[float]) -> tuple[Value, ...]:
    numbers = (np.mean(values), np.max(values), np.sum(values))
    return (Value(part), Value(str(len(values))), *(Value(f"{number:,.2f}") for number in numbers))


def _setting_parts(results: Results) -> list[tuple[str, Callable[[Setting], str]]]:
    """Columns that tell settings apart; data set and backbone only where there are several."""
    parts: list[tuple[str, Callable[[Setting], str]]] = []
    if len({setting.dataset for setting in results.settings}) > 1:
        parts.append(("data set", lambda setting: setting.dataset))
    if len({setting.backbone for setting in results.settings}) > 1:
        parts.append(("backbone", lambda setting: setting.backbone))
    return [*parts, ("loss", lambda setting: setting.loss), ("bits", lambda setting: str(setting.n_bits))]


def _setting_heads(results: Results) -> list[str]:
    return [head for head, _ in _setting_parts(results)]


def _setting_values(results: Results, setting: Setting) -> list[Value]:
    return [Value(part(setting)) for _, part in _setting_parts(results)]


def _rules(settings: Sequence[Setting]) -> tuple[int, ...]:
    """Rows at which another loss (or data set, or backbone) begins."""
    kinds = [(setting.dataset, setting.backbone, setting.loss) for setting in settings]
    return tuple(number for number in range(1, len(kinds)) if kinds[number] != kinds[number - 1])


def _by_setting(values: Mapping[tuple[Setting, int], float]) -> dict[Setting, list[float]]:
    by_setting: dict[Setting, list[float]] = defaultdict(list)
    for (setting, _), value in values.items():
        by_setting[setting].append(value)
    return by_setting


def _mean_over_seeds(scores: Mapping[str, Mapping[tuple[Setting, int], float]]) -> dict[str, dict[Setting, float]]:
    return {
        name: {setting: float(np.mean(each)) for setting, each in _by_setting(values).items()}
        for name, values in scores.items()
        if values
    }
