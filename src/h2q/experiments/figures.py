"""The figures of a report, drawn by `h2q.plots`."""

import importlib.util
import io
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from h2q.experiments.cells import Setting
from h2q.experiments.results import Results
from h2q.experiments.tables import TIES, label, protocol
from h2q.report.document import Figure

__all__ = ["draw_figures"]

_IN_CURVES = ("real", "sign", "penalty", "hswd", "itq", "h2q-l2")  # ten lines on top of each other show nothing
_STYLE: Any = {"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "svg.hashsalt": "h2q"}


def draw_figures(results: Results) -> tuple[Figure, ...]:
    """Draw the gain over sign of each quantizer and loss, and mAP against bits; without matplotlib, nothing."""
    if importlib.util.find_spec("matplotlib") is None:
        return ()
    figures = []
    for dataset, backbone in sorted({(setting.dataset, setting.backbone) for setting in results.settings}):
        settings = [each for each in results.settings if (each.dataset, each.backbone) == (dataset, backbone)]
        where = f"{dataset}, {backbone}"
        name = "".join(character if character.isalnum() else "-" for character in f"{dataset}-{backbone}")
        if results.by_cell("sign", "map_embeddings") and len(results.quantizers) > 1:
            figures.append(_gains(results, settings, f"gains-{name}", where))
        figures.append(_curves(results, settings, f"map-{name}", where))
    return tuple(figures)


def _gains(results: Results, settings: Sequence[Setting], name: str, where: str) -> Figure:
    """Draw the difference from sign: losses across, tie policies down."""
    from h2q.plots import plot_gain_over_sign

    figure, panels = _grid(len(TIES), 1, width=11, height=3.1)
    for (panel,), (metric, ties) in zip(panels, TIES.items(), strict=True):
        sign, gains = results.by_cell("sign", metric), {}
        for quantizer in results.quantizers:
            by_loss: dict[str, list[float]] = defaultdict(list)
            for key, value in results.by_cell(quantizer, metric).items():
                if quantizer not in ("real", "sign") and key in sign and key[0] in settings:
                    by_loss[key[0].loss].append(value - sign[key])
            if by_loss:
                gains[label(quantizer)] = {loss: by_loss[loss] for loss in _losses(settings) if loss in by_loss}
        if gains:
            plot_gain_over_sign(gains, ax=panel)
            panel.get_legend().remove()
        panel.set(xlabel="", ylabel=f'points of mAP over sign\nties "{ties}"')
    _share_legend(figure, panels[0][0])
    caption = f"Difference from plain sign by loss and quantizer, in points of mAP ({where})."
    note = "A dot is a cell (bits and seed), a bar their mean. " + protocol(results)
    return _save(figure, name, caption, note)


def _curves(results: Results, settings: Sequence[Setting], name: str, where: str) -> Figure:
    """Draw mAP against bits: losses across, tie policies down."""
    from h2q.plots import plot_map_against_bits

    losses = _losses(settings)
    figure, panels = _grid(len(TIES), len(losses), width=2.3, height=2.3)
    for row, (metric, ties) in zip(panels, TIES.items(), strict=True):
        for panel, loss in zip(row, losses, strict=True):
            scores: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
            for quantizer in results.quantizers:
                for (setting, _), value in results.by_cell(quantizer, metric).items():
                    if quantizer in _IN_CURVES and setting in settings and setting.loss == loss:
                        scores[label(quantizer)][setting.n_bits].append(value)
            if scores:
                plot_map_against_bits(scores, ax=panel)
                panel.get_legend().remove()
            panel.set(xlabel="bits" if row is panels[-1] else "", ylabel="", title=loss if row is panels[0] else "")
        row[0].set_ylabel(f'mAP in percent\nties "{ties}"')
    _share_legend(figure, panels[0][0])
    caption = f"Mean average precision against code length ({where})."
    note = "Mean over seeds, bars one standard deviation. " + protocol(results)
    return _save(figure, name, caption, note)


def _losses(settings: Sequence[Setting]) -> list[str]:
    return list(dict.fromkeys(setting.loss for setting in settings))


def _grid(n_rows: int, n_columns: int, *, width: float, height: float) -> tuple[Any, list[list[Any]]]:
    """Return a figure, outside pyplot, of panels that share the scale of each row."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(_STYLE):
        figure = Canvas(figsize=(0.8 + width * n_columns, 0.8 + height * n_rows), layout="constrained")
        return figure, figure.subplots(n_rows, n_columns, sharey="row", squeeze=False).tolist()


def _share_legend(figure: Any, panel: Any) -> None:
    handles, names = panel.get_legend_handles_labels()
    if handles:
        columns = max(2, int(figure.get_figwidth() / 1.5))  # inches that a name takes
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), columns), frameon=False)


def _save(figure: Any, name: str, caption: str, note: str) -> Figure:
    import matplotlib as mpl

    files = {}
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(_STYLE):
        for kind, options in (("svg", {"metadata": no_metadata}), ("png", {"dpi": 144})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, **options)
            files[kind] = buffer.getvalue()
    return Figure(name=name, caption=caption, note=note, svg=files["svg"], png=files["png"])
