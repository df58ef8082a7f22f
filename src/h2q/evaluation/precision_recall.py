"""Precision and recall of the first k items and within a Hamming radius, and their curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import describe
from h2q.evaluation.rankers import CodeRanker
from h2q.evaluation.rankings import EMPTY, Cut, Rankings, check_choice
from h2q.evaluation.results import Precision, PrecisionRecallCurve, Recall, without_empty

__all__ = [
    "PrecisionAt",
    "RecallAt",
    "precision",
    "precision_recall_curve",
    "recall",
]

_CURVE_POINTS = 100


@dataclass(frozen=True)
class PrecisionAt:
    """The expected share of relevant items among those that count, for each of some cuts."""

    cuts: Sequence[Cut]

    def score(self, rankings: Rankings) -> NDArray[np.float64]:
        """Return shape (n_queries, n_cuts); NaN where no item counts."""
        sizes = rankings.sizes_of(self.cuts)
        return np.where(sizes > 0, rankings.hits(self.cuts) / np.maximum(sizes, 1), np.nan)


@dataclass(frozen=True)
class RecallAt:
    """The expected share of the relevant items that count, for each of some cuts."""

    cuts: Sequence[Cut]

    def score(self, rankings: Rankings) -> NDArray[np.float64]:
        """Return shape (n_queries, n_cuts); NaN where nothing in the database is relevant."""
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
        See `mean_average_precision`. Within a radius without `k` ties make no difference.
    k : int, optional
        Only the k first items count; beyond the database all do. Default: all.
    radius : int, optional
        Only items within this Hamming distance count. Default: all.
    empty : {"zero", "skip"}
        A query that has no item within the radius counts as 0, the field's habit, or not at all.

    Returns
    -------
    Precision
        ``value`` from 0 to 1, ``per_query``, the options, and ``confidence_interval()``.

    Raises
    ------
    TypeError, ValueError
        If codes, labels, embeddings or an option are not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> precision(database[:1], database, [1], [0, 0, 1], n_bits=2, k=2).value  # the third is second or third
    0.25
    """
    arguments = (query_codes, database_codes, query_labels, database_labels)
    embeddings = (query_embeddings, database_embeddings)
    return Precision(*_at_cut(PrecisionAt, arguments, embeddings, n_bits, k, radius, ties, empty))


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
        See `mean_average_precision`. Within a radius without `k` ties make no difference.
    k : int, optional
        Only the k first items count; beyond the database all do. Default: all.
    radius : int, optional
        Only items within this Hamming distance count. Default: all.
    empty : {"zero", "skip"}
        A query without any relevant item in the database counts as 0, or not at all.

    Returns
    -------
    Recall
        ``value`` from 0 to 1, ``per_query``, the options, and ``confidence_interval()``.

    Raises
    ------
    TypeError, ValueError
        If codes, labels, embeddings or an option are not as described.

    Examples
    --------
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> recall(database[:1], database, [1], [1, 0, 1], n_bits=2, k=1).value
    0.5
    """
    arguments = (query_codes, database_codes, query_labels, database_labels)
    embeddings = (query_embeddings, database_embeddings)
    return Recall(*_at_cut(RecallAt, arguments, embeddings, n_bits, k, radius, ties, empty))


def _at_cut(
    measure: type[PrecisionAt | RecallAt], arguments: tuple[Any, ...], embeddings: tuple[Any, Any], n_bits: int,
    k: int | None, radius: int | None, ties: str, empty: str,
) -> tuple[Any, ...]:  # fmt: skip
    """Return the fields of a `MeanAtCut`."""
    cut = Cut.checked(k, radius)
    check_choice(empty, "empty", EMPTY)
    ranker = CodeRanker(
        *arguments, n_bits=n_bits, ties=ties, query_embeddings=embeddings[0], database_embeddings=embeddings[1]
    )
    (per_query,) = ranker.measure([measure((cut,))])
    per_query = without_empty(per_query[:, 0], empty)
    return per_query, ranker.n_queries, ranker.n_database, k, radius, ties, empty, n_bits


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
    """Return precision and recall at many cuts; with ``by="rank"`` it is the precision@N curve, too.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels, n_bits, ties, query_embeddings, database_embeddings
        See `mean_average_precision`.
    by : {"rank", "radius"}
        Whether a cut is the first k items, or all items within a Hamming radius, where ties make no difference.
    cuts : sequence of int, optional
        The k, or the radii. Default: about 100 from 1 to all, in equal ratios; all radii from 0 to `n_bits`.
    empty : {"zero", "skip"}
        Queries without any relevant item have no recall, and those with no item within a radius have no precision: they
        count as 0, or not at all.

    Returns
    -------
    PrecisionRecallCurve
        ``cuts``, ``precision``, ``recall``, both per query, and the options.

    Raises
    ------
    TypeError, ValueError
        If codes, labels, embeddings or an option are not as described.

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
    asked = [Cut.checked(k=value) if by == "rank" else Cut.checked(radius=value) for value in values]
    precisions, recalls = (without_empty(one, empty) for one in ranker.measure([PrecisionAt(asked), RecallAt(asked)]))
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
