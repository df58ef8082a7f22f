"""The figures of a report."""

import importlib.util
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from h2q.experiments.document import Figure
from h2q.experiments.results import Results, Setting
from h2q.experiments.statistics import mean_and_deviation
from h2q.experiments.tables import TIES, label, protocol

__all__ = ["draw_figures"]

_COLORS = {
    "real": "#8a929b", "sign": "#1c2126", "penalty": "#c77700", "hswd": "#a23b72", "random": "#b9a36b",
    "itq": "#1f5fa8", "h2q-l2": "#1b7a3d", "h2q-l1": "#52a36d", "h2q-min_entry": "#7fc29b",
    "h2q-bit_variance": "#a9cf46",
}  # fmt: skip
_OTHER_COLOR = "#5d6772"
_IN_CURVES = ("real", "sign", "penalty", "hswd", "itq", "h2q-l2")  # ten lines on each other show nothing
_STYLE: Any = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#5d6772",
    "axes.titlesize": 10, "axes.titleweight": "bold", "svg.hashsalt": "h2q",
}  # fmt: skip


def draw_figures(results: Results) -> tuple[Figure, ...]:
    """Draw mAP against bits, and the difference from sign of each quantizer and loss; nothing without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return ()
    figures = []
    for dataset, backbone in sorted({(setting.dataset, setting.backbone) for setting in results.settings}):
        settings = [each for each in results.settings if (each.dataset, each.backbone) == (dataset, backbone)]
        where = f"{dataset}, {backbone}"
        name = f"{dataset}-{backbone}".replace("/", "-").replace(".", "-")
        if results.by_cell("sign", "map_float"):
            figures.append(_gains(results, settings, f"gains-{name}", where))
        figures.append(_curves(results, settings, f"map-{name}", where))
    return tuple(figures)


def _gains(results: Results, settings: Sequence[Setting], name: str, where: str) -> Figure:
    """Draw the difference from sign: a dot a cell, a line for the mean; losses across, tie policies down."""
    quantizers = [each for each in results.quantizers if each not in ("real", "sign")]
    losses = list(dict.fromkeys(setting.loss for setting in settings))
    figure, panels = _grid(len(TIES), len(losses), width=2.3, height=2.5)
    for row, (metric, ties) in zip(panels, TIES.items(), strict=True):
        sign = results.by_cell("sign", metric)
        for panel, loss in zip(row, losses, strict=True):
            panel.axhline(0, color=_COLORS["sign"], linewidth=0.8)
            for place, quantizer in enumerate(quantizers):
                values = results.by_cell(quantizer, metric)
                gains = [
                    100 * (values[key] - sign[key])
                    for key in values
                    if key in sign and key[0] in settings and key[0].loss == loss
                ]
                color = _COLORS.get(quantizer, _OTHER_COLOR)
                spread = place + np.linspace(-0.22, 0.22, len(gains))
                panel.plot(spread, gains, "o", color=color, markersize=2.8, alpha=0.55, markeredgewidth=0)
                if gains:
                    panel.plot([place - 0.36, place + 0.36], [np.mean(gains)] * 2, color=color, linewidth=2)
            panel.set_xticks(range(len(quantizers)), [label(each) for each in quantizers], rotation=90)
            panel.tick_params(axis="x", length=0, labelbottom=metric == list(TIES)[-1])
            panel.grid(axis="y", color="#e6e9ec", linewidth=0.7)
            panel.set_axisbelow(True)
            if metric == next(iter(TIES)):
                panel.set_title(loss)
        row[0].set_ylabel(f'points over sign\nties "{ties}"')
    caption = f"Difference from plain sign by quantizer and loss, in points of mAP ({where})."
    note = "A dot is a cell (bits and seed), a line the mean. " + protocol(results)
    return _save(figure, name, caption, note)


def _curves(results: Results, settings: Sequence[Setting], name: str, where: str) -> Figure:
    """Draw mAP against bits: mean over seeds and its standard deviation; losses across, tie policies down."""
    quantizers = [each for each in results.quantizers if each in _IN_CURVES]
    losses = list(dict.fromkeys(setting.loss for setting in settings))
    lengths = sorted({setting.n_bits for setting in settings})
    figure, panels = _grid(len(TIES), len(losses), width=2.3, height=2.3)
    for row, (metric, ties) in zip(panels, TIES.items(), strict=True):
        for panel, loss in zip(row, losses, strict=True):
            for quantizer in quantizers:
                values = results.by_cell(quantizer, metric)
                points = []
                for n_bits in lengths:
                    here = [
                        value
                        for (setting, _), value in values.items()
                        if setting in settings and (setting.loss, setting.n_bits) == (loss, n_bits)
                    ]
                    if here:
                        mean, deviation = mean_and_deviation(here)
                        points.append((n_bits, 100 * mean, 100 * (deviation or 0)))
                if points:
                    style = "--" if quantizer == "real" else "-"
                    panel.errorbar(
                        *zip(*[point[:2] for point in points], strict=True), yerr=[point[2] for point in points],
                        label=label(quantizer), color=_COLORS[quantizer], linestyle=style, marker="o", markersize=3,
                        linewidth=1.3, elinewidth=0.7,
                    )  # fmt: skip
            panel.set_xticks(lengths)
            panel.tick_params(labelbottom=metric == list(TIES)[-1])
            panel.grid(axis="y", color="#e6e9ec", linewidth=0.7)
            panel.set_axisbelow(True)
            if metric == next(iter(TIES)):
                panel.set_title(loss)
        row[0].set_ylabel(f'mAP in percent\nties "{ties}"')
    for panel in panels[-1]:
        panel.set_xlabel("bits")
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    caption = f"Mean average precision against code length ({where})."
    note = "Mean over seeds, bars one standard deviation. " + protocol(results)
    return _save(figure, name, caption, note)


def _grid(n_rows: int, n_columns: int, *, width: float, height: float) -> tuple[Any, Any]:
    """Return a figure of panels that share the scale of each row; no global state of matplotlib is touched."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        figure = Canvas(figsize=(0.8 + width * n_columns, 0.8 + height * n_rows), layout="constrained")
        return figure, figure.subplots(n_rows, n_columns, sharey="row", squeeze=False)


def _save(figure: Any, name: str, caption: str, note: str) -> Figure:
    import matplotlib as mpl

    files = {}
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(_STYLE):
        for kind, options in (("svg", {"metadata": no_metadata}), ("png", {"dpi": 144})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **options)
            files[kind] = buffer.getvalue()
    return Figure(name, caption, note, files["svg"], files["png"])
