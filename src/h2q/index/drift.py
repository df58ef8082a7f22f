"""Measure drift: whether new embeddings still resemble those that a quantizer was fitted on, and the cost if not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.evaluation import float_neighbors, neighbor_recall
from h2q.index.columns import Columns
from h2q.index.searching import search_in_steps
from h2q.index.segments import Segment
from h2q.quantization.drift import RowStatistics, balance_shift, describe_rows, error_growth, mean_shift, overfitting
from h2q.quantization.sampling import as_generator, sample_rows

__all__ = ["MIN_ROWS", "THRESHOLDS", "Drift", "DriftMeasure", "code_recall", "measure_drift"]

# Calibrated by benchmarks/drift.py; docs/drift.md has the rates.
THRESHOLDS = {"mean_shift": 0.1, "bit_balance": 0.045, "quantization_error": 0.05, "recall_loss": 0.05}
MIN_ROWS = 200
_STANDARD_ERRORS = 4.0  # of the difference of two recalls, below which it may be chance
_MAX_ROWS, _RECALL_ROWS, _RECALL_QUERIES, _NEIGHBORS = 10_000, 2_000, 500, 10


@dataclass(frozen=True)
class DriftMeasure:
    """A measure of drift, with its threshold.

    Attributes
    ----------
    name : {"mean_shift", "bit_balance", "quantization_error", "recall_loss"}
        Distance of the means, in standard deviations of the fitted rows; change of the share of ones of a bit, root
        mean square; growth of the quantization error, as a share of it; recall@10 of items like the old ones minus
        that of the new embeddings.
    value : float
        Its value. The first two have their expectation without drift subtracted.
    threshold : float
        Value above which the measure reports drift.

    Examples
    --------
    >>> DriftMeasure("mean_shift", value=0.4, threshold=0.15).exceeded
    True
    """

    name: str
    value: float
    threshold: float

    @property
    def exceeded(self) -> bool:
        """Whether the value is above the threshold."""
        return self.value > self.threshold


@dataclass(frozen=True)
class Drift:
    """Result of comparing new embeddings with those that the quantizer was fitted on; `print` shows a summary.

    Attributes
    ----------
    n_rows : int
        Number of new embeddings that were compared.
    measures : tuple of DriftMeasure
        The measures; "recall_loss" is among them where the index keeps embeddings.
    old_error, new_error : float
        Quantization error of the fitted rows and of the new embeddings.
    old_recall, new_recall : float or None
        Share of the 10 nearest items by the embeddings that are among the 10 nearest by the codes, for kept items and
        for the new embeddings; None: the index keeps no embeddings.

    Examples
    --------
    >>> drift = Drift(500, (DriftMeasure("mean_shift", 0.4, 0.15),), old_error=0.25, new_error=0.26)
    >>> drift.drifted, drift.refit
    (True, False)
    """

    n_rows: int
    measures: tuple[DriftMeasure, ...]
    old_error: float
    new_error: float
    old_recall: float | None = None
    new_recall: float | None = None

    @property
    def drifted(self) -> bool:
        """Whether any measure is above its threshold."""
        return any(measure.exceeded for measure in self.measures)

    @property
    def refit(self) -> bool:
        """Whether to refit: the recall fell or, if it is unknown, the bit balance or the error changed."""
        costly = {"recall_loss"} if self.new_recall is not None else {"bit_balance", "quantization_error"}
        return any(measure.exceeded for measure in self.measures if measure.name in costly)

    @property
    def summary(self) -> str:
        """Cost of the drift, and advice, as text."""
        if not self.drifted:
            return f"No drift: the {self.n_rows:,} new embeddings are like those that the quantizer was fitted on."
        named = ", ".join(measure.name.replace("_", " ") for measure in self.measures if measure.exceeded)
        change = 100 * (self.new_error / self.old_error - 1) if self.old_error > 0 else 0.0
        moved = f"The {self.n_rows:,} new embeddings are unlike those that the quantizer was fitted on ({named})."
        if self.old_recall is None or self.new_recall is None:
            cost = f"Their quantization error is {abs(change):.0f} % {'higher' if change > 0 else 'lower'}; what that "
            cost += "costs in recall is unknown, since the index keeps no embeddings."
        else:
            cost = f"Of the 10 nearest items their codes find {10 * self.new_recall:.1f}, and those of older items "
            cost += f"{10 * self.old_recall:.1f}."
        advice = (
            "Refit: index.refit() fits the quantizer to what the index holds then, and encodes it again."
            if self.refit
            else "There is no need to refit yet: what they lose is below the threshold."
        )
        return f"{moved} {cost} {advice}"

    def __str__(self) -> str:
        """Return the measures and the summary."""
        lines = [
            f"{measure.name:<18} {measure.value:7.3f}  {'above' if measure.exceeded else 'up to'} {measure.threshold:g}"
            for measure in self.measures
        ]
        return "\n".join([*lines, self.summary])


def measure_drift(
    quantizer: Any,
    new_embeddings: Any,
    *,
    kept: NDArray[np.float32] | None = None,
    reference: Any = None,
    metric: str = "cosine",
) -> Drift:
    """Compare new embeddings with those that a quantizer was fitted on; see `h2q.index.Index.drift`.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer.
    new_embeddings : array-like of shape (n, d), or iterable of such batches
        Embeddings, at least 200; at most 10,000 of them, drawn at random, are used.
    kept : ndarray of float32, shape (n_kept, d), optional
        Embeddings of items, drawn at random. At least 200 are needed for a recall.
    reference : array-like of shape (n_reference, d), optional
        Embeddings to compare with. Default: the statistics that the quantizer stored when it was fitted.
    metric : {"cosine", "euclidean", "inner_product"}
        Distance of embeddings.

    Raises
    ------
    TypeError, ValueError
        If there are too few rows, they are no embeddings of the quantizer's width, or there is nothing to compare with.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from h2q.quantization import HouseholderQuantizer
    >>> X, y = load_digits(return_X_y=True)
    >>> quantizer = HouseholderQuantizer(32, random_state=0).fit(X[y < 5])
    >>> drift = measure_drift(quantizer, X[y >= 5])
    >>> drift.drifted, drift.measures[0].name
    (True, 'mean_shift')
    """
    new = _rows(new_embeddings, "new_embeddings", quantizer)
    if kept is not None and len(kept) < MIN_ROWS:
        kept = None
    if reference is not None:
        old = describe_rows(quantizer, _rows(reference, "reference", quantizer))
    else:
        old = _fitted_statistics(quantizer, kept)
    now = describe_rows(quantizer, new)
    values = {
        "mean_shift": mean_shift(old, now),
        "bit_balance": balance_shift(old, now),
        "quantization_error": error_growth(old, now),
    }
    recalls: tuple[float, ...] = ()
    thresholds = dict(THRESHOLDS)
    thresholds["quantization_error"] += overfitting(old)
    if kept is not None:
        of_old, of_new = code_recall(quantizer, kept, new, metric)
        recalls = (float(of_old.mean()), float(of_new.mean()))
        values["recall_loss"] = recalls[0] - recalls[1]
        chance = _STANDARD_ERRORS * float(np.sqrt(of_old.var() / len(of_old) + of_new.var() / len(of_new)))
        thresholds["recall_loss"] = max(thresholds["recall_loss"], chance)
    measures = tuple(DriftMeasure(name, value, thresholds[name]) for name, value in values.items())
    return Drift(len(new), measures, old.error, now.error, *recalls)


def _rows(X: Any, name: str, quantizer: Any) -> NDArray[np.float32]:
    """Return a sample of embeddings without rows of zeros, or say what is wrong with them."""
    rows = sample_rows(X, _MAX_ROWS, as_generator(0), allow_zero_rows=True)
    if rows.shape[1] != quantizer.n_features_in_:
        raise ValueError(
            f"{name} must have {quantizer.n_features_in_} features, as the quantizer was fitted on; got {rows.shape[1]}"
        )
    rows = rows[rows.any(axis=1)]
    if len(rows) < MIN_ROWS:
        raise ValueError(
            f"{name} must have at least {MIN_ROWS} rows other than zeros, to tell drift from chance; got {len(rows)}: "
            "collect more"
        )
    return rows


def _fitted_statistics(quantizer: Any, kept: NDArray[np.float32] | None) -> RowStatistics:
    """Return the statistics that the quantizer stored, or those of kept embeddings where an older version fitted it."""
    statistics: RowStatistics | None = getattr(quantizer, "statistics_", None)
    if statistics is not None:
        return statistics
    if kept is None:
        raise ValueError(
            "the quantizer has no statistics of the rows that it was fitted on, since an older version of h2q fitted "
            "it: give a sample of them as reference"
        )
    return describe_rows(quantizer, kept)


def code_recall(
    quantizer: Any, old: NDArray[np.float32], new: NDArray[np.float32], metric: str = "cosine"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall@10 of the codes for old and for new rows as queries, in an index that holds as many of both.

    Parameters
    ----------
    quantizer : BaseQuantizer
        A fitted quantizer.
    old, new : ndarrays of float32, shapes (n_old, d), (n_new, d)
        Embeddings, in random order; at most the first 2,000 of each are used, and 500 of these are the queries.
    metric : {"cosine", "euclidean", "inner_product"}
        Distance of embeddings.

    Returns
    -------
    (ndarray, ndarray) of float64
        Recall of each old and of each new query, 0 to 1. A query is not its own neighbor.
    """
    n = min(len(old), len(new), _RECALL_ROWS)
    n_queries = min(n, _RECALL_QUERIES)
    items = np.concatenate([old[:n], new[:n]])
    queries = np.concatenate([np.arange(n_queries), np.arange(n, n + n_queries)])
    encoded = quantizer.encode_items(items)
    columns = {"codes": encoded.codes, "ids": np.arange(len(items))}
    if encoded.scalars is not None:
        columns["scalars"] = encoded.scalars
    by_codes = search_in_steps(
        [Segment(Columns(columns))], items[queries], _NEIGHBORS + 1, quantizer=quantizer, scoring="asymmetric",
        metric=metric,
    ).ids  # fmt: skip
    by_embeddings = _float_neighbors(items[queries], items, _NEIGHBORS + 1, metric)
    recall = neighbor_recall(_without(queries, by_embeddings), _without(queries, by_codes)).per_query
    return recall[:n_queries], recall[n_queries:]


def _float_neighbors(
    queries: NDArray[np.float32], items: NDArray[np.float32], k: int, metric: str
) -> NDArray[np.int64]:
    """Return the k nearest items of each query by the embeddings."""
    if metric == "inner_product":
        nearest: NDArray[np.int64] = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :k]
        return nearest
    return float_neighbors(queries, items, k, metric)


def _without(own: NDArray[np.int64], neighbors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each row of neighbors without its own item, or without the last neighbor.

    >>> _without(np.array([3, 9]), np.array([[1, 3, 2], [1, 3, 2]]))
    array([[1, 2],
           [1, 3]])
    """
    kept = neighbors != own[:, None]
    kept[kept.all(axis=1), -1] = False
    others: NDArray[np.int64] = neighbors[kept].reshape(len(neighbors), -1)
    return others
