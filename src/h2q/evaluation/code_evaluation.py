"""All metrics of the same codes, from one pass over the database."""

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
from h2q.evaluation.summaries import Summarized, format_value, html_table, text_table

__all__ = ["CodesEvaluation", "CutEvaluation", "evaluate_codes"]


@dataclass(frozen=True, eq=False, repr=False)
class CutEvaluation(Summarized):
    """The metrics at one cut of the ranking.

    Attributes
    ----------
    mean_average_precision : MeanAveragePrecision
    precision : Precision
    recall : Recall
    ndcg : NormalizedDiscountedCumulativeGain or None
        None within a radius.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> at = evaluate_codes(codes[:1], codes, [1], [1, 0, 1], n_bits=8, ks=[2]).at_k[2]
    >>> at.precision.value, at.recall.value
    (0.5, 0.5)
    """

    mean_average_precision: MeanAveragePrecision
    precision: Precision
    recall: Recall
    ndcg: NormalizedDiscountedCumulativeGain | None

    def summary(self) -> dict[str, Any]:
        """Return the value of each metric."""
        return {name: None if result is None else result.value for name, result in super().summary().items()}


@dataclass(frozen=True, eq=False, repr=False)
class CodesEvaluation:
    """The metrics of codes at several cuts; shown as a table.

    Attributes
    ----------
    at_k : mapping of (int or None) to CutEvaluation
        Metrics of the first k items; None: of all.
    within_radius : mapping of int to CutEvaluation
        Metrics of the items within a Hamming radius.

    Examples
    --------
    >>> import numpy as np
    >>> codes = np.array([[0b00], [0b01], [0b11]], dtype=np.uint8)
    >>> evaluation = evaluate_codes(codes[:1], codes, [1], [1, 0, 1], n_bits=8)
    >>> evaluation.within_radius[1].precision.value
    0.5
    """

    at_k: Mapping[int | None, CutEvaluation]
    within_radius: Mapping[int, CutEvaluation]

    def _table(self) -> tuple[list[str], list[list[str]]]:
        cuts = [("all" if k is None else f"first {k}", at) for k, at in self.at_k.items()]
        cuts += [(f"radius {radius}", within) for radius, within in self.within_radius.items()]
        rows = [
            [name, *("" if value is None else format_value(value) for value in at.summary().values())]
            for name, at in cuts
        ]
        return ["cut", "mAP", "precision", "recall", "nDCG"], rows

    def __repr__(self) -> str:
        return text_table(*self._table())

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return html_table(type(self).__name__, *self._table())


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
    """Return mean average precision, precision, recall and nDCG at several k and radii, in one pass.

    Parameters
    ----------
    query_codes, database_codes, query_labels, database_labels, n_bits, ties, divisor, query_embeddings, \
database_embeddings
        See `mean_average_precision`.
    ks : list of (int or None)
        Numbers of first items that count; None: all.
    radii : list of int
        Hamming radii.
    empty : {"zero", "skip"}
        Whether a query without a value counts as 0, or is skipped: for precision one for which no item counts, for the
        other metrics one without any relevant item.
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
        If an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> database = np.array([[0b00], [0b01], [0b10]], dtype=np.uint8) << 6
    >>> evaluation = evaluate_codes(database[:1], database, [1], [0, 0, 1], n_bits=2, ks=[2, None])
    >>> evaluation.at_k[2].precision.value
    0.25
    >>> evaluation
         cut     mAP  precision  recall    nDCG
     first 2  0.2500     0.2500  0.5000  0.3155
         all  0.4167     0.3333  1.0000  0.5655
    radius 0  0.0000     0.0000  0.0000
    radius 1  0.4167     0.3333  1.0000
    radius 2  0.4167     0.3333  1.0000
    """
    for name, value, known in (("divisor", divisor, DIVISORS), ("empty", empty, EMPTY), ("gain", gain, GAINS)):
        check_choice(value, name, known)
    by_k, by_radius = _checked_cuts(ks, radii)
    cuts = [*by_k, *by_radius]
    ranker = CodeRanker(
        query_codes, database_codes, query_labels, database_labels, n_bits=n_bits, ties=ties, gain=gain,
        query_embeddings=query_embeddings, database_embeddings=database_embeddings,
    )  # fmt: skip
    measures: list[Measure] = [PrecisionAt(cuts), RecallAt(cuts)]
    measures += [AveragePrecision(cut, divisor) for cut in cuts]
    measures += [NormalizedGain(cut) for cut in by_k]
    precisions, recalls, *others = (
        without_empty(scores, empty) for scores in ranker.measure(measures, progress=progress)
    )
    average_precisions, gains = others[: len(cuts)], others[len(cuts) :]

    shared: dict[str, Any] = {
        "n_queries": ranker.n_queries, "n_database": ranker.n_database, "ties": ties, "empty": empty,
        "n_bits": ranker.n_bits,
    }  # fmt: skip

    def at(cut: Cut, number: int) -> CutEvaluation:
        limits: dict[str, Any] = {"k": cut.k, "radius": cut.radius, **shared}
        return CutEvaluation(
            MeanAveragePrecision(average_precisions[number], divisor=divisor, **limits),
            Precision(precisions[:, number], **limits),
            Recall(recalls[:, number], **limits),
            NormalizedDiscountedCumulativeGain(gains[number], k=cut.k, gain=gain, **shared)
            if number < len(by_k)
            else None,
        )

    evaluations = [at(cut, number) for number, cut in enumerate(cuts)]
    return CodesEvaluation(
        dict(zip(ks, evaluations[: len(by_k)], strict=True)), dict(zip(radii, evaluations[len(by_k) :], strict=True))
    )


def _checked_cuts(ks: Any, radii: Any) -> tuple[list[Cut], list[Cut]]:
    """Return the cuts at each k, and within each radius."""
    for name, values in (("ks", ks), ("radii", radii)):
        if not isinstance(values, (list, tuple, range)):
            raise TypeError(f"{name} must be a list, such as [1, 2]; got {describe(values)}")
    if not ks and not radii:
        raise ValueError("ks and radii are both empty; give at least one value of k or one radius")
    return [Cut.checked(k=k) for k in ks], [Cut.checked(radius=radius) for radius in radii]
