"""Figures of rankings: precision against recall, and precision against the number of items."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from h2q.errors import describe
from h2q.evaluation import PrecisionRecallCurve
from h2q.plots.style import finish, new_axes, styles_of

__all__ = ["plot_precision_at_k", "plot_precision_recall"]

_MARKED = 12


def plot_precision_recall(curves: Mapping[str, PrecisionRecallCurve], *, ax: Any = None) -> Any:
    """Draw precision against recall, a line for each curve.

    Parameters
    ----------
    curves : mapping of str to PrecisionRecallCurve
        For each name a result of `h2q.evaluation.precision_recall_curve`, by rank or by radius.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, with recall and precision in percent.

    Raises
    ------
    ValueError
        If there are no curves.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> from h2q.evaluation import precision_recall_curve
    >>> codes = np.array([[0], [1], [3]], dtype=np.uint8)
    >>> curve = precision_recall_curve(codes, codes, [0, 0, 1], [0, 0, 1], n_bits=8)
    >>> plot_precision_recall({"H²Q": curve}).get_xlabel()
    'recall in percent'
    """
    _check(curves)
    ax = new_axes(ax)
    styles = styles_of(curves)
    for name, curve in curves.items():
        order = np.argsort(curve.recall, kind="stable")
        marks = max(1, len(order) // _MARKED)
        ax.plot(
            100 * curve.recall[order], 100 * curve.precision[order], label=name, markevery=marks, **styles[name].line
        )
    finish(ax, "recall in percent", "precision in percent", title=_protocol(curves))
    ax.set(xlim=(0, 101), ylim=(0, 102))
    ax.legend(frameon=False)
    return ax


def plot_precision_at_k(curves: Mapping[str, PrecisionRecallCurve], *, ax: Any = None) -> Any:
    """Draw precision@k against k, a line for each curve.

    Parameters
    ----------
    curves : mapping of str to PrecisionRecallCurve
        For each name a result of `h2q.evaluation.precision_recall_curve`, by rank.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, with k on a logarithmic axis and precision in percent.

    Raises
    ------
    ValueError
        If there are no curves, or one is by radius.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> from h2q.evaluation import precision_recall_curve
    >>> codes = np.array([[0], [1], [3]], dtype=np.uint8)
    >>> curve = precision_recall_curve(codes, codes, [0, 0, 1], [0, 0, 1], n_bits=8)
    >>> plot_precision_at_k({"H²Q": curve}).get_xscale()
    'log'
    """
    _check(curves)
    for name, curve in curves.items():
        if curve.by != "rank":
            raise ValueError(f"curve {name!r} is by {curve.by}; precision@k needs one by rank")
    ax = new_axes(ax)
    styles = styles_of(curves)
    for name, curve in curves.items():
        marks = max(1, len(curve.cuts) // _MARKED)
        ax.plot(curve.cuts, 100 * curve.precision, label=name, markevery=marks, **styles[name].line)
    finish(ax, "k, number of first items", "precision@k in percent", title=_protocol(curves))
    ax.set_xscale("log")
    ax.set_ylim(0, 102)
    ax.legend(frameon=False)
    return ax


def _check(curves: Mapping[str, PrecisionRecallCurve]) -> None:
    if not isinstance(curves, Mapping):
        raise TypeError(f"curves must be a mapping of names to curves; got {describe(curves)}")
    if not curves:
        raise ValueError("curves is empty: there is nothing to draw")


def _protocol(curves: Mapping[str, PrecisionRecallCurve]) -> str:
    """Return the protocol of the curves, for the title."""
    kinds = {
        f'{curve.n_queries:,} queries, {curve.n_database:,} items, ties "{curve.ties}"' for curve in curves.values()
    }
    return kinds.pop() if len(kinds) == 1 else "different protocols"
