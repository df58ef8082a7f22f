"""The figures of a report."""

from h2q.experiments.document import Figure
from h2q.experiments.results import Results

__all__ = ["draw_figures"]


def draw_figures(results: Results) -> tuple[Figure, ...]:
    """Draw mAP against bits, and the difference from sign of each quantizer and loss; nothing without matplotlib."""
    return ()
