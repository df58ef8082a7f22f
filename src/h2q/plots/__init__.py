"""Figures of rankings, experiments, codes and neighbors.

The ``plot_`` functions draw on `ax`, or on a new figure, and return it; they need matplotlib
(``pip install "h2q[plots]"``). `draw_neighbors` returns an image; it needs Pillow (``pip install "h2q[images]"``).
"""

from h2q.plots.codes import plot_bit_balance, plot_distances, plot_rotation
from h2q.plots.neighbors import ImageRanking, draw_neighbors
from h2q.plots.rankings import plot_precision_at_k, plot_precision_recall
from h2q.plots.scores import plot_gain_over_sign, plot_map_against_bits

__all__ = [
    "ImageRanking",
    "draw_neighbors",
    "plot_bit_balance",
    "plot_distances",
    "plot_gain_over_sign",
    "plot_map_against_bits",
    "plot_precision_at_k",
    "plot_precision_recall",
    "plot_rotation",
]
