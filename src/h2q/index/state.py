"""The content of an index at one moment; it never changes, so that searches need no lock."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.index.columns import Columns
from h2q.index.ids import (
    INTEGER,
    STRING,
    check_ids,
    kind_of,
    missing_ids,
    new_integers,
    new_numbers,
    numbers_of,
    taken_ids,
)
from h2q.index.manifest import QuantizerFile
from h2q.index.metadata import conform
from h2q.index.segments import Segment, find_ids, merge_small, remove_rows
from h2q.index.tables import item_table

__all__ = ["IndexState"]


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
    id_type : {"integer", "string"} or None
        Kind of the ids; None: no item was added yet.
    schema : pyarrow.Schema or None
        Metadata columns; None: there are none yet.
    """

    n_bits: int
    segments: tuple[Segment, ...]
    next_id: int
    quantizer: Any
    options: dict[str, Any]
    uid: str = ""
    generation: str = ""
    quantizer_file: QuantizerFile | None = None
    id_type: str | None = None
    schema: Any = None

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(segment) for segment in self.segments)

    def with_items(
        self, columns: Mapping[str, NDArray[Any]], ids: NDArray[Any] | None, metadata: Any = None, *, replacing: bool
    ) -> tuple["IndexState", NDArray[Any]]:
        """Return the state with new items, whose arrays are copied, and their ids.

        Parameters
        ----------
        columns : mapping of str to ndarray
            Columns of the items, all but their ids.
        ids : ndarray or None
            What `check_ids` returned; None: integers after the highest so far.
        metadata : pyarrow.Table, optional
            What `as_table` returned.
        replacing : bool
            Whether an item whose id is taken replaces the item there; otherwise that is an error.

        Raises
        ------
        TypeError, ValueError
            If ids are missing, taken or of another kind than those of the index, or metadata have other columns.
        """
        n = len(columns["codes"])
        table = None if metadata is None else conform(metadata, self.schema)
        if n == 0:
            return self, np.zeros(0, object if self.id_type == STRING else np.int64)
        ids = new_integers(n, self.next_id, self.id_type) if ids is None else check_ids(ids, n, self.id_type)
        kind = kind_of(ids)
        numbers = new_numbers(self.segments, ids) if kind == STRING else ids
        if not replacing:
            self._refuse_taken(ids, numbers)
        order = np.argsort(numbers, kind="stable")
        new = Segment(
            Columns({name: values[order] for name, values in {**columns, "ids": numbers}.items()}),
            table=item_table(ids if kind == STRING else None, table, order),
        )
        others = remove_rows(self.segments, numbers) if replacing else self.segments
        return replace(
            self,
            segments=merge_small([*others, new]),
            next_id=max(self.next_id, int(numbers.max()) + 1) if kind == INTEGER else self.next_id,
            id_type=kind,
            schema=self.schema if table is None else table.schema,
        ), ids

    def _refuse_taken(self, ids: NDArray[Any], numbers: NDArray[np.int64]) -> None:
        taken = ids[find_ids(self.segments, numbers)]
        if len(taken):
            raise taken_ids(taken)

    def numbers(self, ids: Any) -> NDArray[np.int64]:
        """Return the number under which the segments hold each item, or -1 where there is no item with this id.

        Raises
        ------
        TypeError, ValueError
            If they are not ids, or not of the kind of the index.
        """
        checked = check_ids(ids, None, self.id_type)
        if kind_of(checked) == STRING:
            return numbers_of(self.segments, checked)
        return np.where(find_ids(self.segments, checked), checked, -1)

    def known_numbers(self, ids: Any, otherwise: str = "") -> NDArray[np.int64]:
        """Return the number of each item; `otherwise` is what an error adds.

        Raises
        ------
        TypeError, ValueError
            If they are not ids of items.
        """
        numbers = self.numbers(ids)
        if (numbers < 0).any():
            raise missing_ids(check_ids(ids, None, self.id_type)[numbers < 0], len(numbers), otherwise)
        return numbers

    def without_items(self, numbers: NDArray[np.int64]) -> "IndexState":
        """Return the state without the items that have these numbers."""
        return replace(self, segments=remove_rows(self.segments, numbers))

    def unsaved(self) -> "IndexState":
        """Return the same content as a new index that no file holds yet."""
        segments = tuple(replace(segment, file=None) for segment in self.segments)
        return replace(self, segments=segments, uid="", generation="", quantizer_file=None)
