"""The parts of an exact index: immutable runs of items in named columns, plus a deletion mask."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index.columns import Columns
from h2q.index.manifest import SegmentFile
from h2q.index.tables import ID, ItemTable, complete, join_tables

__all__ = ["Segment", "find_ids", "gather", "gather_table", "join", "merge_small", "remove_rows", "widest_schema"]


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
    table : ItemTable or None
        String ids and metadata; None: neither.
    """

    columns: Columns
    alive: NDArray[np.bool_] | None = None
    file: SegmentFile | None = None
    table: ItemTable | None = None

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

    def living_table(self) -> ItemTable | None:
        """Return string ids and metadata of the items that were not removed."""
        if self.table is None or self.alive is None:
            return self.table
        return self.table.take(np.flatnonzero(self.alive))

    def strings(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the string ids of some rows, an array of objects."""
        if self.table is None:
            raise ValueError("the segment has no string ids")
        return np.asarray(self.table.take(rows, [ID]).arrow[ID].to_numpy(), object)

    def matching(self, condition: Any, schema: Any) -> NDArray[np.bool_]:
        """Return which rows fulfil a condition on metadata; see `h2q.index.arrow_filters.matching_rows`."""
        table = self.table
        # Without a table every column is null in every row.
        table = ItemTable(complete(None, self.n_rows, schema)) if table is None else table
        return table.matching(condition, schema)

    def only(self, rows: NDArray[np.bool_]) -> "Segment":
        """Return the segment with all other rows removed; the columns are shared."""
        return replace(self, alive=rows if self.alive is None else rows & self.alive)

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
    table = join_tables([segment.living_table() for segment in segments], [len(segment) for segment in segments])
    return Segment(
        Columns({name: np.concatenate(values)[order] for name, values in parts.items()}),
        table=None if table is None else table.take(order),
    )


def widest_schema(segments: Sequence[Segment]) -> Any:
    """Return the schema of all columns of the segments' tables; None if there are none."""
    return max((s.table.arrow.schema for s in segments if s.table is not None), key=len, default=None)


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


def gather_table(segments: Sequence[Segment], numbers: NDArray[np.int64], schema: Any) -> Any:
    """Return the columns of a schema for these items as a `pyarrow.Table`, in their order; all must be there."""
    import pyarrow as pa

    places, parts = [np.zeros(0, np.int64)], [schema.empty_table()]
    for segment in segments:
        rows = segment.find(numbers)
        here = np.flatnonzero(rows >= 0)
        if len(here):
            table = None if segment.table is None else segment.table.take(rows[here], schema.names)
            places.append(here)
            parts.append(complete(table, len(here), schema))
    return pa.concat_tables(parts).take(np.argsort(np.concatenate(places), kind="stable"))


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
