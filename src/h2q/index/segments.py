"""The parts of an exact index: immutable runs of items in named columns, plus a deletion mask."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index.columns import Columns
from h2q.index.manifest import SegmentFile

__all__ = ["Segment", "find_ids", "gather", "join", "merge_small", "remove_rows"]


@dataclass(frozen=True)
class Segment:
    """Items sorted by id.

    Attributes
    ----------
    columns : Columns
        One value or row an item: ``codes`` (uint8, (n, bytes)), ``ids`` (int64, (n,), increasing), and whatever else
        the index keeps, such as ``embeddings`` (float32, (n, d)). All segments of an index have the same columns.
    alive : ndarray of bool, shape (n,), or None
        The items that were not removed; None: all.
    file : SegmentFile or None
        The file that holds the columns; None: not saved yet.
    """

    columns: Columns
    alive: NDArray[np.bool_] | None = None
    file: SegmentFile | None = None

    @property
    def codes(self) -> NDArray[np.uint8]:
        """Packed codes, shape (n, bytes)."""
        return self.columns["codes"]

    @property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all items, removed ones included; increasing."""
        return self.columns["ids"]

    @property
    def n_rows(self) -> int:
        """Number of items, removed ones included."""
        return self.columns.n_rows

    def __len__(self) -> int:
        """Return the number of items that were not removed."""
        return self.n_rows if self.alive is None else int(np.count_nonzero(self.alive))

    def living(self, column: str) -> NDArray[Any]:
        """Return a column of the items that were not removed."""
        values = self.columns[column]
        return values if self.alive is None else values[self.alive]

    def find(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the row of each id, or -1 where it is not here or removed."""
        if self.n_rows == 0:
            return np.full(len(ids), -1, np.int64)
        rows = np.minimum(np.searchsorted(self.ids, ids), self.n_rows - 1)
        present = self.ids[rows] == ids
        if self.alive is not None:
            present &= self.alive[rows]
        return np.where(present, rows, -1)

    def without(self, rows: NDArray[np.int64]) -> "Segment":
        """Return the segment with these rows removed; the columns are shared."""
        alive = np.ones(self.n_rows, np.bool_) if self.alive is None else self.alive.copy()
        alive[rows] = False
        return replace(self, alive=alive)


def join(segments: Sequence[Segment]) -> Segment:
    """Make one segment of the items of several that were not removed.

    Examples
    --------
    >>> a = Segment(Columns({"codes": np.array([[1], [2]], np.uint8), "ids": np.array([0, 5])}))
    >>> b = Segment(Columns({"codes": np.array([[3]], np.uint8), "ids": np.array([3])}))
    >>> joined = join([a.without(np.array([0])), b])
    >>> joined.ids, joined.codes.ravel()
    (array([3, 5]), array([3, 2], dtype=uint8))
    """
    order = np.argsort(np.concatenate([segment.living("ids") for segment in segments]), kind="stable")
    names = segments[0].columns
    parts = {name: [segment.living(name) for segment in segments] for name in names}
    return Segment(Columns({name: np.concatenate(values)[order] for name, values in parts.items()}))


def merge_small(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Join unsaved segments of similar size, so that many small additions stay few segments at little cost."""
    merged = list(segments)
    while (
        len(merged) > 1
        and merged[-1].file is None
        and merged[-2].file is None
        and 2 * merged[-1].n_rows >= merged[-2].n_rows
    ):
        merged[-2:] = [join(merged[-2:])]
    return tuple(merged)


def find_ids(segments: Sequence[Segment], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of the ids are among the items."""
    present = np.zeros(len(ids), np.bool_)
    for segment in segments:
        present |= segment.find(ids) >= 0
    return present


def remove_rows(segments: Sequence[Segment], ids: NDArray[np.int64]) -> tuple[Segment, ...]:
    """Return the segments without the items that have these ids; segments that become empty are left out."""
    remaining = []
    for segment in segments:
        rows = segment.find(ids)
        rows = rows[rows >= 0]
        changed = segment.without(rows) if len(rows) else segment
        if len(changed):
            remaining.append(changed)
    return tuple(remaining)


def gather(segments: Sequence[Segment], column: str, ids: NDArray[np.int64], result: NDArray[Any]) -> None:
    """Fill the rows of `result` with the values of a column for these items.

    Raises
    ------
    ValueError
        If an id is not among the items.
    """
    missing = np.ones(len(ids), np.bool_)
    for segment in segments:
        rows = segment.find(ids)
        here = rows >= 0
        result[here] = segment.columns.take(column, rows[here])
        missing &= ~here
    if missing.any():
        unknown = ids[missing]
        raise ValueError(f"{len(unknown)} of {len(ids)} ids are not in the index (first: {unknown[0]})")
