"""Many metrics of the same codes from one pass over the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h2q.errors import describe
from h2q.evaluation.average_precision import AveragePrecision
from h2q.evaluation.cumulative_gain import NormalizedGain
from h2q.evaluation.precision_recall import PrecisionAt, RecallAt
from h2q.evaluation.rankers import CodeRanker
from h2q.evaluation.rankings import DIVISORS, EMPTY, GAINS, Cut, Measure, check_choice
from h2q.evaluation.results import (
    MeanAveragePrecision,
    NormalizedDiscountedCumulativeGain,
    Precision,
    Recall,
    without_empty,
)

__all__ = ["CodesEvaluation", "CutEvaluation", "evaluate_codes"]


@dataclass(frozen=True, eq=False)
class CutEvaluation:
    """What the items that count are worth.

    Attributes
    ----------
    mean_average_precision : MeanAveragePrecision
    precision : Precision
    recall : Recall
    ndcg : NormalizedDiscountedCumulativeGain or None
        None within a radius.
    """

    mean_average_precision: MeanAveragePrecision
    precision: Precision
    recall: Recall
    ndcg: NormalizedDiscountedCumulativeGain | None


@dataclass(frozen=True, eq=False)
class CodesEvaluation:
    """The metrics of some codes.

    Attributes
    ----------
    at_k : mapping of (int or None) to CutEvaluation
        Of the first k items; None: of all.
    within_radius : mapping of int to CutEvaluation
        Of the items within a Hamming radius.
    """

    at_k: Mapping[int | None, CutEvaluation]
    within_radius: Mapping[int, CutEvaluation]


def evaluate_codes(
    query_codes: Any,
    database_codes: Any,
    query_labels: Any,
    database_labels: Any,
    *,
    n_bits: int,
    ks: Sequence[int | None] = (None,),
    radii: Sequence[int] = (0, 1, 2),
    ties: str = "expected",
    divisor: str = "retrieved",
    empty: str = "zero",
    gain: str = "exponential",
    query_embeddings: Any = None,
    database_embeddings: Any = None,
    progress: bool = False,
) -> CodesEvaluation:
    """Return mean average precision, precision, recall and nDCG at several k and radii, from one pass.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels, n_bits, ties, divisor, query_embeddings, \
database_embeddings
        See `mean_average_precision`.
    ks : list of (int or None)
        Cuts of the ranking; None: all items count.
    radii : list of int
        Hamming radii.
    empty : {"zero", "skip"}
        A query counts as 0, or not at all: for precision if no item counts, otherwise if none is relevant.
    gain : {"exponential", "linear"}
        See `ndcg`.
    progress : bool
        Whether to show a bar on a terminal.

    Returns
    -------
    CodesEvaluation
        ``at_k[k]`` and ``within_radius[radius]``, each with the results that the single functions give.

    Raises
    ------
    TypeError, ValueError
        If codes, labels, embeddings or an option are not as described.

    Examples
    --------
    >>> import numpy as np
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> found = evaluate_codes(database[:1], database, [1], [0, 0, 1], n_bits=2, ks=[2, None])
    >>> found.at_k[2].precision.value, found.within_radius[0].mean_average_precision.value
    (0.25, 0.0)
    """
    for name, value, known in (("divisor", divisor, DIVISORS), ("empty", empty, EMPTY), ("gain", gain, GAINS)):
        check_choice(value, name, known)
    for name, values in (("ks", ks), ("radii", radii)):
        if not isinstance(values, (list, tuple, range)):
            raise TypeError(f"{name} must be a list, such as [1, 2]; got {describe(values)}")
    top, near = [Cut.checked(k=value) for value in ks], [Cut.checked(radius=value) for value in radii]
    cuts = [*top, *near]
    if not cuts:
        raise ValueError("there is nothing to compute: give at least one of ks and radii")
    ranker = CodeRanker(
        query_codes, database_codes, query_labels, database_labels, n_bits=n_bits, ties=ties, gain=gain,
        query_embeddings=query_embeddings, database_embeddings=database_embeddings,
    )  # fmt: skip
    measures: list[Measure] = [PrecisionAt(cuts), RecallAt(cuts)]
    measures += [AveragePrecision(cut, divisor) for cut in cuts]
    measures += [NormalizedGain(cut) for cut in top]
    scored = [without_empty(one, empty) for one in ranker.measure(measures, progress=progress)]
    precisions, recalls, average_precisions = scored[0], scored[1], scored[2 : 2 + len(cuts)]
    n_queries, n_database = ranker.n_queries, ranker.n_database
    found = []
    for number, cut in enumerate(cuts):
        where = (cut.k, cut.radius)
        ndcg = None
        if number < len(top):
            per_query = scored[2 + len(cuts) + number]
            ndcg = NormalizedDiscountedCumulativeGain(
                per_query, n_queries, n_database, cut.k, ties, gain, empty, n_bits
            )
        found.append(
            CutEvaluation(
                MeanAveragePrecision(
                    average_precisions[number], n_queries, n_database, *where, ties, divisor, empty, n_bits
                ),
                Precision(precisions[:, number], n_queries, n_database, *where, ties, empty, n_bits),
                Recall(recalls[:, number], n_queries, n_database, *where, ties, empty, n_bits),
                ndcg,
            )
        )
    return CodesEvaluation(
        dict(zip(ks, found[: len(top)], strict=True)), dict(zip(radii, found[len(top) :], strict=True))
    )
