"""Two experiments side by side: differences of the cells that both have."""

from collections.abc import Sequence
from dataclasses import dataclass

from h2q.comparison import CellComparison, compare_cells
from h2q.experiments.results import Results
from h2q.experiments.tables import TIES, comparison_values, label
from h2q.report.document import Table, Value

__all__ = ["QuantizerDifference", "compare_results", "difference_table"]


@dataclass(frozen=True)
class QuantizerDifference:
    """The difference of a quantizer's scores between two experiments.

    Attributes
    ----------
    quantizer : str
        As plans name it.
    ties : str
        Tie policy of the mAP; "–" for the real-valued embeddings.
    comparison : CellComparison
        First experiment minus second, over the cells that both have.

    Examples
    --------
    >>> from h2q.comparison import compare_cells
    >>> comparison = compare_cells({"DCH": 0.5, "DPSH": 0.75}, {"DCH": 0.25, "DPSH": 0.5})
    >>> QuantizerDifference("itq", "expected", comparison).comparison.mean
    0.25
    """

    quantizer: str
    ties: str
    comparison: CellComparison


def compare_results(first: Results, second: Results) -> tuple[QuantizerDifference, ...]:
    """Compare the results of two experiments, for each quantizer and tie policy.

    Raises
    ------
    ValueError
        If they share no cell: no data set, backbone, loss, bits, seed and quantizer.
    """
    differences = []
    for metric, ties in TIES.items():
        for name in first.quantizers:
            if name == "real" and metric != next(iter(TIES)):
                continue  # a ranking by embeddings has one score, whatever the ties
            comparison = compare_cells(first.by_cell(name, metric), second.by_cell(name, metric))
            if comparison is not None:
                differences.append(QuantizerDifference(name, "–" if name == "real" else ties, comparison))
    if not differences:
        raise ValueError(
            f"{first.plan.name!r} and {second.plan.name!r} share no finished cell: a cell is shared if data set, "
            "backbone, loss, bits, seed and quantizer are the same"
        )
    return tuple(differences)


def difference_table(differences: Sequence[QuantizerDifference]) -> Table:
    """Return a table of differences, one row a quantizer and tie policy.

    Examples
    --------
    >>> from h2q.comparison import compare_cells
    >>> comparison = compare_cells({"DCH": 0.5, "DPSH": 0.75}, {"DCH": 0.25, "DPSH": 0.5})
    >>> table = difference_table([QuantizerDifference("itq", "expected", comparison)])
    >>> table.columns[3], table.rows[0][3].text
    ('A − B', '+25.00')
    """
    rows = [
        (
            Value(label(each.quantizer)), Value(each.ties), Value(str(each.comparison.n_cells)),
            *comparison_values(each.comparison),
        )
        for each in differences
    ]  # fmt: skip
    expected = [row for row, each in enumerate(differences) if each.ties == TIES["map_expected"]]
    return Table(
        columns=("quantizer", "ties", "cells", "A − B", "min to max", "improved", "p"),
        rows=tuple(rows),
        text_columns=2,
        rules=tuple(expected[:1]),
    )
