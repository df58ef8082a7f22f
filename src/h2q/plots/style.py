"""What all figures share: a color for each method, colors that color-blind readers tell apart, and axes."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from h2q.errors import require

__all__ = ["DARK", "FAINT", "MIDDLE", "PALETTE", "RIGHT", "WRONG", "Style", "finish", "new_axes", "styles_of"]

# Okabe and Ito's palette without yellow, which is faint on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DARK, MIDDLE, FAINT = "#333333", "#8a8a8a", "#dddddd"
RIGHT, WRONG = "#2b8a3e", "#d6336c"

# The same method has the same color in every figure; a longer label ("H²Q l1") has the color of its method.
_METHOD_COLORS = {
    "H²Q": "#0072b2",
    "ITQ": "#009e73",
    "random rotation": "#56b4e9",
    "sign": "#e69f00",
    "penalty": "#d55e00",
    "HSWD": "#cc79a7",
    "real-valued": "#000000",
}
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", ":", "-.")
_HATCHES = ("", "///", "...", "xxx")


@dataclass(frozen=True)
class Style:
    """How a series is drawn: no two of the first 28 series of a figure look alike, even without color.

    Attributes
    ----------
    color : str
        Hexadecimal color, from `PALETTE`; each has its own marker.
    repeat : int
        Number of earlier series of this color.
    """

    color: str
    repeat: int

    @property
    def line(self) -> dict[str, Any]:
        """Options of matplotlib's lines."""
        marker = _MARKERS[PALETTE.index(self.color)]
        return {
            "color": self.color, "linestyle": _DASHES[self.repeat % len(_DASHES)], "marker": marker, "markersize": 4,
        }  # fmt: skip

    @property
    def bar(self) -> dict[str, Any]:
        """Options of matplotlib's bars."""
        return {"color": self.color, "hatch": _HATCHES[self.repeat % len(_HATCHES)], "edgecolor": "white"}


def styles_of(names: Iterable[str]) -> dict[str, Style]:
    """Return the style of each series of a figure.

    Known methods have a fixed color; other series take the remaining colors in order. Series of one color differ by
    dashes, markers and hatches.

    >>> styles = styles_of(["H²Q l2", "H²Q l1", "my loss"])
    >>> [style.color for style in styles.values()]
    ['#0072b2', '#0072b2', '#d55e00']
    >>> styles["H²Q l2"].bar["hatch"], styles["H²Q l1"].bar["hatch"]
    ('', '///')
    """
    fixed = {name: _method_color(name) for name in names}
    free = [color for color in PALETTE if color not in fixed.values()] or list(PALETTE)
    others = [name for name, color in fixed.items() if color is None]
    used: Counter[str] = Counter()
    styles = {}
    for name, color in fixed.items():
        chosen = color or free[others.index(name) % len(free)]
        styles[name] = Style(chosen, used[chosen])
        used[chosen] += 1
    return styles


def _method_color(name: str) -> str | None:
    for method, color in _METHOD_COLORS.items():
        if name == method or name.startswith((f"{method} ", f"{method},")):
            return color
    return None


def new_axes(ax: Any, n: int = 1, *, width: float = 6.4) -> Any:
    """Return `ax`, or if it is None, `n` new axes on a figure at least `width` inches wide.

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
    """Label axes, and remove the lines that carry no information."""
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    if title is not None:
        ax.set_title(title, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=grid, color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)
