"""What a ranking is worth: every metric says what it does with ties, with k, and with queries that nothing answers."""

from h2q.retrieval.metrics.average_precision import (
    embeddings_mean_average_precision,
    mean_average_precision,
    scores_mean_average_precision,
)
from h2q.retrieval.metrics.cumulative_gain import ndcg
from h2q.retrieval.metrics.evaluation import CodesEvaluation, CutEvaluation, evaluate_codes
from h2q.retrieval.metrics.neighbors import float_neighbors, neighbor_recall
from h2q.retrieval.metrics.precision_recall import precision, precision_recall_curve, recall
from h2q.retrieval.metrics.results import (
    MeanAveragePrecision,
    NeighborRecall,
    NormalizedDiscountedCumulativeGain,
    Precision,
    PrecisionRecallCurve,
    Recall,
)

__all__ = [
    "CodesEvaluation",
    "CutEvaluation",
    "MeanAveragePrecision",
    "NeighborRecall",
    "NormalizedDiscountedCumulativeGain",
    "Precision",
    "PrecisionRecallCurve",
    "Recall",
    "embeddings_mean_average_precision",
    "evaluate_codes",
    "float_neighbors",
    "mean_average_precision",
    "ndcg",
    "neighbor_recall",
    "precision",
    "precision_recall_curve",
    "recall",
    "scores_mean_average_precision",
]
