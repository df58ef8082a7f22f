"""The tables of a report, each made from the results alone."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from h2q.experiments.results import Results, Row, Setting, reference_rows
from h2q.experiments.statistics import Comparison, compare, count_wins, given_back, mean_and_deviation
from h2q.report.document import Table, Value

__all__ = [
    "comparison_table",
    "label",
    "protocol",
    "quantization_table",
    "reference_table",
    "score_table",
    "time_table",
    "weight_table",
]

LABELS = {
    "real": "real-valued",
    "sign": "sign",
    "penalty": "penalty",
    "hswd": "HSWD",
    "random": "random rotation",
    "itq": "ITQ",
    "-": "own",
}
TIES = {"map_embeddings": "embeddings", "map_expected": "expected"}
_NOTHING = Value("–")


def label(quantizer: str) -> str:
    """Return what people call a quantizer.

    >>> label("h2q-l2"), label("hswd")
    ('H²Q l2', 'HSWD')
    """
    return f"H²Q {quantizer.removeprefix('h2q-')}" if quantizer.startswith("h2q-") else LABELS[quantizer]


def protocol(results: Results, metric: str | None = None) -> str:
    """Return what the numbers of a table were found with, in a line."""
    options = {row.record["options"]["quantizer"]["k"] for row in results.rows}
    plan = results.plan
    parts = []
    if metric is not None:
        k = "/".join(f"{k:,}" for k in sorted(options))
        parts.append(
            f'mAP@{k} in percent, ties "{TIES[metric]}", divisor "{plan["divisor"]}", queries without relevant items '
            f'"{plan["empty"]}"'
        )
    parts += data_lines(results)
    seeds = ", ".join(map(str, plan["seeds"]))
    parts.append(f"seed{'s' if len(plan['seeds']) > 1 else ''} {seeds}")
    parts.append("h2q " + ", ".join(sorted({row.record["versions"].get("h2q", "?") for row in results.rows})))
    return "; ".join(parts) + "."


def data_lines(results: Results) -> list[str]:
    """Return a phrase for each data set: its folds and the fingerprint of its images."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in results.rows:
        found.setdefault(row.setting.dataset, row.record["data"])
    lines = []
    for name, data in found.items():
        folds = ", ".join(f"{fold} {size:,}" for fold, size in data["folds"].items())
        lines.append(f"{name} ({folds}; images {data['fingerprint']})")
    return lines


def comparison_table(results: Results, metric: str) -> Table:
    """Quantizers against plain sign and against ITQ, over all cells."""
    scores = {name: results.by_cell(name, metric) for name in results.quantizers}
    codes = {name: values for name, values in scores.items() if name != "real"}
    wins = count_wins(_mean_over_seeds(codes))
    sign, itq, real = scores.get("sign", {}), scores.get("itq", {}), scores.get("real", {})
    columns = (
        "quantizer", "mAP", "− sign", "min to max", "improved", "p", "given back",
        "− ITQ", "min to max", "improved", "p", "wins",
    )  # fmt: skip
    rows = []
    for name, values in scores.items():
        if not values:
            continue
        back = None if name in ("real", "sign") else given_back(values, sign, real)
        rows.append(
            (
                Value(label(name)),
                Value(f"{100 * np.mean(list(values.values())):.2f}"),
                *_comparison(None if name == "sign" else compare(values, sign)),
                _NOTHING if back is None else Value(f"{100 * back:.0f} %".replace("-", "−")),
                *_comparison(None if name == "itq" else compare(values, itq)),
                Value(f"{wins[name]:g}") if name in wins else _NOTHING,
            )
        )
    n_cells = max(len(values) for values in scores.values())
    caption = (
        f'Every quantizer against plain sign and against converged ITQ, ties "{TIES[metric]}": points of mAP over '
        f"{n_cells} cells. Improved: share of cells. p: two-sided sign test over cells. Given back: share of what sign "
        "loses against the real-valued embeddings. Wins: settings in which it is the best code, mean over seeds."
    )
    return Table(f"comparison-{TIES[metric]}", caption, protocol(results, metric), columns, tuple(rows))


def _comparison(found: Comparison | None) -> tuple[Value, ...]:
    if found is None:
        return (_NOTHING,) * 4
    return (
        signed(found.mean),
        Value(f"{signed(found.smallest).text} to {signed(found.largest).text}"),
        Value(f"{100 * found.share_better:.0f} %"),
        Value(_p_value(found.p_value)),
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
    note = protocol(results, metric)
    n_text = len(_setting_heads(results))
    return Table(f"scores-{TIES[metric]}", caption, note, columns, tuple(rows), n_text, _rules(results.settings))


def reference_table(results: Results) -> Table | None:
    """Our gains beside the authors', who trained other backbones: gains compare, the numbers themselves do not."""
    datasets = {setting.dataset for setting in results.settings}
    reference = [row for row in reference_rows(sorted(datasets)) if row.quantizer != "-"]
    backbones = sorted({row.setting.backbone for row in reference})
    ours = sorted({setting.backbone for setting in results.settings})
    losses = [loss for loss in results.plan["losses"] if any(row.setting.loss == loss for row in reference)]
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
    return Table("reference", caption, note, (*columns, *heads), tuple(rows), len(columns), tuple(rules))


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
    """The authors' mAP in every setting that the plan has, too, backbones apart."""
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
    rules = _rules(tuple(by_setting))
    return Table("reference-scores", "The authors' numbers in these settings.", note, columns, tuple(rows), 3, rules)


def quantization_table(results: Results) -> Table:
    """Quantization errors and distinct codes by quantizer and code length."""
    lengths = sorted({setting.n_bits for setting in results.settings})
    columns = ("quantizer", *(f"{what} {n}" for what in ("L2", "L1", "codes") for n in lengths))
    rows = []
    for name in results.quantizers:
        mine = [row for row in results.rows if row.quantizer == name and name != "real"]
        if mine:
            values = [
                _cell_mean(mine, n_bits, key, layout)
                for key, layout in (
                    ("quantization_error_l2", "{:.3f}"),
                    ("quantization_error_l1", "{:.3f}"),
                    ("distinct_codes", "{:,.0f}"),
                )
                for n_bits in lengths
            ]
            rows.append((Value(label(name)), *values))
    caption = (
        "Quantization error (mean (z − sgn z)² and mean |z − sgn z| of database rows scaled to norm √k) and distinct "
        "codes in the database, by bits: mean over losses and seeds."
    )
    return Table("quantization", caption, protocol(results), columns, tuple(rows))


def _cell_mean(rows: Sequence[Row], n_bits: int, key: str, layout: str) -> Value:
    values = [row.scores[key] for row in rows if row.setting.n_bits == n_bits]
    return Value(layout.format(np.mean(values))) if values else _NOTHING


def weight_table(results: Results) -> Table | None:
    """Which weight of a penalty was best on the validation fold, and what the others reached there."""
    rows = []
    chosen = [row for row in results.rows if "tried" in row.record["network"]]
    if not chosen:
        return None
    for row in sorted(chosen, key=lambda each: (each.quantizer, each.setting, each.seed)):
        network = row.record["network"]
        tried = ", ".join(f"{weight:g}: {100 * found:.2f}" for weight, found in network["tried"])
        rows.append(
            (
                *_setting_values(results, row.setting),
                Value(str(row.seed)),
                Value(label(row.quantizer)),
                Value(row.record["options"]["network"]["penalty"]),
                Value(f"{network['weight']:g}"),
                Value(tried),
            )
        )
    columns = (*_setting_heads(results), "seed", "quantizer", "penalty", "best weight", "weight: validation mAP")
    caption = "The weights of penalties: chosen on the validation fold, by the mAP of sign codes within it."
    note = 'Validation mAP in percent: each held-out item searches the others, whole ranking, ties "embeddings".'
    return Table("weights", caption, note, columns, tuple(rows), len(columns))


def time_table(results: Results) -> Table:
    """What the parts took."""
    networks = {row.record["network"]["key"]: row for row in results.rows}
    rows = []
    for kind, chosen in _network_kinds(networks.values()):
        train = [row.record["network"]["seconds"]["train"] for row in chosen]
        embed = [row.record["network"]["seconds"]["embed"] for row in chosen]
        rows += [
            _times(f"train {kind}", train),
            _times(f"embed with {kind}", embed),
        ]
    for name in results.quantizers:
        mine = [row.record["seconds"] for row in results.rows if row.quantizer == name]
        for part in ("fit", "score"):
            values = [seconds[part] for seconds in mine if part in seconds]
            if values:
                rows.append(_times(f"{part} {label(name)}", values))
    rows.append(_times("all, processor time", [row.record["seconds"]["processor"] for row in results.rows]))
    caption = "Seconds of each part: wall-clock on a shared machine, except for the processor time of the last line."
    columns = ("part", "times", "mean", "max", "total")
    return Table("seconds", caption, protocol(results), columns, tuple(rows))


def _network_kinds(rows: Any) -> list[tuple[str, list[Row]]]:
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        own = row.quantizer if "tried" in row.record["network"] else ""
        kinds[f"networks with {label(own)} (all weights)" if own else "networks"].append(row)
    return sorted(kinds.items())


def _times(what: str, values: Sequence[float]) -> tuple[Value, ...]:
    numbers = (np.mean(values), np.max(values), np.sum(values))
    return (Value(what), Value(str(len(values))), *(Value(f"{number:,.2f}") for number in numbers))


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
    found: dict[Setting, list[float]] = defaultdict(list)
    for (setting, _), value in values.items():
        found[setting].append(value)
    return found


def _mean_over_seeds(scores: Mapping[str, Mapping[tuple[Setting, int], float]]) -> dict[str, dict[Setting, float]]:
    return {
        name: {setting: float(np.mean(each)) for setting, each in _by_setting(values).items()}
        for name, values in scores.items()
        if values
    }
