"""Tables of paired differences: H²Q against each quantizer query by query, and penalties with and without a tanh."""

from collections import defaultdict

import numpy as np

from h2q.comparison import QueryComparison, compare_cells_by_query
from h2q.experiments.records import Trial
from h2q.experiments.results import Results, Row
from h2q.experiments.tables import TIES, label, protocol, signed
from h2q.report.document import Table, Value

__all__ = ["paired_table", "tanh_table"]

_NOTHING = Value("–")


def paired_table(results: Results, main: str, metric: str) -> Table | None:
    """Return the differences of a quantizer from every other one by loss, paired by query within each embedding.

    None where the folder holds no scores of single queries.
    """
    ours = results.queries_by_cell(main, metric)
    others = {name: results.queries_by_cell(name, metric) for name in results.quantizers if name != main}
    others = {name: scores for name, scores in others.items() if scores.keys() & ours.keys()}
    if not others:
        return None
    losses = list(dict.fromkeys(setting.loss for setting in results.settings))
    rows = []
    for loss in [*losses, None]:
        cells = {key: scores for key, scores in ours.items() if loss in (None, key[0].loss)}
        if cells:
            differences = [
                compare_cells_by_query(cells, scores, query_set=lambda key: (key[0].dataset, key[1]))
                for scores in others.values()
            ]
            rows.append((Value(loss or "all"), Value(str(len(cells))), *map(_difference, differences)))
    return Table(
        name=f"paired-{TIES[metric]}",
        caption=(
            f'{label(main)} minus each quantizer, ties "{TIES[metric]}": points of mAP with a 95 % interval, mean over '
            "code lengths and seeds. Marked: the interval excludes 0."
        ),
        note=(
            "Bootstrap over queries, the same for both quantizers and for all cells of a seed; quantizers share the "
            "embeddings, but for penalties, which train networks of their own. The interval covers the choice of "
            "queries, not of seeds. " + protocol(results, metric)
        ),
        columns=("loss", "cells", *(f"− {label(name)}" for name in others)),
        rows=tuple(rows),
        rules=(len(rows) - 1,),
    )


def _difference(comparison: QueryComparison | None) -> Value:
    if comparison is None:
        return _NOTHING
    mean, low, high = (signed(value) for value in (comparison.difference, comparison.low, comparison.high))
    beyond = comparison.is_better or comparison.is_worse
    return Value(f"{mean.text} ({low.text} to {high.text})", mean.mark if beyond else "")


def tanh_table(results: Results) -> Table | None:
    """Return the validation mAP of networks with a penalty, without and with a tanh; None unless both were tried."""
    by_loss: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in results.rows:
        if len({trial.tanh for trial in row.network.tried}) == 2:
            by_loss[row.setting.loss, row.cell.network.penalty or ""].append(row)
    if not by_loss:
        return None
    rows = []
    for (loss, penalty), cells in by_loss.items():
        plain, tanh = ([_best(row.network.tried, tanh=form) for row in cells] for form in (False, True))
        rows.append(
            (
                Value(loss), Value(penalty), Value(str(len(cells))),
                Value(f"{100 * np.mean(plain):.2f}"), Value(f"{100 * np.mean(tanh):.2f}"),
                signed(float(np.mean(tanh) - np.mean(plain))), Value(str(sum(row.network.tanh for row in cells))),
            )
        )  # fmt: skip
    return Table(
        name="tanh",
        caption="Penalties without and with the tanh of the published networks: validation mAP of sign codes.",
        note=(
            "Mean over code lengths and seeds of the best weight of each form; in each cell the better form is the "
            'baseline "penalty". ' + protocol(results)
        ),
        columns=("loss", "penalty", "cells", "without", "with", "difference", "cells that chose it"),
        rows=tuple(rows),
        text_columns=2,
    )


def _best(trials: tuple[Trial, ...], *, tanh: bool) -> float:
    return max(trial.validation_map for trial in trials if trial.tanh == tanh)
