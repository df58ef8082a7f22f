"""Run the stages of the demo, and say what their numbers show."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from h2q.comparison import (
    EmbeddedFolds,
    Score,
    describe_leaders,
    leaders,
    mean_and_deviation,
    score_embeddings,
    score_quantizer,
)
from h2q.demo.stages import K_RECALL, Stage
from h2q.progress import progress_bar

__all__ = ["K_PRECISION", "PICTURED", "DemoResult", "Row", "run_stage", "say_order", "say_winners"]

K_PRECISION = 5_000
PICTURED = ("sign", "H²Q")
_PICTURED_BITS = 16  # where a rotation changes most


@dataclass(frozen=True)
class Row:
    """The scores of a quantizer at a code length, one for each seed.

    Attributes
    ----------
    name : str
        Label of the quantizer.
    n_bits : int or None
        Bits of a code; None for real-valued embeddings.
    scores : tuple of Score
        One a seed.
    """

    name: str
    n_bits: int | None
    scores: tuple[Score, ...]

    def spread(self, part: Callable[[Score], float | None]) -> tuple[float, float | None] | None:
        """Return mean and standard deviation of a score over the seeds; None where it has no meaning."""
        values = [value for value in map(part, self.scores) if value is not None]
        return mean_and_deviation(values) if values else None


@dataclass(frozen=True)
class DemoResult:
    """The scores of a stage.

    Attributes
    ----------
    stage : Stage
        The stage.
    rows : tuple of Row
        In the order of the table.
    pictured_bits : int
        Code length of `neighbors`.
    neighbors : mapping of str to ndarray of int64, shape (n_queries, k)
        For each of `PICTURED` the database rows that its codes find, first seed, as many as a class has on average.
    """

    stage: Stage
    rows: tuple[Row, ...]
    pictured_bits: int
    neighbors: Mapping[str, NDArray[np.int64]]


def run_stage(stage: Stage, *, random_state: int = 0, n_seeds: int = 3) -> DemoResult:
    """Score the real-valued embeddings, and every quantizer at every length with several seeds.

    The real-valued embeddings have one row if they are the same at every length.
    """
    pictured = min(stage.lengths, key=lambda n_bits: abs(n_bits - _PICTURED_BITS))
    rows: list[Row] = []
    neighbors = {}
    last: EmbeddedFolds | None = None
    with progress_bar("scoring", len(stage.lengths) * len(stage.entries)) as advance:
        for n_bits in stage.lengths:
            plain = stage.embed(n_bits, "")
            if plain is not last:
                rows.append(Row("real-valued", None, (score_embeddings(plain, k=_k(plain)),)))
                last = plain
            for entry in stage.entries:
                folds, label, scores = stage.embed(n_bits, entry.variant), entry.contender.label, []
                depth = _class_size(folds) if n_bits == pictured and label in PICTURED else None
                n_runs = 1 if entry.contender.quantizer == "sign" else n_seeds  # signs depend on no seed
                for seed in range(random_state, random_state + n_runs):
                    quantizer = entry.contender.make(n_bits, seed)
                    scores.append(score_quantizer(quantizer, folds, name=label, k=_k(folds), depth=depth))
                advance(1)
                rows.append(Row(label, n_bits, tuple(scores)))
                if depth is not None and scores[0].neighbors is not None:
                    neighbors[label] = scores[0].neighbors
    return DemoResult(stage, tuple(rows), pictured, neighbors)


def _k(folds: EmbeddedFolds) -> int:
    return min(K_PRECISION, len(folds.database))


def _class_size(folds: EmbeddedFolds) -> int:
    """Return the mean number of database items of a class."""
    return max(K_RECALL, len(folds.database) // len(np.unique(np.asarray(folds.database_labels))))


def say_winners(result: DemoResult) -> str:
    """Say which quantizers lead by mAP beyond the spread over seeds and the noise of the queries."""
    by_length: dict[int, dict[str, NDArray[np.float64]]] = defaultdict(dict)
    for row in result.rows:
        if row.n_bits is not None:
            by_length[row.n_bits][row.name] = np.array(
                [score.map_expected.per_query for score in row.scores if score.map_expected is not None]
            )
    by_bits = {n_bits: leaders(scores) for n_bits, scores in by_length.items()}
    n_seeds = max(len(row.scores) for row in result.rows)
    sentence = describe_leaders(by_bits, len(result.stage.entries))
    return (
        f"By mAP (expected), beyond the spread over {n_seeds} seeds of the quantizers and the noise of the queries "
        f"(95% paired bootstrap): {sentence}."
    )


def say_order(result: DemoResult) -> str | None:
    """Say what a learned rotation does to the order of neighbors, if the numbers show it; else None.

    They show it where embeddings were learned from labels, and at the longest codes H²Q and ITQ are above sign by mAP
    and below it by recall.
    """
    if not result.stage.is_learned:
        return None
    n_bits = max(result.stage.lengths)
    names = ("sign", "ITQ", "H²Q")
    rows = {row.name: row for row in result.rows if row.n_bits == n_bits}
    if not all(name in rows for name in names):
        return None
    means = {}
    for name in names:
        score = rows[name].spread(lambda score: None if score.map_expected is None else score.map_expected.value)
        recall = rows[name].spread(lambda score: None if score.recall is None else score.recall.value)
        if score is None or recall is None:
            return None
        means[name] = score[0], recall[0]
    sign_map, sign_recall = means["sign"]
    if not all(means[name][0] > sign_map and means[name][1] < sign_recall for name in names[1:]):
        return None
    recalls = ", ".join(f"{name} {100 * means[name][1]:.1f}" for name in names)
    return (
        "On embeddings learned from labels, a learned rotation pulls classes together and loses the order of neighbors "
        f"within them: at {n_bits} bits recall@{K_RECALL} is {recalls}."
    )
