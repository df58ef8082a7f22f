"""What all figures share: colors that color-blind people tell apart, and axes."""

from typing import Any

from h2q.errors import require

__all__ = ["BEFORE", "DARK", "FAINT", "bar_style", "color_of", "finish", "line_style", "new_axes"]

# Okabe and Ito's palette, without yellow, which is faint on white.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DARK, BEFORE, FAINT = "#333333", "#8a8a8a", "#dddddd"


def color_of(number: int) -> str:
    """Return the color of the series `number`; after seven they begin anew.

    >>> color_of(0), color_of(7)
    ('#0072b2', '#0072b2')
    """
    return _COLORS[number % len(_COLORS)]


def line_style(number: int) -> dict[str, Any]:
    """Return how a line is drawn: no two of the first 28 look alike, not even without color."""
    dashes = ("-", "--", ":", "-.")[number // len(_COLORS) % 4]
    return {
        "color": color_of(number),
        "linestyle": dashes,
        "marker": _MARKERS[number % len(_MARKERS)],
        "markersize": 4,
    }


def bar_style(number: int) -> dict[str, Any]:
    """Return how a bar is drawn: no two of the first 28 look alike, thanks to hatches.

    >>> bar_style(0)["hatch"], bar_style(7)["hatch"]
    ('', '///')
    """
    hatches = ("", "///", "...", "xxx")
    return {"color": color_of(number), "hatch": hatches[number // len(_COLORS) % 4], "edgecolor": "white"}


def new_axes(ax: Any, n: int = 1, *, width: float = 6.4) -> Any:
    """Return `ax`, or where it is None, one or several new axes on a figure at least so many inches wide.

    Raises
    ------
    MissingDependencyError
        Without matplotlib.
    """
    pyplot = require("matplotlib.pyplot", "plots")
    if ax is not None:
        return ax
    _, axes = pyplot.subplots(1, n, figsize=(max(6.4, width, 4.6 * n), 4.4), layout="constrained")
    return axes


def finish(ax: Any, x_label: str, y_label: str, *, title: str | None = None, grid: str = "both") -> None:
    """Label axes, and take away what tells nothing."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    if title is not None:
        ax.set_title(title, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=grid, color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)
