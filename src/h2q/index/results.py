"""What a search returns: the ids of its items as people gave them, and their metadata."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from h2q.index.filters import check_filter
from h2q.index.ids import STRING, strings_of
from h2q.index.metadata import check_columns
from h2q.index.neighbors import Neighbors, RadiusNeighbors
from h2q.index.segments import Segment, gather_table
from h2q.index.state import IndexState

__all__ = ["filtered", "metadata_of", "with_ids"]

Result = TypeVar("Result", Neighbors, RadiusNeighbors)


def filtered(state: IndexState, where: Any) -> tuple[Segment, ...]:
    """Return the segments, those items that do not fulfil a condition removed.

    Raises
    ------
    TypeError, ValueError
        See `h2q.index.filters.check_filter`.
    """
    if where is None:
        return state.segments
    condition = check_filter(where, state.schema)
    return tuple(segment.only(segment.matching(condition, state.schema)) for segment in state.segments)


def metadata_of(state: IndexState, numbers: Any, columns: Sequence[str] | None) -> Any:
    """Return metadata columns of items as a `pyarrow.Table`, a row for each number."""
    import pyarrow as pa

    names = check_columns(columns, state.schema)
    schema = pa.schema([state.schema.field(name) for name in names])
    return gather_table(state.segments, numbers, schema)


def with_ids(neighbors: Result, state: IndexState, columns: Sequence[str] | None) -> Result:
    """Return neighbors whose ids are numbers with the ids of the items, and with metadata columns if any are named."""
    numbers, ids = neighbors.ids.ravel(), neighbors.ids
    if state.id_type == STRING:
        ids = strings_of(state.segments, numbers).reshape(ids.shape)
    return replace(neighbors, ids=ids, metadata=None if columns is None else metadata_of(state, numbers, columns))
