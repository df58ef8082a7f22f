"""What a ranking is worth: every metric says what it does with ties, with k, and with queries that nothing answers."""

from h2q.retrieval.metrics.average_precision import (
    embeddings_mean_average_precision,
    mean_average_precision,
    scores_mean_average_precision,
)
from h2q.retrieval.metrics.recall import float_neighbors, neighbor_recall
from h2q.retrieval.metrics.results import MeanAveragePrecision, NeighborRecall

__all__ = [
    "MeanAveragePrecision",
    "NeighborRecall",
    "embeddings_mean_average_precision",
    "float_neighbors",
    "mean_average_precision",
    "neighbor_recall",
    "scores_mean_average_precision",
]
