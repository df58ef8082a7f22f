"""Precision and recall of the first k items and within a Hamming radius, and their curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from h2q.errors import describe
from h2q.evaluation.rankers import CodeRanker
from h2q.evaluation.rankings import EMPTY, Cut, Rankings, check_choice
from h2q.evaluation.results import MeanAtCut, Precision, PrecisionRecallCurve, Recall, without_empty

__all__ = [
    "PrecisionAt",
    "RecallAt",
    "precision",
    "precision_recall_curve",
    "recall",
]

Result = TypeVar("Result", bound=MeanAtCut)
_CURVE_POINTS = 100


@dataclass(frozen=True)
class PrecisionAt:
    """The expected share of relevant items among those that count, at each cut."""

    cuts: Sequence[Cut]

    def score(self, rankings: Rankings) -> NDArray[np.float64]:
        """Return shape (n_queries, n_cuts); NaN if no item counts."""
        sizes = rankings.sizes_of(self.cuts)
        return np.where(sizes > 0, rankings.hits(self.cuts) / np.maximum(sizes, 1), np.nan)


@dataclass(frozen=True)
class RecallAt:
    """The expected share of the relevant items that count, at each cut."""

    cuts: Sequence[Cut]

    def score(self, rankings: Rankings) -> NDArray[np.float64]:
        """Return shape (n_queries, n_cuts); NaN if nothing in the database is relevant."""
        n_relevant = rankings.n_relevant[:, None]
        return np.where(n_relevant > 0, rankings.hits(self.cuts) / np.maximum(n_relevant, 1), np.nan)


def precision(
    query_codes: Any,
    database_codes: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    n_bits: int,
    k: int | None = None,
    radius: int | None = None,
    ties: str = "expected",
    empty: str = "zero",
    query_embeddings: Any = None,
    database_embeddings: Any = None,
) -> Precision:
    """Return the share of relevant items among the first k by Hamming distance, or among those within a radius.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels, n_bits, ties, query_embeddings, database_embeddings
        See `mean_average_precision`. Within a radius and without `k`, ties make no difference.
    k : int, optional
        Only the first k items count; a k beyond the database means all. Default: all.
    radius : int, optional
        Only items within this Hamming distance count. Default: all.
    empty : {"zero", "skip"}
        Whether a query without any item within the radius counts as 0, as in most papers, or is skipped.

    Returns
    -------
    Precision
        ``value`` from 0 to 1, ``per_query``, the options, and ``confidence_interval()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> precision(database[:1], database, [1], [0, 0, 1], n_bits=2, k=2).value  # the third is second or third
    0.25
    """
    return _evaluate_at_cut(
        Precision, PrecisionAt, (query_codes, database_codes, query_labels, database_labels), Cut.checked(k, radius),
        empty, n_bits=n_bits, ties=ties, query_embeddings=query_embeddings, database_embeddings=database_embeddings,
    )  # fmt: skip


def recall(
    query_codes: Any,
    database_codes: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    n_bits: int,
    k: int | None = None,
    radius: int | None = None,
    ties: str = "expected",
    empty: str = "zero",
    query_embeddings: Any = None,
    database_embeddings: Any = None,
) -> Recall:
    """Return the share of the relevant items that are among the first k by Hamming distance, or within a radius.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels, n_bits, ties, query_embeddings, database_embeddings
        See `mean_average_precision`. Within a radius and without `k`, ties make no difference.
    k : int, optional
        Only the first k items count; a k beyond the database means all. Default: all.
    radius : int, optional
        Only items within this Hamming distance count. Default: all.
    empty : {"zero", "skip"}
        Whether a query without any relevant item in the database counts as 0, or is skipped.

    Returns
    -------
    Recall
        ``value`` from 0 to 1, ``per_query``, the options, and ``confidence_interval()``.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> recall(database[:1], database, [1], [1, 0, 1], n_bits=2, k=1).value
    0.5
    """
    return _evaluate_at_cut(
        Recall, RecallAt, (query_codes, database_codes, query_labels, database_labels), Cut.checked(k, radius),
        empty, n_bits=n_bits, ties=ties, query_embeddings=query_embeddings, database_embeddings=database_embeddings,
    )  # fmt: skip


def _evaluate_at_cut(
    result: type[Result], measure: type[PrecisionAt | RecallAt], codes_and_labels: tuple[Any, ...], cut: Cut,
    empty: str, **options: Any,
) -> Result:  # fmt: skip
    """Return precision or recall at one cut; `options` are those of `CodeRanker`."""
    check_choice(empty, "empty", EMPTY)
    ranker = CodeRanker(*codes_and_labels, **options)
    (per_query,) = ranker.measure([measure((cut,))])
    return result(
        without_empty(per_query[:, 0], empty), ranker.n_queries, ranker.n_database, cut.k, cut.radius, ranker.ties,
        empty, ranker.n_bits,
    )  # fmt: skip


def precision_recall_curve(
    query_codes: Any,
    database_codes: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    n_bits: int,
    by: str = "rank",
    cuts: Any = None,
    ties: str = "expected",
    empty: str = "zero",
    query_embeddings: Any = None,
    database_embeddings: Any = None,
) -> PrecisionRecallCurve:
    """Return precision and recall at many cuts; with ``by="rank"``, this includes the precision@N curve.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels, n_bits, ties, query_embeddings, database_embeddings
        See `mean_average_precision`.
    by : {"rank", "radius"}
        Whether a cut is a number k of first items, or a Hamming radius, for which ties make no difference.
    cuts : sequence of int, optional
        Values of k, or radii. Default: about 100 values from 1 to all in equal ratios, or all radii from 0 to `n_bits`.
    empty : {"zero", "skip"}
        Queries without any relevant item have no recall, and those without any item within a radius no precision: they
        count as 0, or are skipped.

    Returns
    -------
    PrecisionRecallCurve
        ``cuts``, ``precision``, ``recall``, both per query, and the options.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8) << 6
    >>> curve = precision_recall_curve(database[:1], database, [1], [1, 0, 1], n_bits=2, by="radius")
    >>> curve.precision.round(2), curve.recall
    (array([1.  , 0.5 , 0.67]), array([0.5, 0.5, 1. ]))
    """
    check_choice(by, "by", ("rank", "radius"))
    check_choice(empty, "empty", EMPTY)
    ranker = CodeRanker(
        query_codes, database_codes, query_labels, database_labels, n_bits=n_bits, ties=ties,
        query_embeddings=query_embeddings, database_embeddings=database_embeddings,
    )  # fmt: skip
    values = _default_cuts(by, n_bits, ranker.n_database) if cuts is None else np.asarray(cuts).tolist()
    if not isinstance(values, list) or not values:
        raise ValueError(f"cuts must be a sequence of at least one whole number; got {describe(cuts)}")
    checked = [Cut.checked(k=value) if by == "rank" else Cut.checked(radius=value) for value in values]
    precisions, recalls = ranker.measure([PrecisionAt(checked), RecallAt(checked)])
    precisions, recalls = without_empty(precisions, empty), without_empty(recalls, empty)
    return PrecisionRecallCurve(
        np.array(values, np.int64), _mean(precisions), _mean(recalls), precisions, recalls, by, ranker.n_queries,
        ranker.n_database, ties, empty, n_bits,
    )  # fmt: skip


def _default_cuts(by: str, n_bits: int, n_database: int) -> list[int]:
    if by == "radius":
        return list(range(n_bits + 1))
    return [int(k) for k in np.unique(np.geomspace(1, n_database, _CURVE_POINTS).round())]


def _mean(per_query: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the queries that are not skipped; NaN where all are."""
    there = ~np.isnan(per_query)
    n = there.sum(axis=0)
    return np.where(n > 0, np.where(there, per_query, 0).sum(axis=0) / np.maximum(n, 1), np.nan)
