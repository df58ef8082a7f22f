"""Figures of codes and embeddings: distances, bits, and the corners of the cube."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_embeddings, check_integer
from h2q.evaluation.diagnosis import CodesDiagnosis
from h2q.plots.style import DARK, MIDDLE, PALETTE, finish, new_axes
from h2q.quantization.objectives import quantization_errors, scale_rows

__all__ = ["plot_bit_balance", "plot_distances", "plot_rotation"]

_SHOWN_ITEMS = 2_000


def plot_distances(diagnosis: CodesDiagnosis, *, ax: Any = None) -> Any:
    """Draw the Hamming distances of similar and of dissimilar pairs; without labels, of all pairs.

    Parameters
    ----------
    diagnosis : CodesDiagnosis
        Result of `h2q.evaluation.diagnose_codes`.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`: at each Hamming distance, the share of the pairs of each kind in percent.

    Raises
    ------
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> from h2q.evaluation import diagnose_codes
    >>> diagnosis = diagnose_codes(np.array([[0], [1], [3]], dtype=np.uint8), 8, labels=[0, 0, 1])
    >>> plot_distances(diagnosis).get_xlabel()
    'Hamming distance in bits'
    """
    ax = new_axes(ax)
    places = np.arange(diagnosis.n_bits + 1)
    if diagnosis.similar_distances is None or diagnosis.dissimilar_distances is None:
        ax.stairs(_shares(diagnosis.distances), np.append(places, len(places)) - 0.5, fill=True, color=PALETTE[0])
        finish(ax, "Hamming distance in bits", "share of the pairs in percent", grid="y")
    else:
        kinds = (("similar", diagnosis.similar_distances, 0), ("dissimilar", diagnosis.dissimilar_distances, 1))
        for name, counts, number in kinds:
            ax.stairs(
                _shares(counts), np.append(places, len(places)) - 0.5, fill=True, color=PALETTE[number], alpha=0.5,
                label=f"{name} pairs",
            )  # fmt: skip
        separation = diagnosis.separation
        title = None if separation is None else f"a similar pair is nearer in {100 * separation:.0f}% of the cases"
        finish(ax, "Hamming distance in bits", "share of the pairs of a kind in percent", title=title, grid="y")
        ax.legend(frameon=False)
    ax.set_xlim(-0.5, diagnosis.n_bits + 0.5)
    ax.set_ylim(bottom=0)
    return ax


def plot_bit_balance(diagnosis: CodesDiagnosis, *, ax: Any = None) -> Any:
    """Draw the share of items in which each bit is 1.

    Parameters
    ----------
    diagnosis : CodesDiagnosis
        Result of `h2q.evaluation.diagnose_codes`.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        `ax`: a bar from 50% for each bit, and the mean entropy of a bit above.

    Raises
    ------
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> from h2q.evaluation import diagnose_codes
    >>> diagnosis = diagnose_codes(np.array([[0], [1], [3]], dtype=np.uint8), 8)
    >>> plot_bit_balance(diagnosis).get_ylabel()
    'items in which it is 1, in percent'
    """
    ax = new_axes(ax)
    balance = 100 * diagnosis.bit_balance
    ax.bar(np.arange(diagnosis.n_bits), balance - 50, bottom=50, width=0.8, color=PALETTE[0])
    ax.axhline(50, color=DARK, linewidth=1)
    entropy = diagnosis.bit_entropy.mean()
    title = f"mean entropy {entropy:.3f} of 1 bit; {diagnosis.effective_bits:.1f} of {diagnosis.n_bits} bits effective"
    finish(ax, "bit", "items in which it is 1, in percent", title=title, grid="y")
    ax.set(xlim=(-0.7, diagnosis.n_bits - 0.3), ylim=(0, 100))
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def plot_rotation(
    before: Any, after: Any, *, dimensions: Sequence[int] = (0, 1), ax: Any = None, random_state: int = 0
) -> Any:
    """Draw two coordinates of embeddings before and after the rotation, and the corners of the cube.

    Parameters
    ----------
    before : array-like of float, shape (n, k)
        Embeddings before the rotation, one dimension a bit; for instance ``SignQuantizer``'s ``transform(X)``.
    after : array-like of float, shape (n, k)
        The rotated embeddings: a quantizer's ``transform(X)``.
    dimensions : two int
        Coordinates to draw, counted from 0.
    ax : two matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure of two panels.
    random_state : int
        Seed of the sample: at most 2,000 rows are drawn.

    Returns
    -------
    ndarray of two matplotlib.axes.Axes
        Rows are scaled to norm sqrt(k), so that a perfect row is a corner (±1, ±1). The title of each panel is the L2
        quantization error of all coordinates and rows.

    Raises
    ------
    TypeError, ValueError
        If the embeddings differ in shape, or have no such dimensions.
    MissingDependencyError
        Without matplotlib.

    Examples
    --------
    >>> x = np.array([[1.4, 0.1], [0.1, -1.4], [-1.4, 0.0]])
    >>> turn = np.sqrt([[0.5, 0.5], [0.5, 0.5]]) * [[1, -1], [1, 1]]
    >>> [ax.get_title() for ax in plot_rotation(x, x @ turn)]
    ['before: L2 quantization error 0.521', 'after: L2 quantization error 0.003']
    """
    panels = [as_embeddings(before, "before"), as_embeddings(after, "after")]
    if panels[0].shape != panels[1].shape:
        raise ValueError(f"before and after must have the same shape; got {panels[0].shape} and {panels[1].shape}")
    n, k = panels[0].shape
    if len(dimensions) != 2:
        raise ValueError(f"dimensions must be two coordinates; got {dimensions!r}")
    x, y = (check_integer(dimension, "dimensions", low=0, high=k - 1) for dimension in dimensions)
    axes = np.asarray(new_axes(ax, 2), dtype=object)
    if axes.shape != (2,):
        raise ValueError("ax must be two axes, one for before and one for after")
    shown = np.arange(n)
    if n > _SHOWN_ITEMS:
        shown = np.random.default_rng(random_state).choice(n, _SHOWN_ITEMS, replace=False)
    scaled = [scale_rows(rows) for rows in panels]
    limit = 1.08 * max(1.0, *(float(np.abs(rows[shown][:, [x, y]]).max()) for rows in scaled))
    for panel, rows, name, color in zip(axes, scaled, ("before", "after"), (MIDDLE, PALETTE[0]), strict=True):
        _draw_cloud(panel, rows[shown][:, [x, y]], color)
        error = quantization_errors(rows).l2
        finish(panel, f"coordinate {x}", f"coordinate {y}", title=f"{name}: L2 quantization error {error:.3f}")
        panel.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
        panel.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.13), columnspacing=1)
    return axes


def _draw_cloud(panel: Any, points: NDArray[np.floating], color: str) -> None:
    """Draw points, (n, 2), with the axes and the corners of the square."""
    panel.axhline(0, color=DARK, linewidth=0.8)
    panel.axvline(0, color=DARK, linewidth=0.8)
    panel.plot(*points.T, "o", color=color, markersize=3, alpha=0.35, markeredgewidth=0, label="embeddings")
    panel.plot(
        [1, 1, -1, -1], [1, -1, 1, -1], "X", color=PALETTE[1], markersize=11, markeredgecolor="white",
        label="corners of the cube",
    )  # fmt: skip


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return 100 * counts / max(1, int(counts.sum()))
