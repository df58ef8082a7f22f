"""Figures of rankings, of experiments and of codes; each function draws on `ax`, or on a new figure, and returns it.

Needs matplotlib: ``pip install "h2q[plots]"``.
"""

from h2q.plots.codes import plot_bit_balance, plot_distances, plot_rotation
from h2q.plots.rankings import plot_precision_at_k, plot_precision_recall
from h2q.plots.scores import plot_gain_over_sign, plot_map_against_bits

__all__ = [
    "plot_bit_balance",
    "plot_distances",
    "plot_gain_over_sign",
    "plot_map_against_bits",
    "plot_precision_at_k",
    "plot_precision_recall",
    "plot_rotation",
]
