"""Encode all items of an index again, with another quantizer; keep ids and metadata."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from h2q.checks import as_embeddings
from h2q.errors import describe
from h2q.index.columns import Columns
from h2q.index.ids import STRING, strings_of
from h2q.index.items import columns_of
from h2q.index.options import check_options
from h2q.index.segments import Segment
from h2q.index.state import IndexState

__all__ = ["refitted", "sample_embeddings"]

_CHUNK_BYTES = 64 << 20
RowsOf = Callable[[Segment], NDArray[np.float32]]


def refitted(state: IndexState, quantizer: Any, embeddings: Any, ids: Any) -> IndexState:
    """Return the state with its items encoded by another quantizer; see `h2q.index.BinaryIndex.refit`.

    Raises
    ------
    TypeError, ValueError
        If there are no embeddings for all items, or the quantizer does not go with them.
    """
    if quantizer is None and state.quantizer is None:
        raise ValueError("quantizer is missing: the index has none whose parameters could be used again")
    keeps = bool(state.options["keep_embeddings"])
    if keeps and embeddings is not None:
        raise ValueError("embeddings must be left out: the index keeps those of its items")
    rows_of = _kept_rows if keeps else _given_rows(state, embeddings, ids)
    quantizer = clone(state.quantizer) if quantizer is None else quantizer
    try:
        check_is_fitted(quantizer)
    except NotFittedError:
        quantizer = quantizer.fit(_batches(state, rows_of))
    n_bits = check_options(None, quantizer, keeps, str(state.options["metric"]))
    segments = tuple(_encoded(segment, rows_of, n_bits, quantizer, keeps) for segment in state.segments)
    return replace(state, n_bits=n_bits, segments=segments, quantizer=quantizer, quantizer_file=None)


def sample_embeddings(state: IndexState, n: int) -> NDArray[np.float32] | None:
    """Return kept embeddings of at most n items, drawn at random by seed 0; None: the index keeps none.

    Raises
    ------
    FileFormatError
        If a file is damaged.
    """
    if not state.options["keep_embeddings"] or not state.segments:
        return None
    drawn = np.random.default_rng(0).permutation(len(state))[:n]
    parts, order, first = [], [], 0
    for segment in state.segments:
        alive = np.arange(segment.n_rows) if segment.alive is None else np.flatnonzero(segment.alive)
        places = np.flatnonzero((drawn >= first) & (drawn < first + len(alive)))
        parts.append(segment.columns.take("embeddings", alive[drawn[places] - first]))
        order.append(places)
        first += len(alive)
    result: NDArray[np.float32] = np.concatenate(parts)[np.argsort(np.concatenate(order))]
    return result


def _kept_rows(segment: Segment) -> NDArray[np.float32]:
    return segment.living("embeddings")


def _given_rows(state: IndexState, embeddings: Any, ids: Any) -> RowsOf:
    """Return a function that gives the embeddings of a segment's items, out of those that were given by id."""
    if embeddings is None:
        raise ValueError(
            f"embeddings are missing: the index keeps none of its {len(state):,} items. Give embeddings, a row for "
            "each item, and ids, the item of each row (default: the order of index.ids)"
        )
    shape = getattr(embeddings, "shape", None)
    rows = embeddings if shape is not None and hasattr(embeddings, "__getitem__") else as_embeddings(embeddings)
    if len(rows.shape) != 2:
        raise ValueError(f"embeddings must be of shape (n_items, d); got {describe(embeddings)}")
    numbers = _all_numbers(state) if ids is None else state.known_numbers(ids)
    if len(rows) != len(numbers) or len(numbers) != len(state):
        expected = f"{len(state):,} items" if ids is None else f"{len(state):,} items and {len(numbers):,} ids"
        raise ValueError(f"embeddings must have a row for each item; got {len(rows):,} rows for {expected}")
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]

    def rows_of(segment: Segment) -> NDArray[np.float32]:
        wanted = order[np.searchsorted(ordered, segment.living("ids"))]
        return np.asarray(rows.iloc[wanted] if hasattr(rows, "iloc") else rows[wanted], np.float32)

    return rows_of


def _all_numbers(state: IndexState) -> NDArray[np.int64]:
    """Return the numbers of all items in the order of their ids."""
    numbers = np.concatenate([np.zeros(0, np.int64), *(segment.living("ids") for segment in state.segments)])
    if state.id_type == STRING:
        return numbers[np.argsort(strings_of(state.segments, numbers), kind="stable")]
    return np.sort(numbers)


def _batches(state: IndexState, rows_of: RowsOf) -> Iterator[NDArray[np.float32]]:
    for segment in state.segments:
        yield from _chunks(rows_of(segment))


def _chunks(rows: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    step = max(1, _CHUNK_BYTES // (4 * max(1, rows.shape[1])))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _encoded(segment: Segment, rows_of: RowsOf, n_bits: int, quantizer: Any, keeps: bool) -> Segment:
    """Return a segment of the same items, encoded again; no file holds it yet."""
    rows = rows_of(segment)
    parts = [columns_of(part, n_bits, quantizer, keep_embeddings=False) for part in _chunks(rows)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    kept = {"embeddings": rows} if keeps else {}
    return Segment(Columns({**columns, **kept, "ids": segment.living("ids")}), table=segment.living_table())
