"""Figures of experiments: mean average precision against code length, and the gain over plain sign."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import describe
from h2q.plots.style import DARK, finish, new_axes, styles_of

__all__ = ["plot_gain_over_sign", "plot_map_against_bits"]

_DODGE = 0.035  # of a doubling of the bits
_COLUMN = 0.24  # inches that a column takes where there are many


def plot_map_against_bits(scores: Mapping[str, Mapping[int, float | Sequence[float]]], *, ax: Any = None) -> Any:
    """Draw mean average precision against code length, a line for each quantizer.

    Parameters
    ----------
    scores : mapping of str to mapping of int to float or sequence of float
        For each quantizer and number of bits the mAP, from 0 to 1; of several seeds the mean is drawn, with bars of
        one standard deviation.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`, with bits on a logarithmic axis and mAP in percent.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a value is not from 0 to 1.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> ax = plot_map_against_bits({"sign": {16: 0.55, 32: 0.57}, "H²Q": {16: [0.60, 0.61], 32: [0.61, 0.62]}})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['sign', 'H²Q']
    """
    _check_mapping(scores, "scores")
    lengths = sorted({n_bits for by_bits in scores.values() for n_bits in by_bits})
    if not lengths:
        raise ValueError("scores is empty: there is nothing to draw")
    ax = new_axes(ax)
    styles = styles_of(scores)
    for number, (name, by_bits) in enumerate(scores.items()):
        bits = sorted(by_bits)
        values = [_as_values(by_bits[n_bits], f"scores[{name!r}][{n_bits}]", 0, 1) for n_bits in bits]
        # A little to the side, so that bars of several quantizers do not hide each other.
        beside = np.array(bits) * 2 ** (_DODGE * (number - (len(scores) - 1) / 2))
        deviations = [100 * each.std(ddof=1) if len(each) > 1 else 0.0 for each in values]
        ax.errorbar(
            beside, [100 * each.mean() for each in values], yerr=deviations if any(deviations) else None, label=name,
            capsize=2, elinewidth=0.9, **styles[name].line,
        )  # fmt: skip
    finish(ax, "bits of a code", "mean average precision in percent")
    ax.set_xscale("log", base=2)
    ax.set_xticks(lengths, [str(n_bits) for n_bits in lengths])
    ax.minorticks_off()
    ax.legend(frameon=False)
    return ax


def plot_gain_over_sign(gains: Mapping[str, Mapping[str, float | Sequence[float]]], *, ax: Any = None) -> Any:
    """Draw how much mean average precision each quantizer gains over plain sign, for each loss.

    Parameters
    ----------
    gains : mapping of str to mapping of str to float or sequence of float
        For each quantizer and loss the differences of mAP from that of sign on the same embeddings, from -1 to 1, one a
        cell (a code length and a seed).
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`: a group for each loss, in it a column for each quantizer; a dot is a cell, a bar the mean of them.

    Raises
    ------
    ValueError
        If there is nothing to draw, or a value is not from -1 to 1.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> ax = plot_gain_over_sign({"ITQ": {"CEL": [0.01, 0.02]}, "H²Q": {"CEL": [0.02, 0.03], "DCH": [0.0]}})
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['CEL', 'DCH']
    """
    _check_mapping(gains, "gains")
    losses = list(dict.fromkeys(loss for by_loss in gains.values() for loss in by_loss))
    if not losses:
        raise ValueError("gains is empty: there is nothing to draw")
    ax = new_axes(ax, width=_COLUMN * len(losses) * (len(gains) + 1))
    width = 0.84 / len(gains)
    styles = styles_of(gains)
    ax.axhline(0, color=DARK, linewidth=1)
    for number, (quantizer, by_loss) in enumerate(gains.items()):
        places, means = [], []
        for loss, values in by_loss.items():
            points = 100 * _as_values(values, f"gains[{quantizer!r}][{loss!r}]", -1, 1)
            place = losses.index(loss) + (number - (len(gains) - 1) / 2) * width
            # Dots side by side in the order given, so that none hides another.
            beside = place + width * 0.6 * np.linspace(-0.5, 0.5, len(points) + 2)[1:-1]
            ax.plot(
                beside, points, "o", color=styles[quantizer].color, markersize=3.4, markeredgecolor=DARK,
                markeredgewidth=0.4, alpha=0.8, zorder=3,
            )  # fmt: skip
            places.append(place)
            means.append(points.mean())
        ax.bar(places, means, width * 0.9, label=quantizer, alpha=0.45, linewidth=0, **styles[quantizer].bar)
    finish(ax, "similarity loss", "gain over sign in points of mAP", grid="y")
    ax.set_xticks(range(len(losses)), losses)
    ax.set_xlim(-0.6, len(losses) - 0.4)
    ax.tick_params(axis="x", length=0)
    ax.legend(frameon=False, ncols=min(4, len(gains)), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


def _check_mapping(value: Any, name: str) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(inner, Mapping) for inner in value.values()):
        raise TypeError(f"{name} must be a mapping of mappings; got {describe(value)}")


def _as_values(value: Any, name: str, low: float, high: float) -> NDArray[np.float64]:
    values = np.atleast_1d(np.asarray(value, np.float64))
    if values.ndim != 1 or len(values) == 0 or not ((values >= low) & (values <= high)).all():
        raise ValueError(f"{name} must be one or more numbers from {low} to {high}, no percents; got {describe(value)}")
    return values
