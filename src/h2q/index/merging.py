"""Merges changes of an index with those that another process saved meanwhile."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index.columns import Columns
from h2q.index.ids import STRING, strings_of
from h2q.index.segments import Segment, find_ids, gather, gather_table, join, remove_rows, widest_schema
from h2q.index.state import IndexState
from h2q.index.tables import complete, equal_rows

__all__ = ["merge"]

_NAMED = 5  # ids that an error names


def merge(base: IndexState, current: IndexState, saved: IndexState, *, may_be_there: bool = False) -> IndexState:
    """Return `saved` with the changes that lead from `base` to `current`.

    Parameters
    ----------
    base : IndexState
        What the folder held when it was last read or written by this index.
    current : IndexState
        The index now.
    saved : IndexState
        What the folder holds now.
    may_be_there : bool
        Whether the changes may have been saved already, by a save that was interrupted: items that are there and equal
        are then no conflict.

    Raises
    ------
    FileExistsError
        If both changed an item in different ways; the message names ids. Or if one of them was refitted.
    """
    refitted_first = (current.quantizer is None) != (saved.quantizer is None)  # the index had no quantizer before
    if current.quantizer_file != saved.quantizer_file or refitted_first:
        raise FileExistsError(
            "another process saved changes since this index was opened, and one of the two was refitted: their codes "
            "are of two quantizers. Open the index again and repeat the changes"
        )
    removed, added = _difference(base, current)
    removed = _select(removed, find_ids(saved.segments, removed.ids))
    clashing = removed.ids[~_are_equal(removed, saved.segments)]
    remaining = remove_rows(saved.segments, removed.ids)
    taken = find_ids(remaining, added.ids)
    known = _select(added, taken)
    clashing = np.concatenate([clashing, known.ids[~_are_equal(known, remaining)] if may_be_there else known.ids])
    if len(clashing):
        named = ", ".join(map(str, _ids_of(np.unique(clashing)[:_NAMED], base, current, saved)))
        raise FileExistsError(
            f"another process saved changes to {len(clashing)} item(s) that were changed here, too (ids {named}"
            f"{', ...' if len(clashing) > _NAMED else ''}): open the index again and repeat the changes, under other "
            "ids where items were added"
        )
    added = _select(added, ~taken)
    segments = (*remaining, added) if len(added) else remaining
    return replace(
        saved,
        segments=segments,
        next_id=max(saved.next_id, current.next_id),
        id_type=_agreed("ids of another kind", saved.id_type, current.id_type),
        schema=_agreed("metadata with other columns", saved.schema, current.schema),
    )


def _agreed(what: str, saved: Any, current: Any) -> Any:
    """Return what both, or the one that has decided, say."""
    if saved is not None and current is not None and saved != current:
        raise FileExistsError(f"another process saved {what} since the index was opened: open it again")
    return current if saved is None else saved


def _ids_of(numbers: NDArray[np.int64], *states: IndexState) -> list[Any]:
    if STRING not in [state.id_type for state in states]:
        return list(numbers.tolist())
    return list(strings_of([segment for state in states for segment in state.segments], numbers))


def _difference(base: IndexState, current: IndexState) -> tuple[Segment, Segment]:
    """Return the items of `base` that are gone, and those of `current` that are new; a changed item is in both."""
    before = {segment.file: segment for segment in base.segments}
    after = {segment.file: segment for segment in current.segments if segment.file in before}
    gone, new = [], []
    for file, segment in before.items():
        lost = _alive(segment) & ~_alive(after[file]) if file in after else _alive(segment)
        gone.append(replace(segment, alive=lost))
    for segment in current.segments:
        present = _alive(segment)
        if segment.file in before:
            present = present & ~_alive(before[segment.file])
        new.append(replace(segment, alive=present))
    removed, added = _join(gone, base), _join(new, base)
    # After a compaction, most items are in both and equal.
    moved = find_ids([added], removed.ids)
    moved[moved] = _are_equal(_select(removed, moved), [added])
    return _select(removed, ~moved), _select(added, ~np.isin(added.ids, removed.ids[moved]))


def _join(segments: Sequence[Segment], state: IndexState) -> Segment:
    if segments:
        return join(segments)
    codes = np.zeros((0, -(-state.n_bits // 8)), np.uint8)
    return Segment(Columns({"codes": codes, "ids": np.zeros(0, np.int64)}))


def _alive(segment: Segment) -> NDArray[np.bool_]:
    return np.ones(segment.n_rows, np.bool_) if segment.alive is None else segment.alive


def _select(segment: Segment, rows: NDArray[np.bool_]) -> Segment:
    return Segment(
        Columns({name: values[rows] for name, values in segment.columns.items()}),
        table=None if segment.table is None else segment.table.take(np.flatnonzero(rows)),
    )


def _are_equal(items: Segment, segments: Sequence[Segment]) -> NDArray[np.bool_]:
    """Return which items equal those with the same ids in the segments, in all columns."""
    equal = np.ones(items.n_rows, np.bool_)
    for name, values in items.columns.items():
        if name != "ids" and len(values):
            others = np.empty_like(values)
            gather(segments, name, items.ids, others)
            equal &= (values == others).reshape(len(values), -1).all(axis=1)
    schema = widest_schema([items, *segments])
    if schema is None or not len(equal):
        return equal
    return equal & equal_rows(complete(items.table, items.n_rows, schema), gather_table(segments, items.ids, schema))
