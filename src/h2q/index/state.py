"""The content of an index at one moment; it never changes, so that searches need no lock."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_ids
from h2q.index.columns import Columns
from h2q.index.manifest import QuantizerFile
from h2q.index.segments import Segment, find_ids, merge_small, remove_rows

__all__ = ["MAX_ID", "IndexState"]

MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class IndexState:
    """The content of an index.

    Attributes
    ----------
    n_bits : int
        Bits of a code.
    segments : tuple of Segment
        The items.
    next_id : int
        Id of the next item that is added without one.
    quantizer : object or None
        Fitted quantizer that turns embeddings into codes.
    options : dict
        Options of the index.
    uid : str
        Names the index that the folder holds; empty before the first save.
    generation : str
        Names the save that wrote this state; empty before the first.
    quantizer_file : QuantizerFile or None
        File that holds the quantizer; None: not saved yet.
    """

    n_bits: int
    segments: tuple[Segment, ...]
    next_id: int
    quantizer: Any
    options: dict[str, Any]
    uid: str = ""
    generation: str = ""
    quantizer_file: QuantizerFile | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(segment) for segment in self.segments)

    def new_ids(self, n: int, ids: Any = None) -> NDArray[np.int64]:
        """Return the ids for n new items: the given ones, none of which may be taken, or those after the highest."""
        if ids is None:
            if self.next_id + n > MAX_ID:
                raise ValueError(f"there are no ids left after {self.next_id - 1}: give ids")
            return np.arange(self.next_id, self.next_id + n)
        new = as_ids(ids, n)
        taken = new[find_ids(self.segments, new)]
        if len(taken):
            raise ValueError(
                f"ids holds {len(taken)} id(s) that the index already has (first: {taken[0]}); choose other ids, or "
                "replace these items with upsert"
            )
        return new

    def with_items(self, columns: Mapping[str, NDArray[Any]], ids: NDArray[np.int64]) -> "IndexState":
        """Return the state with new items, whose arrays are copied."""
        if len(ids) == 0:
            return self
        order = np.argsort(ids, kind="stable")
        new = Segment(Columns({name: values[order] for name, values in {**columns, "ids": ids}.items()}))
        next_id = max(self.next_id, int(ids.max()) + 1)
        return replace(self, segments=merge_small([*self.segments, new]), next_id=next_id)

    def without_items(self, ids: NDArray[np.int64]) -> "IndexState":
        """Return the state without the items that have these ids."""
        return replace(self, segments=remove_rows(self.segments, ids))

    def unsaved(self) -> "IndexState":
        """Return the same content as a new index that no file holds yet."""
        segments = tuple(replace(segment, file=None) for segment in self.segments)
        return replace(self, segments=segments, uid="", generation="", quantizer_file=None)
