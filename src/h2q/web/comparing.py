"""Quantizers side by side on a sample of an index's items, computed in the background."""

import logging
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from h2q.comparison import Contender, EmbeddedFolds, Score, compare_quantizers, default_contenders
from h2q.evaluation import float_neighbors
from h2q.index import BinaryIndex
from h2q.quantization.reduction import principal_components
from h2q.report.document import Table, as_rows
from h2q.web.settings import Refusal

__all__ = ["MIN_ITEMS", "BackgroundComparison", "compare_on_sample"]

_QUANTIZERS = ("sign", "random rotation", "ITQ", "H²Q")
_RECALLS = {"hamming": "recall", "asymmetric": "recall_asymmetric", "rerank": "recall_reranked"}
_LENGTHS = (16, 32, 64, 128)
_K = 10
_LOG = logging.getLogger("h2q.web")
_MAX_QUERIES, _MAX_ITEMS = 500, 6_000
MIN_ITEMS = 40


@dataclass
class _Progress:
    """State of a running comparison: the completed fraction, and in the end the document or a failure."""

    done: float = 0.0
    document: dict[str, Any] | None = None
    failed: bool = False


class BackgroundComparison:
    """The comparison of an index: computed in a thread at the first request, then kept.

    Parameters
    ----------
    index : BinaryIndex
        One that keeps its embeddings.
    """

    def __init__(self, index: BinaryIndex) -> None:
        self._index, self._lock = index, threading.Lock()
        self._progress: _Progress | None = None

    def state(self) -> dict[str, Any]:
        """Return the progress, or the comparison when it is complete; the first call starts the computation.

        A failure is reported once; the next call starts again.

        Raises
        ------
        Refusal
            If the index keeps no embeddings, or has too few items (404).
        """
        if not self._index.keeps_embeddings:
            raise Refusal(404, "this index keeps no embeddings, which a comparison needs")
        if len(self._index) < MIN_ITEMS:
            raise Refusal(404, f"a comparison needs {MIN_ITEMS} items at least")
        with self._lock:
            if self._progress is None:
                self._progress = _Progress()
                threading.Thread(target=self._run, args=(self._progress,), name="comparison", daemon=True).start()
            progress = self._progress
            failed = progress.failed
            if failed:
                self._progress = None
        if failed:
            error = "the comparison failed; the log of the server has the reason"
            return {"status": "failed", "progress": progress.done, "error": error}
        if progress.document is None:
            return {"status": "running", "progress": progress.done}
        return {"status": "done", "progress": 1.0, **progress.document}

    def _run(self, progress: _Progress) -> None:
        try:
            progress.document = compare_on_sample(self._index, progress)
        except Exception:  # whatever it is, clients must not wait forever
            _LOG.exception("the comparison of quantizers failed")
            progress.failed = True


def compare_on_sample(index: BinaryIndex, progress: _Progress | None = None) -> dict[str, Any]:
    """Return recall@10 of four quantizers at several code lengths, by three scorings, as curves and as a table.

    Some items are the queries; the quantizers are fitted on the others, which are searched. All get the leading
    principal components of the embeddings, centered and whitened as the index's own quantizer does it.

    Parameters
    ----------
    index : BinaryIndex
        One that keeps its embeddings, of 40 items at least.
    progress : _Progress, optional
        Updated after each quantizer.

    Returns
    -------
    dict
        The fields k to table of `h2q.web.schemas.ComparisonAnswer`.
    """
    folds, lengths, contenders = _prepare(index)
    scores: list[Score] = []
    steps = len(lengths) * len(contenders)
    for n_bits in lengths:
        for contender in contenders:
            scores += compare_quantizers(
                folds, [n_bits], [contender], progress=False, asymmetric=True, metric=_metric(index)
            )
            if progress is not None:
                progress.done = len(scores) / steps
    by_key = {(score.name, score.n_bits): score for score in scores}
    curves = [
        {
            "quantizer": contender.label,
            "scoring": scoring,
            "recall": [getattr(by_key[contender.label, n_bits], field).value for n_bits in lengths],
        }
        for contender in contenders
        for scoring, field in _RECALLS.items()
    ]
    items, queries = len(folds.database), len(folds.queries)
    table = _table(curves, lengths, f"{queries:,} queries in {items:,} items, which the quantizers were fitted on")
    return {"k": _K, "items": items, "queries": queries, "bits": lengths, "curves": curves, "table": table}


def _metric(index: BinaryIndex) -> str:
    """Return the metric of the true neighbors: cosine, unless the index has Euclidean distances."""
    return "euclidean" if index.metric == "euclidean" else "cosine"


def _prepare(index: BinaryIndex) -> tuple[EmbeddedFolds, list[int], list[Contender]]:
    """Return a sample of the items, the code lengths and the quantizers."""
    ids = index.ids
    n_queries = min(_MAX_QUERIES, len(ids) // 4)
    n_items = min(_MAX_ITEMS, len(ids) - n_queries)
    chosen = np.random.default_rng(0).choice(len(ids), n_queries + n_items, replace=False)
    embeddings = index.embeddings(ids[chosen])
    queries, items = embeddings[:n_queries], embeddings[n_queries:]
    most = min(items.shape[1], len(items) - 1, max(_LENGTHS))
    lengths = [n_bits for n_bits in _LENGTHS if n_bits <= most] or [most]
    directions = principal_components(items - items.mean(axis=0), most).directions
    reduced_items, reduced_queries = items @ directions.T, queries @ directions.T
    folds = EmbeddedFolds(
        reduced_items,
        reduced_queries,
        reduced_items,
        true_neighbors=float_neighbors(queries, items, min(_K, len(items)), metric=_metric(index)),
        real_queries=queries,
        real_database=items,
    )
    options = {"whitening": float(getattr(index.quantizer, "whitening_", 0.0))}
    by_label = {contender.label: contender for contender in default_contenders(options)}
    return folds, lengths, [by_label[label] for label in _QUANTIZERS]


def _table(curves: list[dict[str, Any]], lengths: list[int], sample: str) -> dict[str, Any]:
    words = {"hamming": "Hamming", "asymmetric": "asymmetric", "rerank": "re-ranked"}
    rows = [
        [curve["quantizer"], words[curve["scoring"]], *(f"{100 * value:.1f}" for value in curve["recall"])]
        for curve in curves
    ]
    table = Table(
        columns=("quantizer", "scoring", *(f"{n_bits} bits" for n_bits in lengths)),
        rows=as_rows(rows),
        caption=f"Recall@{_K} in percent",
        note=sample,
        text_columns=2,
    )
    cells = [[cell.text for cell in row] for row in table.rows]
    return {"columns": list(table.columns), "rows": cells, "caption": table.caption, "note": table.note}
